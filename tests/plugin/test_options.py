"""Options: precedence, sources, refusals."""

from __future__ import annotations

import pytest

SHOW = """
from pytest_k8s_netem.options import SETTINGS

def pytest_collection_finish(session):
    print("MISSING", session.config.stash[SETTINGS].missing)
"""


def test_command_line_beats_environment_beats_ini(pytester, monkeypatch):
    pytester.makeconftest(SHOW)
    pytester.makeini("[pytest]\nnetem_missing = skip")
    pytester.runpytest_subprocess("--collect-only").stdout.fnmatch_lines(
        ["netem: provider=local, engine=auto; missing=skip (ini option netem_missing)", "*MISSING skip"]
    )
    monkeypatch.setenv("NETEM_MISSING", "fail")
    pytester.runpytest_subprocess("--collect-only").stdout.fnmatch_lines(["*MISSING fail"])
    pytester.runpytest_subprocess("--collect-only", "--netem-missing=skip").stdout.fnmatch_lines(["*MISSING skip"])


@pytest.mark.parametrize(
    ("ini", "told"),
    [
        ("netem_nodes = many", "ini option netem_nodes: 'many' is not a whole number, 1 or more"),
        ("netem_nodes = 0", "ini option netem_nodes: '0' is not a whole number, 1 or more"),
        ("netem_seed = many", "ini option netem_seed: 'many' is not a whole number"),
        ("netem_missing = maybe", "ini option netem_missing: 'maybe' is not one of fail, skip"),
        ("netem_timeout = -1", "ini option netem_timeout: '-1' is not seconds, 0 or more"),
        ("netem_guest = perhaps", "ini option netem_guest: 'perhaps' is not true or false"),
    ],
)
def test_a_bad_ini_value_is_one_line(pytester, ini, told):
    pytester.makeini(f"[pytest]\n{ini}")
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {told}"])


def test_help_works_on_a_broken_configuration(pytester):
    pytester.makeini("[pytest]\nnetem_nodes = many")
    result = pytester.runpytest_subprocess("--help")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["network emulation (pytest-k8s-netem):", "*--netem-engine={auto,kernel,userspace}*"])


def test_a_plain_run_says_nothing(pytester):
    pytester.makepyfile("def test_nothing(): pass")
    assert "netem:" not in pytester.runpytest_subprocess().stdout.str()
