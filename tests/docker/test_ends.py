"""However an impairment of a container ends, its network is healed in time and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess

import beside
import pytest
from beside import docker, until
from people import ROOT

pytestmark = [pytest.mark.needs("linux", "root", "docker", "tc"), pytest.mark.timeout(400)]

HEALED_WITHIN = 35
"""Seconds: the lease and 5 (semantics of ends)."""
STOPS_HERE = """
@pytest.mark.netem(delay="80ms", pods="container/client")
def test_impaired(attached, rtt, signs):
    say, await_sign = signs
    assert rtt() >= 80
    say("body")
    await_sign("go")
"""


def test_a_killed_run(who, run, pair):
    before = [beside.state(name) for name in pair.names]
    suite = run(who, STOPS_HERE, begin=True)
    suite.reached("body")
    assert pair.rtt() >= 80
    assert bool(beside.helpers()) == (who is not ROOT)
    suite.send(signal.SIGKILL)
    assert suite.ended() == -signal.SIGKILL
    until(lambda: pair.rtt(1) < 40, "healed", HEALED_WITHIN)
    until(lambda: not beside.helpers(), "helper containers have ended", 30)
    until(lambda: [beside.state(name) for name in pair.names] == before, "their networks are as before", 10)
    until(lambda: not left_of(suite), lambda: f"processes are left: {left_of(suite)}", 10)


def left_of(suite) -> list[str]:
    """Processes that were started with the suite's home."""
    shown = subprocess.run(["ps", "axeww", "-o", "pid,command"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if f"HOME={suite.home} " in line or line.endswith(f"HOME={suite.home}")]


def test_an_interrupted_run(who, run, pair):
    suite = run(who, STOPS_HERE, begin=True)
    suite.reached("body")
    suite.send(signal.SIGINT)
    assert suite.ended() == pytest.ExitCode.INTERRUPTED, suite.output
    assert pair.rtt() < 40
    assert not beside.helpers()


def test_a_suspended_run_is_healed_and_told(run, pair):
    suite = run(ROOT, STOPS_HERE, begin=True)
    suite.reached("body")
    suite.send(signal.SIGSTOP)
    try:
        until(lambda: pair.rtt(1) < 40, "healed", HEALED_WITHIN)
    finally:
        suite.send(signal.SIGCONT)
    suite.allow("go")
    assert suite.ended() == 1, suite.output
    assert suite.outcomes == {"passed": 1, "error": 1}, suite.output
    assert "impairment 'netem' lost from" in suite.output


def test_a_container_that_stops_is_no_mistake(who, run, pair):
    suite = run(
        who,
        """
        import os

        @pytest.mark.netem(delay="60ms", pods=["container/server", "container/client"])
        def test_failover(attached, rtt, docker):
            assert rtt() >= 120
            docker("stop", "-t", "2", os.environ["SERVER"])

        def test_it_can_be_named_no_more(attached, netem):
            with pytest.raises(Exception, match="container/server: nobody has attached"):
                netem.impair(delay="1ms", pods="container/server").__enter__()
            assert attached[0].ip == ""
        """,
    )
    try:
        assert suite.outcomes == {"passed": 2}, suite.output
    finally:
        docker("start", pair.server)
    until(pair.serves, "the server serves", 30)


def test_a_restarted_container_is_impaired_again(who, run, pair):
    suite = run(
        who,
        """
        import os, time

        @pytest.mark.netem(delay="60ms", pods="container/server")
        def test_restarted(attached, rtt, measure, docker, netem_profile):
            assert rtt() >= 60
            docker("restart", "-t", "2", os.environ["SERVER"])
            deadline = time.monotonic() + 30
            while not ((seen := measure("rtt", 1, check=False)) and seen["rtts"][0] >= 0.06):
                assert time.monotonic() < deadline
            assert rtt() >= 60
            assert "container/server" in netem_profile.observed()
            assert attached[0].ip
        """,
    )
    late = "lost" in suite.output and "it ran before it was impaired" in suite.output  # on a very busy machine
    assert suite.outcomes == {"passed": 1, **({"error": 1} if late else {})}, suite.output
    until(lambda: pair.rtt(1) < 40, "healed", 10)


def test_two_runs_do_not_share_a_container(run, pair, user):
    first = run(ROOT, STOPS_HERE, begin=True)
    first.reached("body")
    second = run(user, "def test_second(attached): ...")
    assert second.outcomes == {"error": 1}, second.output
    assert f"container {pair.server}" in second.output
    assert "is attached by another process of pytest on this machine" in second.output
    assert pair.rtt() >= 80, "the first goes on"
    first.allow("go")
    assert first.ended() == 0, first.output


def test_what_a_dead_run_left_is_swept_and_what_lives_stays(run, pair, user):
    """A helper whose run was killed, and whose lease has not ended yet."""
    living = run(user, STOPS_HERE, begin=True)
    living.reached("body")
    before = beside.helpers()
    environment = {**os.environ, **user.environment, "HOME": str(living.home), "TMPDIR": str(living.folder / "tmp")}
    sweep = [
        *user.become,
        user.python,
        "-c",
        "import sys; from pytest_k8s_netem.cli import main; sys.exit(main(['sweep']))",
    ]

    def swept() -> str:
        return subprocess.run(sweep, env=environment, capture_output=True, text=True, check=True).stdout

    assert "dead runs left nothing behind" in swept()
    assert beside.helpers() == before
    living.send(signal.SIGKILL)
    living.ended()
    until(lambda: not left_of(living), "the run is over", 20)
    told = swept()
    assert all(f"removed container {name} of run" in told for name in before), told
    assert not beside.helpers()
    assert pair.rtt() < 40


def test_a_killed_run_does_not_disturb_the_next_one(run, pair, user):
    killed = run(user, STOPS_HERE, begin=True)
    killed.reached("body")
    killed.send(signal.SIGKILL)
    killed.ended()
    assert beside.helpers(), "its lease has not ended"
    following = run(
        user,
        """
        @pytest.mark.netem(delay="60ms", pods="container/client")
        def test_again(attached, rtt):
            assert rtt() >= 60
        """,
    )
    assert following.outcomes == {"passed": 1}, following.output
    assert not beside.helpers()
    assert pair.rtt() < 40


def test_a_killed_runs_agent_that_hangs_takes_nothing_of_the_next_one_along(run, pair):
    """It goes on, and ends, when the next run has impaired the same container."""
    killed = run(ROOT, STOPS_HERE, begin=True)
    killed.reached("body")
    [agent] = agents_of(killed)
    os.kill(agent, signal.SIGSTOP)
    try:
        killed.send(signal.SIGKILL)
        killed.ended()
        following = run(ROOT, STOPS_HERE, begin=True)
        following.reached("body")
        assert pair.rtt() >= 80
        assert pair.rtt() < 160, "once, not by both"
    finally:
        os.kill(agent, signal.SIGCONT)
    until(lambda: not left_of(killed), "the hung agent has ended", 30)
    assert pair.rtt() >= 80
    following.allow("go")
    assert following.ended() == 0, following.output
    assert pair.rtt() < 40


def agents_of(suite) -> list[int]:
    """Process ids of agents that a suite's process has started."""
    argv = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(suite.process.pid)]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in shown.splitlines() if " keep " in line]


def test_a_fork_of_the_test_process_keeps_nothing_alive(run, pair, user):
    """A child that a killed run leaves behind, as multiprocessing makes them, holds none of its streams."""
    suite = run(
        user,
        """
        import os, time

        @pytest.mark.netem(delay="80ms", pods="container/client")
        def test_forks(attached, rtt, signs):
            assert rtt() >= 80
            if os.fork() == 0:
                time.sleep(100)
                os._exit(0)
            signs[0]("body")
            signs[1]("go")
        """,
        begin=True,
    )
    suite.reached("body")
    suite.send(signal.SIGKILL)
    until(lambda: pair.rtt(1) < 40, "healed", HEALED_WITHIN)
    until(lambda: not beside.helpers(), "helper containers have ended", 30)
