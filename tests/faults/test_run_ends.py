"""However a run of pytest ends: its network is healed and nothing of it is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from plain_run import Run

Start = Callable[..., Run]
pytestmark = [
    pytest.mark.needs("linux", "netns", "ping"),
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("engine"),
]

STOPS_HERE = """
@pytest.mark.netem(delay="30ms", pods="app=web", to="app=db")
def test_impaired(pods, send, signs):
    say, await_sign = signs
    send()
    say("body")
    await_sign("go")

def test_after(ping):
    assert ping() < 30
"""
SLOW_SETUP = """
@pytest.mark.netem(delay="2s", pods="app=web", to="app=db")
def test_impaired(pods, send):
    send()
"""
"""Its probe alone takes four seconds."""
SLOW_TEARDOWN = """
@pytest.mark.netem(delay="3s", verify="read-back", pods="app=web", to="app=db")
def test_impaired(pods, send):
    send()
"""
"""Packets wait for three seconds; the drain takes one."""


def test_the_end_of_all_tests(start: Start) -> None:
    run = start(STOPS_HERE)
    run.reached("body")
    assert len(run.look()) >= 1 + 4 + 2, "pytest, reaper, stub, pid 1, agent and two pods"
    assert run.files()
    run.allow("go")
    assert run.ended() == 0, run.output
    assert run.outcomes == {"passed": 2}
    run.nothing_left()


@pytest.mark.parametrize("options", [(), ("-x",)], ids=["on", "-x"])
def test_a_failing_test(options: tuple[str, ...], start: Start) -> None:
    source = """
    @pytest.mark.netem(delay="30ms", pods="app=web", to="app=db")
    def test_impaired(pods, send):
        send()
        assert not "this is the failure"

    def test_after(ping):
        assert ping() < 30
    """
    run = start(source, *options)
    assert run.ended() == 1, run.output
    assert run.outcomes == ({"failed": 1} if options else {"failed": 1, "passed": 1})
    assert "this is the failure" in run.output
    run.nothing_left()


PLACES: dict[str, tuple[str, str]] = {
    "setup": (SLOW_SETUP, "imposing-test_impaired"),
    "body": (STOPS_HERE, "body"),
    "teardown": (SLOW_TEARDOWN, "teardown-test_impaired"),
}
SIGNALS: dict[str, Callable[[Run], None]] = {
    "Ctrl-C": Run.interrupt,
    "SIGTERM": lambda run: os.kill(run.process.pid, signal.SIGTERM),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", SIGNALS)
def test_an_interrupted_run_tears_down(how: str, place: str, start: Start) -> None:
    source, sign = PLACES[place]
    run = start(source)
    run.reached(sign)
    run.look()
    SIGNALS[how](run)
    assert run.ended() == pytest.ExitCode.INTERRUPTED, run.output
    assert "Traceback (most recent call last)" not in run.output
    assert "never awaited" not in run.output
    run.nothing_left()


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_run_leaves_nothing(place: str, start: Start) -> None:
    source, sign = PLACES[place]
    run = start(source)
    run.reached(sign)
    run.look()
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.ended() == -signal.SIGKILL
    run.nothing_left()
