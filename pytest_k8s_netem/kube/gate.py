"""Lets pods with a sidecar start as soon as their first plan is in force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.kube.ephemeral import CONTAINER
from pytest_k8s_netem.kube.exec import Exec
from pytest_k8s_netem.kube.sidecar import READY, waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime
    from pytest_k8s_netem.kube.sockets import Sockets

_log = logging.getLogger(__name__)


class Gatekeeper:
    """Follows pods; one whose gate fails to be opened starts by itself, see :data:`sidecar.PATIENCE`.

    :param gate: waits until a new pod's plan, empty perhaps, is in force (TrafficController.gate).
    """

    def __init__(self, runtime: Runtime, sockets: Sockets, gate: Callable[[Object], Awaitable[None]]) -> None:
        self._sockets, self._gate = sockets, gate
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._pods = runtime.informer(PODS)
        self._pods.subscribe(self._changed)

    async def stop(self) -> None:
        """Open no more gates."""
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)

    def _changed(self, _key: str, _old: Object | None, pod: Object | None) -> None:
        sidecar = waits(pod) if pod is not None else ""
        if pod is not None and sidecar and sidecar not in self._opening:
            task = asyncio.get_running_loop().create_task(self._open(pod), name=f"gate of {_key}")
            self._opening[sidecar] = task
            task.add_done_callback(lambda _: self._opening.pop(sidecar, None))

    async def _open(self, pod: Object) -> None:
        await self._gate(pod)
        try:
            touching = await Exec.start(self._sockets, pod, ["touch", READY], container=CONTAINER)
            async for _ in touching.output():
                pass
            touching.close()
        except (ApiError, ConnectionError) as error:
            _log.warning("pod/%s starts late: %s", pod["metadata"]["name"], error)
