"""Every example suite, as a user runs it, on each engine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from nested import PYTEST

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"containers"}
"""Run by the lane that has Docker."""
PROGRAMS = {"redis": "redis", "redis_failover": "redis", "postgres": "postgres"}
"""Folders whose thing under test is a program that a machine may not have."""
FOLDERS = sorted({path.parent.name for path in (ROOT / "examples").glob("*/test_*.py")} - ELSEWHERE)
PLAIN = [folder for folder in FOLDERS if folder not in PROGRAMS]


def _run(folders: list[str], need: str) -> object:
    return pytest.param(folders, id=need, marks=pytest.mark.needs(need))


@pytest.mark.needs("netns")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "folders",
    [
        _run(PLAIN, "linux"),
        *(_run([name for name in PROGRAMS if PROGRAMS[name] == need], need) for need in ("redis", "postgres")),
    ],
)
def test_examples_pass(folders: list[str], engine: str) -> None:
    """Many in one run: half of the time of one is its start, in a guest."""
    command = [*PYTEST, "-q", f"--netem-engine={engine}", *(f"examples/{folder}" for folder in folders)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    assert re.search(r"\d+ passed", last)
    assert "skipped" not in last, done.stdout
