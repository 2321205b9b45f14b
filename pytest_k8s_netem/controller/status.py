"""The one writer of TrafficProfile status: merge patches, coalesced, at most five a second a profile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES, Object
from pytest_k8s_netem.errors import ApiError, NetemError
from pytest_k8s_netem.run.events import ConditionChanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.api.protocol import Api
    from pytest_k8s_netem.run.events import Event

RATE = 5.0
"""Writes a second and profile in the long run; as many may come at once."""
MOST_PODS = 100
"""Pods that a status lists."""
PODS_EXCLUDED = "PodsExcluded"
"""Reason of conditions: some of the selected pods can never be impaired."""
INTERNAL_ERROR = "InternalError"
"""Reason of Accepted=Unknown: the controller has a mistake; it tries again, but hardly with another end."""
INTERRUPTED = "Interrupted"
"""Reason of Accepted=Unknown: what the controller needs, mostly the API server, failed it; it tries again."""

Render = Callable[[str], Object | None]
"""The status that a profile should have now; None = it is not ours to write (any more)."""

_log = logging.getLogger(__name__)


def condition(kind: str, status: bool | None, generation: int, reason: str, message: str = "") -> Object:
    """A condition as Kubernetes writes it, without its time; None = Unknown."""
    text = {True: "True", False: "False", None: "Unknown"}[status]
    return {
        "type": kind,
        "status": text,
        "observedGeneration": generation,
        "reason": reason,
        "message": message[:1024],
    }


def unforeseen(error: BaseException) -> str:
    """One line for an error of the controller's own; the traceback is in its log."""
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"the controller failed with {said}; it tries again, and its log has the traceback"


def failure(error: BaseException) -> tuple[str, str]:
    """Reason and message of Accepted=Unknown after such an error."""
    return (INTERRUPTED if isinstance(error, (NetemError, OSError)) else INTERNAL_ERROR), unforeseen(error)


class _Written:
    """What one profile's status was last, and how many writes it may have at once."""

    def __init__(self, now: float) -> None:
        self.status: Object = {}
        self.tokens = RATE
        self.refilled = now
        self.times: dict[str, tuple[str, str]] = {}

    def wait(self, now: float) -> float:
        """Take a token; else the seconds until there is one."""
        self.tokens = min(RATE, self.tokens + (now - self.refilled) * RATE)
        self.refilled = now
        if self.tokens < 1:
            return (1 - self.tokens) / RATE
        self.tokens -= 1
        return 0.0


class StatusWriter:
    """Asks for a profile's status when it is written, so that only the newest is."""

    def __init__(self, api: Api, render: Render, emit: Callable[[Event], None]) -> None:
        self._api = api
        self._render = render
        self._emit = emit
        self._written: dict[str, _Written] = {}
        self._touched: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._stopped = False

    def touch(self, name: str) -> None:
        """The profile's status may have changed."""
        if self._stopped:
            return
        if name in self._touched:
            self._again.add(name)
            return
        task = asyncio.get_running_loop().create_task(self._write(name), name=f"status of {name}")
        self._touched[name] = task
        task.add_done_callback(lambda done: self._done(name, done))

    def forget(self, name: str) -> None:
        """The profile is gone."""
        self._written.pop(name, None)

    async def stop(self) -> None:
        """Write no more, whatever timers still touch."""
        self._stopped = True
        for task in list(self._touched.values()):
            task.cancel()
        await asyncio.gather(*self._touched.values(), return_exceptions=True)

    async def _write(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._again.discard(name)
            status = self._render(name)
            if status is None:
                return
            written = self._written.setdefault(name, _Written(loop.time()))
            if status == written.status:
                return
            if seconds := written.wait(loop.time()):
                await asyncio.sleep(seconds)
                continue
            await self._patch(name, status, written)
            if name not in self._again:
                return

    async def _patch(self, name: str, status: Object, written: _Written) -> None:
        timed = {**status, "conditions": [_timed(one, written.times) for one in status["conditions"]]}
        for gone in written.status.keys() - status.keys():
            timed[gone] = None
        try:
            await self._api.patch(TRAFFICPROFILES, name, {"status": timed}, subresource="status")
        except ApiError as error:
            if error.status != 404:
                _log.warning("status of TrafficProfile %s: %s", name, error)
            # Also where it is not found: a definition that was replaced this moment may still have had no status.
            self._again.add(name)
            return
        self._tell(name, written.status, status)
        written.status = status

    def _tell(self, name: str, before: Object, after: Object) -> None:
        """An event for each condition that says something else than before, or of another generation."""
        for one in after["conditions"]:
            if one not in before.get("conditions", ()):
                words = (str(one[key]) for key in ("type", "status", "reason", "message"))
                self._emit(ConditionChanged(name, one["observedGeneration"], *words))

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        self._touched.pop(name, None)
        if not task.cancelled() and (error := task.exception()):
            _log.error("status of TrafficProfile %s: %s", name, error, exc_info=error)
        if name in self._again and not task.cancelled():  # touched between the last write and this call
            self._again.discard(name)
            self.touch(name)


def _timed(one: Mapping[str, object], times: dict[str, tuple[str, str]]) -> Object:
    kind, status = str(one["type"]), str(one["status"])
    if times.get(kind, ("", ""))[0] != status:
        times[kind] = (status, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    return {**one, "lastTransitionTime": times[kind][1]}
