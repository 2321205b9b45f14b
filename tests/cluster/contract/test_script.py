"""Type Script: the user's own executable beside the controller, where it was allowed, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("netns")

PROFILE = """
def profile(**parameters):
    return {
        "apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "metadata": {"name": "mine"},
        "spec": {"podSelector": {"matchLabels": {"app": "ann"}}, "type": "Script", "parameters": parameters,
                 "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "bob"}}}],
                             "ports": [{"port": 4000, "protocol": "udp"}]}]},
    }
"""
GOOD = """#!/usr/bin/env python3
import json, os, signal, sys, time, pathlib
seen = pathlib.Path(__file__).parent
def end(*_):
    (seen / "ended").write_text("SIGTERM")
    sys.exit()
signal.signal(signal.SIGTERM, end)
last = None
while True:
    text = open(sys.argv[1]).read()
    if text != last:
        last = text
        document = json.loads(text)
        (seen / "new").write_text(json.dumps({"document": document, "pid": os.getpid(), "argv": sys.argv}))
        os.rename(seen / "new", seen / "seen.json")
    time.sleep(0.01)
"""


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put an executable on PATH."""

    def put(text: str, name: str = "tc-script") -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return tmp_path

    return put


def test_without_the_option_it_is_refused_with_the_fix(suite, on_path):
    folder = on_path("#!/bin/sh\ntouch ran; sleep infinity\n")
    result = suite(
        PROFILE
        + """
@pytest.fixture
def netem_spec():
    return profile()

def test_refused(people, netem_profile):
    raise AssertionError("must not run")
"""
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*type Script*allow it with --netem-allow-script*"])
    assert not (folder / "ran").exists()


def test_it_is_told_by_a_document_and_ends_with_the_profile(suite, on_path):
    folder = on_path(GOOD)
    result = suite(
        PROFILE
        + f"""
import json, pathlib
FOLDER = pathlib.Path({str(folder)!r})
"""
        + """
def seen(condition=lambda found: True):
    def look():
        path = FOLDER / "seen.json"
        found = json.loads(path.read_text()) if path.exists() else None
        return found if found and condition(found) else None
    return eventually(look)

def test_runs(netem, people, ann, bob):
    with netem.impair(profile=profile(custom={"any": [1, "thing"]})) as handle:
        told = seen()
        (flow,) = told["document"]["flows"]
        assert told["document"]["interface"] == "eth0"
        assert len(told["argv"]) == 2
        assert flow["parameters"] == {"custom": {"any": [1, "thing"]}}
        assert flow["metadata"]["name"] == handle.object["metadata"]["name"]
        assert any(address(bob) in text for match in flow["filter"]["egress"] for text in match["remote"])
        assert flow["filter"]["ingress"] == []
        handle.replace(profile=profile(custom=2))
        changed = seen(lambda found: found["document"]["flows"][0]["parameters"] == {"custom": 2})
        assert changed["pid"] == told["pid"], "it was told, not started anew"
    assert (FOLDER / "ended").read_text() == "SIGTERM"
""",
        "--netem-allow-script",
    )
    result.assert_outcomes(passed=1)


def test_it_is_killed_if_it_does_not_end(suite, on_path):
    folder = on_path("#!/bin/sh\ntrap '' TERM\necho $$ > $(dirname $0)/pid\nwhile :; do sleep 0.05; done\n")
    result = suite(
        PROFILE
        + f"FOLDER = {str(folder)!r}\n"
        + """
def test_stubborn(netem, people, ann):
    with netem.impair(profile=profile()):
        number = eventually(lambda: ann.exec(["cat", FOLDER + "/pid"], check=False).stdout.strip())
        assert ann.exec(["kill", "-0", number], check=False).returncode == 0
    assert ann.exec(["kill", "-0", number], check=False).returncode != 0
""",
        "--netem-allow-script",
    )
    result.assert_outcomes(passed=1)


def test_it_may_be_named_and_its_failure_is_told(suite, on_path):
    folder = on_path("#!/bin/sh\necho no such class >&2\ntouch $(dirname $0)/failed\nexit 3\n", "shape-it")
    result = suite(
        PROFILE
        + f"""
import pathlib
FOLDER = pathlib.Path({str(folder)!r})
"""
        + """
def test_fails(netem, people, ann):
    with netem.impair(profile=profile(executable="shape-it")) as handle:
        eventually(lambda: (FOLDER / "failed").exists())
        for _ in range(3):
            people.exec("ann", ["true"])  # ends after the script has

def test_missing(netem, people):
    with netem.impair(profile=profile(executable="not-there")):
        raise AssertionError("must not run")
""",
        "--netem-allow-script",
    )
    text = result.stdout.str()
    assert "its script shape-it ended by itself, with status 3" in text
    assert "no such class" in text
    assert "not-there" in text
    assert "must not run" not in "".join(line for line in result.outlines if line.startswith("E "))
