"""Leases that profiles name: a profile whose holder has stopped to renew is deleted, and so healed."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from pytest_k8s_netem.api.protocol import LEASES, TRAFFICPROFILES
from pytest_k8s_netem.controller.leases import LEASE, PORTIONS
from pytest_k8s_netem.controller.moments import unix
from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api, Object
    from pytest_k8s_netem.controller.runtime import Runtime

LOOK_EVERY = 1.5
"""Seconds between two looks at a lease; one get for each that is named, however many profiles name it."""

GRACE = LEASE / PORTIONS + 2
"""Seconds that a lease lives at least after it is seen for the first time: who lives renews it by then, whatever this
process's clock says of it."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """A lease as last seen to change; seconds on this process's own clock, so that clocks need not agree.

    :ivar renewed: what it said then; "" = it has not been seen, or not since the API server was out of reach.
    """

    renewed: str
    at: float
    seconds: float = LEASE


class Holders:
    """Follows the leases that profiles name in ``spec.lease``; belongs to one event loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._api: Api = runtime.api
        self._names: dict[str, set[str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        runtime.informer(TRAFFICPROFILES).subscribe(self._changed)

    async def stop(self) -> None:
        """Follow none any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, name: str, old: Object | None, new: Object | None) -> None:
        before, now = _lease(old), _lease(new)
        if before == now:
            return
        if before:
            self._names[before].discard(name)
            if not self._names[before]:
                del self._names[before]
                self._tasks.pop(before).cancel()
        if now:
            self._names.setdefault(now, set()).add(name)
            if now not in self._tasks:
                task = asyncio.get_running_loop().create_task(self._follow(now), name=f"lease {now}")
                self._tasks[now] = task

    async def _follow(self, lease: str) -> None:
        seen = _Seen("", time.monotonic())
        while True:
            if await self._over(lease, seen):
                await self._end(lease, seen.seconds)
            await asyncio.sleep(LOOK_EVERY)

    async def _over(self, lease: str, seen: _Seen) -> bool:
        """Whether nobody has renewed it for its time; one that is not there ends as one that is not renewed."""
        namespace, _, name = lease.partition("/")
        try:
            spec = (await self._api.get(LEASES, name, namespace))["spec"]
            renewed = str(spec.get("renewTime") or spec.get("acquireTime"))
            seen.seconds = float(spec.get("leaseDurationSeconds") or LEASE)
            if renewed != seen.renewed:
                seen.at = time.monotonic() - (0.0 if seen.renewed else _age(renewed, seen.seconds))
                seen.renewed = renewed
        except ApiError as error:
            if error.status != 404:  # out of reach for the run too, perhaps: it is looked at as for the first time
                _log.warning("lease %s: %s", lease, error)
                seen.renewed = ""
                return False
        return time.monotonic() - seen.at > seen.seconds

    async def _end(self, lease: str, seconds: float) -> None:
        for name in sorted(self._names.get(lease, ())):
            _log.warning("TrafficProfile %s is deleted: its lease %s was not renewed for %g s", name, lease, seconds)
            try:
                await self._api.delete(TRAFFICPROFILES, name)
            except ApiError as error:
                if error.status != 404:
                    _log.warning("TrafficProfile %s: %s", name, error)


def _age(renewed: str, seconds: float) -> float:
    """How long ago a lease was renewed that nobody here has seen before, by its own word as far as that can be so.

    A controller that takes over does not give a dead run a whole lease more.
    """
    at = unix(renewed)
    return 0.0 if at is None else min(max(0.0, time.time() - at), max(0.0, seconds - GRACE))


def _lease(obj: Object | None) -> str:
    """The lease that a profile names; "" = none, or it is on its way out already."""
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        return ""
    said = (obj.get("spec") or {}).get("lease")
    return said if isinstance(said, str) and said.count("/") == 1 else ""
