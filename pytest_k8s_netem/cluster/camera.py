"""Sees to it that a failing test's state is looked at before it is gone: before a healing, before a deletion."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from dataclasses import dataclass

from pytest_k8s_netem.cluster.looking import LOOK_WITHIN, look
from pytest_k8s_netem.run.snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.cluster.provider import Provider
    from pytest_k8s_netem.run.events import EventLog
    from pytest_k8s_netem.run.portal import Portal

GRACE = 1.0
"""Seconds beyond :data:`LOOK_WITHIN` for a loop that is busy."""
MOST = 4
"""Snapshots that are kept: an error may be one that the test expects, and of several only one is told."""
CHAIN = 20
"""Errors behind an error that are looked at; a chain may be a circle."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A snapshot, and the error that was on its way when it was taken; None = a verdict on the test that follows."""

    snapshot: Snapshot
    error: BaseException | None


class Camera:
    """Snapshots of the running test; the last few are kept until its phase, or the test, has ended.

    :param run: label of the profiles of this process. :param enabled: whether anybody wants to see any.
    :ivar namespaces: those made for tests that are there now.
    """

    def __init__(self, provider: Provider, portal: Portal, events: EventLog, run: str, *, enabled: bool) -> None:
        self._provider, self._portal, self._events, self._run = provider, portal, events, run
        self._enabled = enabled
        self._kept: deque[_Kept] = deque(maxlen=MOST)
        self._began, self._first = time.time(), 0
        self._told = False
        self.namespaces: list[str] = []

    async def before(self, error: BaseException | None) -> None:
        """Look, because what is there is about to go: ``error`` ends it, or a finding that will fail the test.

        Never raises; nothing is done for an error that does not fail a test, nor once the test has failed.
        """
        if self._enabled and not self._told and _fails(error) and not self._has(error):
            self._kept.append(_Kept(await self._look(), error))

    def before_now(self, error: BaseException | None) -> None:
        """The same, from outside the loop; a loop that does not answer is left alone."""
        try:
            self._portal.call(self.before(error), LOOK_WITHIN + GRACE)
        except (TimeoutError, RuntimeError):
            return

    def snapshot(self, error: BaseException | None) -> Snapshot | None:
        """What was seen when this error, which has failed the test, was on its way; else what is there now.

        :raises TimeoutError: if the loop does not answer.
        """
        self._told = True
        for kept in self._kept:
            if kept.error is None or kept.error in _chain(error):
                return kept.snapshot
        if not self._enabled or not self._portal.running:
            return None
        return self._portal.call(self._look(), LOOK_WITHIN + GRACE)

    def phase_over(self, *, last: bool) -> None:
        """Setup, call or teardown has ended; ``last``: the next test begins."""
        verdicts = [kept for kept in self._kept if kept.error is None and not last]  # told at the test's end
        self._kept = deque(verdicts, MOST)
        if last:
            self._began, self._first, self._told = time.time(), self._events.count, False

    async def _look(self) -> Snapshot:
        happened = tuple(itertools.islice(self._events, self._first, None))
        try:
            namespaces = [*self.namespaces[::-1], self._provider.home]
            return await look(self._provider, self._run, namespaces, self._began, happened)
        except Exception as error:  # whatever it is: it must not come before the error that is being looked into
            why = f"{type(error).__name__}: {error}"
            return Snapshot(time.time(), self._began, happened=happened, missing=(why,))

    def _has(self, error: BaseException | None) -> bool:
        """Whether this very error has been met already, on its way through an inner block."""
        return any(kept.error in _chain(error) for kept in self._kept)


def _fails(error: BaseException | None) -> bool:
    """Whether an error fails the test that it comes from; those that end the run do not, nor does a skip."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | asyncio.CancelledError):
        return False
    return type(error).__name__ not in ("Skipped", "Exit")  # pytest's, which this room does not import


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what it came from."""
    found: list[BaseException] = []
    while error is not None and len(found) < CHAIN:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
