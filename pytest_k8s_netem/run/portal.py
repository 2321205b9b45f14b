"""The way into the run's event loop: one daemon thread that owns store, controller, channels, timers and children."""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
import time
from concurrent.futures import wait
from contextlib import suppress

from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future
    from typing import Any, TypeVar

    T = TypeVar("T")

SLICE = 0.5
"""Seconds of one wait: Python notices a signal that comes just before a wait only when that wait is over."""
STOP_WITHIN = 10.0
"""Seconds that cancelled work has to end in."""


class Portal:
    """Runs coroutines on its own thread; starts with the first one.

    Children are to be spawned by coroutines: this thread lives until :meth:`stop`, and PR_SET_PDEATHSIG follows the
    thread that forked (prctl(2)). Signals are left to the main thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    @property
    def running(self) -> bool:
        """Whether there is a loop in this process."""
        return self._loop is not None and self._pid == os.getpid()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin the work; the future can be waited for here or, by :func:`asyncio.wrap_future`, in another loop.

        :raises RuntimeError: in a forked child, which has no such thread.
        """
        try:
            return asyncio.run_coroutine_threadsafe(work, self._start())
        except Exception:  # not Ctrl-C: the work may have begun by then
            work.close()
            raise

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Do the work and wait for it. Ctrl-C ends the wait, not the work; a timeout (s) ends both.

        So does what else a signal's handler raises, as pytest-timeout's does: the test is over, the run goes on.

        :raises TimeoutError: when the time is over. :raises RuntimeError: on the loop's own thread, and in a fork.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("called on the event loop's own thread, which would wait for itself")
        future = self.submit(work)
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while not future.done():
                left = SLICE if end is None else min(SLICE, end - time.monotonic())
                if left <= 0:
                    raise TimeoutError
                wait([future], left)
        except KeyboardInterrupt:
            raise
        except BaseException:
            future.cancel()
            raise
        return future.result()

    def stop(self) -> None:
        """Cancel what still runs, wait for it, end the thread. Nothing happens if it never began, or in a child."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not self.running:
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_wind_up(), loop).result(STOP_WITHIN + 1)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_WITHIN)
        self._loop = self._thread = None

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                selector = selectors.DefaultSelector()
                if hasattr(selector, "fileno"):
                    keep_from_children(selector)
                self._loop = asyncio.SelectorEventLoop(selector)
                self._pid = os.getpid()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="netem", daemon=True)
                self._thread.start()
            if self._pid != os.getpid():
                raise RuntimeError(f"this is a fork of process {self._pid}, which alone can change the network")
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _wind_up() -> None:
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=STOP_WITHIN)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
