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
FOLDERS = sorted({path.parent.name for path in (ROOT / "examples").glob("*/test_*.py")} - ELSEWHERE)
PROGRAMS = {"redis": "redis", "redis_failover": "redis", "postgres": "postgres"}
"""Folders whose thing under test is a program that a machine may not have."""


def _folder(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.needs(PROGRAMS[name]) if name in PROGRAMS else ())


@pytest.mark.needs("netns")
@pytest.mark.parametrize("folder", [_folder(name) for name in FOLDERS])
def test_an_example_passes(folder: str, engine: str) -> None:
    command = [*PYTEST, "-q", f"examples/{folder}"]
    done = subprocess.run(
        [*command, f"--netem-engine={engine}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    assert re.search(r"\d+ passed", last)
    assert "skipped" not in last, done.stdout
