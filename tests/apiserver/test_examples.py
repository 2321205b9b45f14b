"""All example suites, as a user runs them, on a real API server: one run, so one server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from nested import PYTEST

ROOT = Path(__file__).parents[2]


@pytest.mark.needs("netns", "apiserver", "redis", "postgres")
@pytest.mark.timeout(600)
def test_every_example_passes() -> None:
    elsewhere = "--ignore=examples/containers"  # the lane that has Docker runs it
    command = [*PYTEST, "-q", "--netem-provider=apiserver", elsewhere, "examples"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    assert re.search(r"\d+ passed", last)
    assert "skipped" not in last, done.stdout
