"""A run of pytest that a test starts, as those of plugins' authors do."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.needs("netns")

NESTED = """
import subprocess, sys

def test_outer(netem_cluster, tmp_path):
    (tmp_path / "test_inner.py").write_text("def test(netem_cluster): pass")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
"""


def test_a_run_inside_of_xdists_worker_has_a_cluster_of_its_own(suite):
    suite(NESTED, "-n", "1").assert_outcomes(passed=1)
