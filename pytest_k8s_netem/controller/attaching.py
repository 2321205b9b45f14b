"""Attaches pods beside rounds: one whose agent is lost, and tried for as long as its lease lasts, holds no other up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Set
    from typing import Any

WAITED_FOR = 1.0
"""Seconds that a round waits for an attempt that it can do without; an agent that was killed is back in 0.1."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    uid: str
    task: asyncio.Task[bool]
    began: float


class Attaching:
    """The attempts that go on, one a pod; belongs to one event loop.

    :param attach: attaches a pod. :param wake: has another round, called when an attempt ends that none waited for.
    """

    def __init__(self, attach: Callable[[str], Coroutine[Any, Any, bool]], wake: Callable[[], None]) -> None:
        self._attach, self._wake = attach, wake
        self._attempts: dict[str, _Attempt] = {}

    @property
    def late(self) -> frozenset[str]:
        """Pods whose attempts a later round will hear of; until then they are not to be touched."""
        return frozenset(self._attempts)

    def begin(self, wanted: Mapping[str, str]) -> None:
        """Attach these pods (uids by ``namespace/name``) and no others."""
        for key in [key for key, one in self._attempts.items() if wanted.get(key) != one.uid]:
            self._attempts.pop(key).task.cancel()
        for key in wanted.keys() - self._attempts.keys():
            task = asyncio.get_running_loop().create_task(self._attach(key), name=f"attach {key}")
            self._attempts[key] = _Attempt(wanted[key], task, time.monotonic())

    async def ended(self, needed: Set[str]) -> dict[str, bool | BaseException]:
        """What attempts have come to, each told once: of those needed when they end, of others if that is soon."""
        if awaited := [one.task for key, one in self._attempts.items() if key in needed]:
            await asyncio.wait(awaited)
        since = time.monotonic() - WAITED_FOR
        young = [one for one in self._attempts.values() if one.began > since and not one.task.done()]
        if young:
            await asyncio.wait([one.task for one in young], timeout=max(one.began for one in young) - since)
        done = {key: one.task for key, one in self._attempts.items() if one.task.done()}
        for key in done:
            del self._attempts[key]
        for one in self._attempts.values():
            one.task.add_done_callback(self._told)
        return {key: task.exception() or task.result() for key, task in done.items()}

    async def stop(self) -> None:
        """End all attempts."""
        tasks = [one.task for one in self._attempts.values()]
        self._attempts.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _told(self, task: asyncio.Task[bool]) -> None:
        if not task.cancelled():
            self._wake()
