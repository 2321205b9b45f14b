"""The event loop's thread: answers, errors, interrupts, forks, and an end without remains."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pytest_k8s_netem.run.forks import keep_from_children
from pytest_k8s_netem.run.portal import Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "netem"]


async def thread_name() -> str:
    return threading.current_thread().name


def test_nothing_begins_before_it_is_used(portal: Portal) -> None:
    assert not portal.running
    portal.stop()
    assert portal.call(thread_name()) == "netem"
    assert portal.running


def test_results_and_errors_come_back(portal: Portal) -> None:
    async def fails() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        portal.call(fails())

    async def elsewhere() -> str:
        return await asyncio.wrap_future(portal.submit(thread_name()))

    assert asyncio.run(elsewhere()) == "netem"


def test_a_timeout_ends_the_work(portal: Portal) -> None:
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        portal.call(work(), 0.01)
    assert ended.wait(10)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Shells start what they run in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_wait_and_not_the_work(portal: Portal, interruptible: None) -> None:
    begun, go, done = threading.Event(), asyncio.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        await go.wait()
        done.set()

    def interrupt() -> None:
        begun.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        portal.call(work())

    async def release() -> None:
        go.set()

    portal.call(release())
    assert done.wait(10)


class Over(BaseException):
    """What the handler of pytest-timeout raises is of this kind."""


def test_what_a_signal_raises_ends_the_work_too(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()

    def handler(*_: object) -> None:
        raise Over

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    def wait(*_: object) -> None:
        begun.wait(10)
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(10)

    monkeypatch.setattr("pytest_k8s_netem.run.portal.wait", wait)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Over):
            portal.call(work())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended.wait(10)


def test_waiting_for_itself_is_refused(portal: Portal) -> None:
    async def work() -> None:
        portal.call(thread_name())

    with pytest.raises(RuntimeError, match="wait for itself"):
        portal.call(work())


def test_stopping_cancels_and_waits(portal: Portal) -> None:
    cleaned = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    future = portal.submit(work())
    portal.call(asyncio.sleep(0))
    portal.stop()
    assert cleaned.is_set()
    assert future.cancelled()
    assert portal.call(thread_name()) == "netem"


def test_children_of_the_loop_outlive_the_call(portal: Portal) -> None:
    """The kernel sends PR_SET_PDEATHSIG when the thread that forked ends, so that thread has to stay."""
    code = "import ctypes,signal,sys;ctypes.CDLL(None).prctl(1,9);print('ready',flush=True);sys.stdin.read()"

    async def spawn() -> asyncio.subprocess.Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
        return child

    async def finish(child: asyncio.subprocess.Process) -> int:
        await child.communicate(b"")
        return await child.wait()

    child = portal.call(spawn())
    portal.call(asyncio.sleep(0.05))
    assert portal.call(finish(child)) == 0


def in_fork(work: object) -> int:
    """Exit status of a forked child that runs ``work``: 0 if it returned True."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if callable(work) and work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_and_harms_nothing(portal: Portal) -> None:
    portal.call(thread_name())

    def child() -> bool:
        try:
            portal.call(thread_name())
        except RuntimeError as error:
            portal.stop()
            return "fork" in str(error) and not portal.running
        return False

    assert in_fork(child) == 0
    assert portal.call(thread_name(), 10) == "netem"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_a_stream_open() -> None:
    ours, theirs = socket.socketpair()
    keep_from_children(ours)
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        os.read(go_read, 1)
        ours.close()
        os._exit(0)
    ours.close()
    theirs.settimeout(10)
    assert theirs.recv(1) == b"", "the child still holds the other end"
    os.close(go_write)
    os.close(go_read)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    theirs.close()


def test_an_idle_portal_is_idle(portal: Portal) -> None:
    portal.call(thread_name())
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.15
