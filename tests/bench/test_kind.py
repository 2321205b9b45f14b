"""Figures of a real cluster; on one that is made for them, or on the one that ``NETEM_CLUSTER`` names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from figures import say

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^[.s]*(\| .*)$", re.MULTILINE)
"""A line of figures, behind what pytest says of the test before."""


@pytest.mark.needs("kind")
@pytest.mark.timeout(900)
def test_real_pods() -> None:
    """The provider is chosen for a whole run, so this is a run of its own."""
    options = ["-s", "-q", "-p", "no:cacheprovider", "--netem-provider=kind", "--netem-missing=fail"]
    command = [sys.executable, "-m", "pytest", *options, "tests/bench/on_kind.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    say("\n".join(_ROW.findall(done.stdout)))
