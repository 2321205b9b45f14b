"""The bounded log of one kind's changes that watches read from, and resume from."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import Any, NamedTuple

from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Entry(NamedTuple):
    """One change: its resource version, ``ADDED``/``MODIFIED``/``DELETED``, and the object, never changed later."""

    version: int
    type: str
    object: dict[str, Any]


class History:
    """Changes in order of version; at least the last ``limit`` are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: list[Entry] = []
        self._floor = 0
        self._waiting: set[asyncio.Event] = set()

    def append(self, entry: Entry) -> None:
        """Add a change and wake those who wait for it."""
        self._entries.append(entry)
        if len(self._entries) >= 2 * self._limit:  # trimmed by halves, so that the cost is constant per change
            self._floor = self._entries[-self._limit - 1].version
            del self._entries[: -self._limit]
        self.wake()

    def wake(self) -> None:
        """Make all who wait look again."""
        for event in self._waiting:
            event.set()

    def after(self, version: int) -> Sequence[Entry]:
        """Changes later than ``version``.

        :raises ApiError: 410 Expired if some of them are forgotten.
        """
        if version < self._floor:
            raise ApiError(410, "Expired", f"too old resource version: {version} ({self._floor})")
        return self._entries[bisect_right(self._entries, version, key=lambda entry: entry.version) :]

    async def changed(self, version: int) -> None:
        """Wait for a change later than ``version``, or for :meth:`wake`."""
        if self._entries and self._entries[-1].version > version:
            return
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)
