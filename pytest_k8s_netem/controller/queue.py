"""Keys waiting for work: each at most once in the queue and at most once in work, failures later and later."""

from __future__ import annotations

import asyncio

from pytest_k8s_netem.run.retry import backoff


class WorkQueue:
    """A queue of keys; what is added while it is in work comes again after it is done."""

    def __init__(self, first: float = 0.02, most: float = 5.0) -> None:
        self._first = first
        self._most = most
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._dirty: set[str] = set()
        self._working: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def add(self, key: str) -> None:
        """Have the key worked on, soon."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._queue.put_nowait(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Have the key worked on after so many seconds; the earliest of several calls counts."""
        loop = asyncio.get_running_loop()
        before = self._timers.get(key)
        if before is not None:
            if before.when() <= loop.time() + seconds:
                return
            before.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def retry(self, key: str) -> float:
        """Have a key that failed worked on again; the seconds until then grow with each failure in a row."""
        self._failures[key] = self._failures.get(key, 0) + 1
        seconds = backoff(self._failures[key], self._first, self._most)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: str) -> None:
        """The key succeeded: its failures no longer count."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key; say :meth:`done` after the work."""
        key = await self._queue.get()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        """The work on this key has ended."""
        self._working.discard(key)
        if key in self._dirty:
            self._queue.put_nowait(key)

    def close(self) -> None:
        """Drop what waits for a timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)
