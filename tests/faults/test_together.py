"""Runs beside each other, and xdist: clusters do not clash, reports arrive, and nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from plain_run import Run
from processes import until

Start = Callable[..., Run]
pytestmark = [pytest.mark.needs("linux", "netns", "ping"), pytest.mark.timeout(300)]

SUITE = """
@pytest.mark.parametrize("delay", [20, 40, 60, 80])
def test_slow(ping, netem_spec, netem_profile, delay, signs):
    say, await_sign = signs
    say(f"body-{delay}")
    await_sign("go")
    assert delay <= ping() < delay + 20

@pytest.fixture
def netem_spec(delay):
    return {"delay": f"{delay}ms", "pods": "app=web", "to": "app=db"}
"""


def test_plain_runs_beside_each_other(start: Start) -> None:
    runs = [start(SUITE, name=name) for name in ("one", "two", "three")]
    for run in runs:
        run.reached("body-20")
        run.look()
    for run in runs:
        run.allow("go")
    for run in runs:
        assert run.ended(120) == 0, run.output
        assert run.outcomes == {"passed": 4}
        run.nothing_left()


def test_a_cluster_for_each_worker_of_xdist(start: Start) -> None:
    run = start(SUITE, "-n4")
    for delay in (20, 40, 60, 80):
        run.reached(f"body-{delay}")
    assert len([*run.runtime.glob("pytest-k8s-netem/*")]) == 4
    run.look()
    run.allow("go")
    assert run.ended(120) == 0, run.output
    assert run.outcomes == {"passed": 4}
    for delay in (20, 40, 60, 80):
        assert f"netem: delay {delay}ms, egress of app=web to app=db: measured RTT {delay}" in run.output, run.output
    run.nothing_left()


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGKILL"])
def test_the_end_of_xdist(how: str, start: Start) -> None:
    run = start(SUITE, "-n2")
    until(lambda: len([*run.home.glob("body-*")]) == 2, lambda: run.output)
    run.look()
    if how == "Ctrl-C":
        run.interrupt()
        assert run.ended(120) == pytest.ExitCode.INTERRUPTED, run.output
    else:
        os.kill(run.process.pid, signal.SIGKILL)
        run.ended()
    run.nothing_left()
