"""Lets agents rest: ends the sessions of pods that nobody impairs any more, where a controller outlives its users."""

from __future__ import annotations

import asyncio
import logging
import time

from pytest_k8s_netem.api.protocol import LEASES
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.select import profiles_by_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.api.protocol import Api
    from pytest_k8s_netem.controller.fleet import Fleet
    from pytest_k8s_netem.controller.runtime import Runtime
    from pytest_k8s_netem.controller.targets import Target
    from pytest_k8s_netem.resolve.world import World

AFTER = 60.0
"""Seconds without a plan, and without a profile that selects the pod. Opening a session anew takes 0.2 s, and an agent
that was brought to its pod waits for that :data:`pytest_k8s_netem.kube.ephemeral.IDLE` seconds more."""
LOOK = "look"

_log = logging.getLogger(__name__)


class Resting:
    """Looks after every :data:`AFTER` seconds, which is longer than a living run takes to renew its Lease.

    A run's own sessions stay while it lives, whatever its tests do meanwhile: an agent that it brought to a pod is to
    serve all of them, since each further one would stay in the pod's list.

    :param after: seconds.
    """

    def __init__(self, runtime: Runtime, world: World, fleet: Fleet, after: float = AFTER) -> None:
        self._api: Api = runtime.api
        self._world, self._fleet, self._after = world, fleet, after
        self._renewed: dict[str, str] = {}
        runtime.controller("resting", self._again).queue.add_after(LOOK, after)

    async def look(self) -> None:
        """End what has been idle for long enough."""
        idle = self._idle(list(self._fleet.targets.values()))
        living = await self._living({lease for target in idle for lease in target.leases})
        for target in idle:
            if not target.leases & living and self._idle([target]):  # again: time has passed
                _log.info("pod/%s: nobody impairs it, its session ends", target.key)
                await self._fleet.release(target)

    async def _again(self, _key: str) -> float:
        await self.look()
        return self._after

    def _idle(self, targets: Iterable[Target]) -> list[Target]:
        since = time.monotonic() - self._after
        selected = profiles_by_pod(Index(self._world))
        return [one for one in targets if one.idle and one.idle_since <= since and one.key not in selected]

    async def _living(self, leases: set[str]) -> set[str]:
        """Those that are there and were renewed since the last look; clocks need not agree for that."""
        names = sorted(leases)
        said = dict(zip(names, await asyncio.gather(*map(self._renewal, names)), strict=True))
        living = {
            name for name, renewed in said.items() if renewed is None or renewed not in ("", self._renewed.get(name))
        }
        self._renewed = {name: renewed for name, renewed in said.items() if renewed}
        return living

    async def _renewal(self, lease: str) -> str | None:
        """When it was renewed last; "" = it is gone, None = nobody can say."""
        namespace, _, name = lease.partition("/")
        try:
            spec = (await self._api.get(LEASES, name, namespace)).get("spec") or {}
        except ApiError as error:
            return "" if error.status == 404 else None
        return str(spec.get("renewTime") or spec.get("acquireTime") or "")
