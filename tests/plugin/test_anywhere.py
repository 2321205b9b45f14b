"""On any operating system the plugin installs and collects; what needs Linux says so when it is used."""

from __future__ import annotations

import pytest

ELSEWHERE = """
import os, platform, sys

platform.system = lambda: "Windows"
sys.modules["fcntl"] = sys.modules["pyroute2"] = None  # importing them is an ImportError
del os.getuid
"""

SUITE = """
import pytest

@pytest.mark.netem(delay="100ms")
def test_impaired(): ...

def test_plain(): ...
"""


@pytest.fixture
def elsewhere(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(ELSEWHERE)
    pytester.makepyfile(SUITE)
    return pytester


def test_it_collects(elsewhere):
    result = elsewhere.runpytest_subprocess("--collect-only", "-q", "--basetemp=tmp")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*::test_impaired", "*::test_plain"])


def test_the_first_use_says_what_is_missing(elsewhere):
    result = elsewhere.runpytest_subprocess("--basetemp=tmp")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["the embedded cluster needs Linux, this is Windows; *"])
    assert "Traceback" not in result.stdout.str()


def test_missing_can_be_a_skip_for_those_who_ask(elsewhere):
    result = elsewhere.runpytest_subprocess("--netem-missing=skip", "-rs", "--basetemp=tmp")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs Linux*"])
