"""What the user is told when a part of the plugin dies under a test, and that the next test has its network."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import pytest
from plain_run import Run
from processes import living, still, until

Start = Callable[..., Run]
pytestmark = [pytest.mark.needs("linux", "netns", "ping"), pytest.mark.timeout(180)]

SUITE = """
@pytest.mark.netem(delay="30ms", pods="app=web", to="app=db")
def test_impaired(pods, send, signs):
    say, await_sign = signs
    send()
    say("body")
    await_sign("go")
    {body}

@pytest.mark.netem(delay="40ms", pods="app=web", to="app=db")
def test_after(ping):
    assert 40 <= ping()
"""
LOST = re.compile(
    r"impairment 'netem' lost from \d\d:\d\d:\d\d to (\d\d:\d\d:\d\d|the end) on pod/default/web: "
    r"(its agent ended, or did not answer any more|the process that carries its packets ended or hung)"
)

KILL, STOP = signal.SIGKILL, signal.SIGSTOP


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("number", [KILL, STOP], ids=["killed", "stopped"])
def test_a_lost_agent_is_an_error_of_that_test_alone(number: int, start: Start) -> None:
    """One that is stopped answers nothing; it is ended, and the next one clears what it leaves."""
    run = start(SUITE.format(body="pass"))
    run.reached("body")
    run.look()
    agent = living([run.agent])
    os.kill(*agent, number)
    if number == KILL:
        run.told("GapOpened")
    run.allow("go")
    _that_test_alone(run)
    assert not still(agent)


@pytest.mark.parametrize("number", [KILL, STOP], ids=["killed", "stopped"])
def test_a_lost_worker_is_an_error_of_that_test_alone(number: int, start: Start) -> None:
    run = start(SUITE.format(body="pass"), "--netem-engine=userspace")
    _loses(run, number, worker=True)
    _that_test_alone(run)


def _loses(run: Run, number: int = KILL, *, worker: bool = False, at: str = "body") -> None:
    """Its agent, or a worker, is killed where the test waits; the test goes on when that has been noticed."""
    run.reached(at)
    run.look()
    os.kill(run.workers[0] if worker else run.agent, number)
    run.told("GapOpened")
    run.allow("go")


def _that_test_alone(run: Run) -> None:
    assert run.ended(90) == 1, run.output
    assert run.outcomes == {"passed": 2, "error": 1}, run.output
    assert LOST.search(run.output), run.output
    assert "Traceback" not in run.output
    run.nothing_left()


@pytest.mark.parametrize(
    ("body", "outcomes"),
    [
        ("assert not 'the failure'", {"failed": 1, "passed": 1}),
        ("pytest.skip('the skip')", {"skipped": 1, "passed": 1}),
        ("pytest.xfail('the excuse')", {"xfailed": 1, "passed": 1}),
    ],
    ids=["failed", "skipped", "xfailed"],
)
def test_a_loss_masks_no_other_outcome(body: str, outcomes: dict[str, int], start: Start) -> None:
    run = start(SUITE.format(body=body))
    _loses(run)
    run.ended()
    assert run.outcomes == outcomes, run.output
    run.nothing_left()


def test_a_loss_is_told_where_a_body_passed_that_was_expected_to_fail(start: Start) -> None:
    """pytest takes an error at the end of such a test for one more expected failure."""
    run = start("@pytest.mark.xfail(strict=False)" + SUITE.format(body="pass"))
    _loses(run)
    assert run.ended() == 0, run.output
    assert run.outcomes == {"xpassed": 1, "passed": 1, "warning": 1}, run.output
    told = run.output.partition("warnings summary")[2]
    assert LOST.search(told), run.output
    assert "test_impaired" in told
    assert "that the test passed although it is marked xfail proves nothing" in told
    run.nothing_left()


def test_a_loss_before_the_body_is_a_setup_error(start: Start) -> None:
    source = """
    @pytest.fixture
    def slow_to_come(pods, signs):
        say, await_sign = signs
        say("between")
        await_sign("go")

    @pytest.mark.netem(delay="30ms", pods="app=web", to="app=db", when="first", inert="ignore")
    def test_impaired(slow_to_come):
        raise SystemExit("the body ran")

    def test_after(ping):
        assert ping() < 30
    """
    run = start(source)
    _loses(run, at="between")
    assert run.ended() == 1, run.output
    assert run.outcomes == {"passed": 1, "error": 1}, run.output
    assert "ERROR at setup of test_impaired" in run.output
    assert LOST.search(run.output), run.output
    run.nothing_left()


@pytest.mark.parametrize("who", ["stub", "first"])
def test_a_lost_cluster_is_told_to_every_test(who: str, start: Start) -> None:
    run = start(SUITE.format(body="pass"))
    run.reached("body")
    run.look()
    agent = living([run.agent])
    os.kill(getattr(run, who), KILL)
    until(lambda: not still(agent), lambda: "the agent outlives its cluster")
    run.allow("go")
    assert run.ended(30) == 1, run.output
    assert run.outcomes == {"passed": 1, "error": 2}, run.output
    assert LOST.search(run.output), run.output
    assert "ERROR at setup of test_after" in run.output
    assert "the embedded cluster has ended" in run.output
    assert "Traceback" not in run.output
    run.nothing_left()


@pytest.mark.usefixtures("engine")
def test_a_killed_agent_blocks_no_later_test(start: Start) -> None:
    """It cannot heal, and the impairment ends before anybody could replace it: whoever comes next must clear."""
    source = """
    import os, signal

    def test_killed(pods, send, netem, signs):
        say, await_sign = signs
        with netem.impair(delay="30ms", pods="app=web", to="app=db"):
            send()
            say("body")
            os.kill(int(await_pid()), signal.SIGKILL)

    def await_pid():
        import pathlib, time
        path = pathlib.Path(os.environ["HOME"], "agent")
        while not (path.exists() and path.read_text()):
            time.sleep(0.005)
        return path.read_text()

    def test_after(ping):
        assert ping() < 30
    """
    run = start(source)
    run.reached("body")
    run.look()
    (run.home / "agent").write_text(str(run.agent))
    assert run.ended() == 1, run.output
    assert run.outcomes == {"passed": 2, "error": 1}, run.output
    assert LOST.search(run.output.replace("block", "netem")), run.output
    run.nothing_left()
