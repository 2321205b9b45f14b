"""Markers that cannot be meant: one clear error, nothing set up, the other tests run."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("delay=100", '*delay=100: a bare number*"100ms"*'),
        ('delya="100ms"', "*delya*delay*"),
        ("loss=0.01", '*loss=0.01*"1%"*'),
        ('rate="10mbps"', '*rate="10mbps"*mbit*'),
        ('reorder="5%"', "*reorder*delay*"),
        ('ecn=True, delay="1ms"', "*ecn*loss*"),
        ('delay="1ms", rtt="2ms"', "*rtt*delay*"),
        ('delay="1ms", pods="web"', '*pods="web"*app=web*'),
        ('delay="1ms", to="app=db", direction="ingress"', "*direction*"),
        ('loss="101%"', '*loss="101%"*'),
        ('preset="tle"', '*preset="tle"*lte*'),
        ('profile="nowhere.yaml"', "*nowhere.yaml*no such file*"),
        ('delay="1ms", when="never"', "*when*first*"),
        ('"100ms"', "*delay=*"),
        ('profile="wan" * 100', "*no such file*"),
        ('profile={**WAN, "spec": 5}', "*spec=5: expected a mapping*"),
        ("profile=WAN, namespaces=5", '*namespaces=5: expected namespaces; write namespaces="shop"*'),
        ('profile=ELSEWHERE, namespaces="shop"', '*namespaces="shop": *has a namespaceSelector*leave one of them out*'),
    ],
)
def test_the_message_says_what_would_be_right(pytester, marker, told):
    pytester.makepyfile(
        f"""
        import pytest

        SPEC = {{"podSelector": {{}}, "impairment": {{"delay": "1ms"}}, "egress": [{{}}]}}
        KIND = {{"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile"}}
        WAN = {{**KIND, "metadata": {{"name": "wan"}}, "spec": SPEC}}
        ELSEWHERE = {{**WAN, "spec": {{**SPEC, "namespaceSelector": {{}}}}}}

        @pytest.mark.netem({marker})
        def test_bad(): ...

        def test_good(): ...
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["netem marker refused: *::test_bad:", "  " + told])
    assert "Traceback" not in result.stdout.str()


def test_all_mistakes_come_in_one_message(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netem(delay=100, loss=0.01)
        @pytest.mark.netem(rate="10mbps", name="other")
        def test_bad(): ...
        """
    )
    text = pytester.runpytest_subprocess().stdout.str()
    assert "delay=100" in text
    assert "loss=0.01" in text
    assert 'rate="10mbps"' in text


def test_two_of_one_name_are_refused_before_anything_is_set_up(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netem(delay="1ms", name="up")
        @pytest.mark.netem(loss="1%", name="up")
        def test_bad(netem_cluster): ...
        """
    )
    told = "two impairments are called 'up'; give one of them another name="
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["netem marker refused: *::test_bad:", f"  {told}", "*ERROR at setup of test_bad*", told]
    )
    assert pytester.runpytest_subprocess("--strict-markers").ret == pytest.ExitCode.USAGE_ERROR


def test_only_selected_tests_are_checked(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netem(delay=100)
        def test_bad(): ...

        def test_good(): ...
        """
    )
    pytester.runpytest_subprocess("-k", "good").assert_outcomes(passed=1, deselected=1)


def test_strict_markers_make_collection_fail(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netem(delay=100)
        def test_bad(): ...
        """
    )
    result = pytester.runpytest_subprocess("--strict-markers")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*::test_bad:", "  delay=100*"])
    assert pytester.runpytest_subprocess("--strict-markers", "--collect-only").ret == 0


def test_strict_markers_make_the_collection_of_workers_fail(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netem(delay=100)
        def test_bad(): ...

        def test_good(): ...
        """
    )
    result = pytester.runpytest_subprocess("--strict-markers", "-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*::test_bad:", "  delay=100*"])
    assert "INTERNALERROR" not in result.stdout.str()
