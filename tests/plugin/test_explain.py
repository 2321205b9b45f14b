"""``netem explain`` beside pytest: the same words for the same mistakes, and nothing loaded that it does not need."""

from __future__ import annotations

import subprocess
import sys

NETEM = [sys.executable, "-c", "from pytest_k8s_netem.cli import main; raise SystemExit(main())"]


def test_a_mistake_has_the_words_of_the_marker(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netem(delay=100, jitter="10%", to="db")
        def test_it(): ...
        """
    )
    ran = pytester.runpytest_subprocess("--collect-only", "-p", "no:xdist")
    asked = subprocess.run(
        [*NETEM, "explain", 'delay=100, jitter="10%", to="db"'], capture_output=True, text=True, check=False
    )
    assert (asked.returncode, asked.stdout) == (2, "")
    told = [line.removeprefix("netem marker refused:").strip() for line in ran.outlines]
    assert len(asked.stderr.splitlines()) == 3
    assert [line for line in asked.stderr.splitlines() if line not in told] == []


def test_it_is_listed_and_its_status_is_zero():
    listed = subprocess.run([*NETEM, "--help"], capture_output=True, text=True, check=True)
    assert "explain say what a marker or a TrafficProfile means" in " ".join(listed.stdout.split())
    done = subprocess.run([*NETEM, "explain", 'rtt="100ms"'], capture_output=True, text=True, check=True)
    assert "two of these pods: 100ms longer (50ms there, 50ms back)" in done.stdout
    assert done.stderr == ""


def test_nothing_is_evaluated(tmp_path):
    mark = tmp_path / "mark"
    text = f"delay=open({str(mark)!r}, 'w').name"
    asked = subprocess.run([*NETEM, "explain", text], capture_output=True, text=True, check=False)
    assert asked.returncode == 2
    assert "nothing is evaluated here" in asked.stderr
    assert not mark.exists()
