"""What a person finds in the report of a failed test, and in its files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.needs("netns")

FAILING = """
@pytest.fixture
def talker(netem_namespace):
    made = manifest("talker")
    made["spec"]["containers"][0]["command"] = ["sh", "-c", "echo price list loaded; exec sleep infinity"]
    netem_namespace.apply([made, manifest("ann"), manifest("bob")])
    netem_namespace.wait_ready()
    return netem_namespace

@pytest.mark.netem(delay="200ms", pods="app=ann", to="app=bob")
def test_body(talker):
    took(talker.pod("ann"), talker.pod("bob"))
    assert 0
"""


def folders(result: pytest.RunResult) -> list[Path]:
    return [Path(line.removeprefix("all of it: ")) for line in result.outlines if line.startswith("all of it: ")]


def test_a_body_that_fails(suite):
    result = suite(FAILING)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"-+ netem evidence call -+",
            r"impairment 'netem': delay 200ms, egress of app=ann to app=bob: verified on 1 of 1 pod",
            r"  pod/ann: 1 packet met, 1 delayed, (userspace|kernel) engine",
            r"pod/ann \(impaired\): Running, node-\d, 10\..*",
            r"pod/bob \(peer\): Running, node-\d, 10\..*",
            r"pod/talker: Running, .*",
            r"  \| price list loaded",
            r"all of it: .*",
        ],
        consecutive=True,
    )
    (folder,) = folders(result)
    (held,) = folder.glob("profiles/netem/*/ann.json")
    observed = json.loads(held.read_text())["observed"]
    assert observed["stages"][0][1]["held"]["delay"] == 200_000_000
    conditions = json.loads((folder / "profiles/netem.json").read_text())["status"]["conditions"]
    assert [one["status"] for one in conditions] == ["True"] * 3
    (log,) = folder.glob("pods/*/talker/main.log")
    assert log.read_text() == "price list loaded\n"
    assert {"agent.log", "node-host.log", "run.jsonl", "summary.txt"} <= {path.name for path in folder.iterdir()}
    assert '"is": "Committed"' in (folder / "run.jsonl").read_text()


def test_where_nothing_had_begun_there_is_none(suite):
    result = suite(
        """
        def test_starts_the_cluster(netem_cluster): ...

        @pytest.mark.netem(dealy="1ms")
        def test_refused(netem_namespace): ...
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    assert folders(result) == []
    assert "netem evidence" not in result.stdout.str()


def test_a_fixture_that_fails_within_what_it_applied(suite):
    result = suite(
        """
        @pytest.fixture
        def broken(netem_cluster):
            made = manifest("broken")
            made["spec"]["containers"][0] |= {"command": ["sh", "-c", "echo no price list; exit 7"],
                                              "readinessProbe": {"tcpSocket": {"port": 80}}}
            with netem_cluster.apply(made):
                netem_cluster.wait_ready(timeout=1)
                yield

        @pytest.mark.netem(delay="1ms")
        def test_it(broken): ...
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.re_match_lines(
        [
            r"-+ netem evidence setup -+",
            r"no impairment was in force",
            r"pod/broken: .*restarted \d+ times?, ended with 7 before",
            r"  \| no price list",
        ]
    )


def test_a_block_is_seen_as_it_was_inside(suite):
    result = suite(
        """
        def test_it(people, ann, bob, netem):
            with pytest.raises(ZeroDivisionError), netem.blackhole("app=bob"):
                1 / 0
            with netem.partition("app=ann", "app=bob", inert="ignore"):
                assert arrives(ann, bob, within=0.2)
        """
    )
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "impairment 'partition': loss 100%, both directions of app=ann with app=bob: verified on" in text
    assert "impairment 'blackhole'" not in text
    assert re.search(r"pod/ann: 1 packet met, 1 lost", text)


def test_an_impairment_that_cannot_begin_is_seen_before_it_is_taken_back(suite):
    result = suite('@pytest.mark.netem(delay="1ms", pods="app=ann", to="app=dan")\ndef test_it(people): ...')
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*- netem evidence setup -*",
            "impairment 'netem': delay 1ms, egress of app=ann to app=dan: not applied: no packet of*",
        ]
    )


def test_a_finding_at_the_end_is_seen_before_the_healing(suite):
    result = suite(
        """
        @pytest.mark.netem(delay="1ms", pods="app=ann", to="app=bob")
        def test_marker(people): ...

        def test_block(people, netem):
            with netem.impair(delay="1ms", pods="app=ann", to="app=bob"):
                ...
        """
    )
    result.assert_outcomes(passed=2, errors=2)
    text = result.stdout.str()
    assert text.count("netem evidence teardown") == 2
    assert text.count("  pod/ann: 0 packets met, ") == 2


def test_a_lost_agent_is_told_with_its_times(suite):
    result = suite(
        """
        import time

        @pytest.mark.netem(delay="1ms", pods="app=ann", to="app=bob", unexercised="ignore")
        def test_it(people, ann, bob, _netem_session, netem_profile):
            took(ann, bob)
            _netem_session.portal.call(_netem_session.provider._embedded.channels.agent.kill(9))
            eventually(lambda: any(type(event).__name__ == "GapClosed" for event in _netem_session.events))
            took(ann, bob)
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.re_match_lines(
        [
            r"-+ netem evidence teardown -+",
            r"  pod/ann: not impaired for \d\.\d s: .*",
            r"\d\d:\d\d:\d\d\.\d\d\d, \d+\.\d\d s after the test began: an agent is lost: its stream has ended",
            r".* after the test began: pod/default/ann is not impaired any more: .*",
            r".* after the test began: pod/default/ann is impaired again.*",
        ]
    )


def test_a_cluster_that_has_died_hides_no_failure(suite):
    result = suite(
        """
        import os, signal

        def test_it(people, ann, _netem_session):
            os.kill(_netem_session.provider._embedded.host.pid, signal.SIGKILL)
            eventually(_netem_session.provider.lost)
            assert 1 == 2
        """
    )
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["E       assert 1 == 2", "*- netem evidence call -*", "the embedded cluster has ended: *"]
    )


def test_a_healthy_control_has_pods_too(suite):
    result = suite("def test_it(people):\n    assert 0\n\ndef test_without():\n    assert 0")
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("netem evidence call") == 1
    result.stdout.fnmatch_lines(["no impairment was in force", "pod/ann: Running, *"])


def test_what_does_not_fail_is_not_looked_at(suite, tmp_path):
    result = suite(
        """
        @pytest.mark.xfail
        def test_expected(people):
            assert 0

        def test_skipped(people, netem):
            with netem.impair(delay="1ms"):
                pytest.skip("no")

        def test_green(people, ann, bob, netem):
            with pytest.raises(ValueError), netem.impair(delay="1ms"):
                raise ValueError
        """,
        f"--netem-artifacts={tmp_path / 'out'}",
    )
    result.assert_outcomes(passed=1, skipped=1, xfailed=1)
    assert "netem evidence" not in result.stdout.str()
    assert not (tmp_path / "out").exists()


def test_nobody_has_to_have_it(suite, tmp_path):
    result = suite(FAILING, "--netem-evidence=never", f"--netem-artifacts={tmp_path / 'out'}")
    result.assert_outcomes(failed=1)
    assert "netem evidence" not in result.stdout.str()
    assert not (tmp_path / "out").exists()


def test_it_travels_with_the_report(suite, tmp_path):
    """Beside xdist, in JUnit's file as a property, and where the option says."""
    result = suite(FAILING, "-n2", f"--junitxml={tmp_path / 'j.xml'}", f"--netem-artifacts={tmp_path / 'out'}")
    result.assert_outcomes(failed=1)
    (folder,) = folders(result)
    assert folder.is_relative_to(tmp_path / "out")
    assert (folder / "summary.txt").exists()
    properties = {
        prop.get("name"): prop.get("value") for prop in ElementTree.parse(tmp_path / "j.xml").iter("property")
    }
    assert properties["netem-evidence"] == str(folder)


def test_a_run_can_be_asked_what_it_impairs(suite):
    result = suite(
        """
        import subprocess, sys

        @pytest.mark.netem(delay="200ms", pods="app=ann", to="app=bob")
        def test_it(people, ann, bob, netem_profile):
            took(ann, bob)
            asked = [sys.executable, "-c", "from pytest_k8s_netem.cli import main; raise SystemExit(main(['observe']))"]
            done = subprocess.run(asked, capture_output=True, text=True)
            print(done.stdout, done.stderr)
            name = netem_profile.object["metadata"]["name"]
            mine = done.stdout[done.stdout.index(name):].splitlines()
            assert mine[0].split()[:3] == [name, "verified", "1/1"]
            assert mine[1].startswith("    pod/default/ann: 1 packet met, 1 delayed, ")
        """
    )
    result.assert_outcomes(passed=1)
