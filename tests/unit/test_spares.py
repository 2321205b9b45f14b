"""Idle workers: kept for a while, for the next plan, and never more than a few; real processes, time that is told."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fakeground import ManualLoop

from pytest_k8s_netem.agent.dataplane.process import Process
from pytest_k8s_netem.agent.spares import LONGEST, MOST, Spares

pytestmark = pytest.mark.needs("linux")


@pytest.fixture
def loop() -> Iterator[ManualLoop]:
    made = ManualLoop()
    yield made
    made.close()


@pytest.fixture
def spares(loop: ManualLoop) -> Iterator[Spares]:
    made = Spares(loop)
    yield made
    made.close()


def gone(pid: int) -> bool:
    """Whether nothing is left of a child of ours, not even what waits to be reaped."""
    return not Path(f"/proc/{pid}").exists()


def until_gone(loop: ManualLoop, *processes: Process) -> None:
    """Wait until they have ended, then let the time pass in which one look is taken at them."""
    for process in processes:
        with suppress(ChildProcessError):  # somebody has waited for it
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    loop.pass_time(0.005)
    assert all(gone(process.pid) for process in processes)


def test_the_worker_that_became_idle_last_is_the_next(spares: Spares) -> None:
    first, second = spares.take(), spares.take()
    spares.put(first)
    spares.put(second)
    assert spares.take() is second
    assert spares.take() is first
    assert first.ask("read", stages=[]) == {}
    spares.put(first)
    spares.put(second)


def test_a_worker_that_nobody_needs_ends(loop: ManualLoop, spares: Spares) -> None:
    early, late = spares.take(), spares.take()
    spares.put(early)
    loop.pass_time(LONGEST / 2e9)
    spares.put(late)
    loop.pass_time(LONGEST / 2e9)
    until_gone(loop, early)
    assert late.ask("read", stages=[]) == {}
    loop.pass_time(LONGEST / 2e9)
    until_gone(loop, late)
    assert loop.watched == {}


def test_one_that_is_taken_in_time_lives_on(loop: ManualLoop, spares: Spares) -> None:
    worker = spares.take()
    spares.put(worker)
    assert spares.take() is worker
    loop.pass_time(LONGEST / 1e9)
    assert worker.ask("read", stages=[]) == {}
    spares.put(worker)


def test_few_are_kept(loop: ManualLoop, spares: Spares) -> None:
    workers = [spares.take() for _ in range(MOST + 1)]
    for worker in workers:
        spares.put(worker)
    until_gone(loop, workers[-1])
    assert [gone(worker.pid) for worker in workers[:-1]] == [False] * MOST


@pytest.mark.parametrize("told", [True, False])
def test_one_that_was_killed_is_never_given_away(loop: ManualLoop, spares: Spares, told: bool) -> None:
    """Whether the loop got round to telling of its end or not."""
    worker = spares.take()
    descriptor = worker.descriptor
    spares.put(worker)
    os.kill(worker.pid, signal.SIGKILL)
    assert select.select([descriptor], [], [], 10)[0]
    if told:
        loop.watched[descriptor](1)
    other = spares.take()
    assert other.pid != worker.pid
    assert other.ask("read", stages=[]) == {}
    until_gone(loop, worker)
    spares.put(other)


def test_closing_ends_all_of_them(spares: Spares) -> None:
    workers = [spares.take(), spares.take()]
    for worker in workers:
        spares.put(worker)
    spares.close()
    assert all(gone(worker.pid) for worker in workers)
