"""Lets pods with a sidecar start as soon as their first plan is in force."""

from __future__ import annotations

import asyncio
import json
import logging
from ipaddress import ip_address

from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.controller.informer import key_of
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.kube import image, sidecar
from pytest_k8s_netem.kube.ephemeral import CONTAINER
from pytest_k8s_netem.kube.exec import STDOUT, Exec
from pytest_k8s_netem.model.codec import many
from pytest_k8s_netem.model.greeting import INTERFACE
from pytest_k8s_netem.run.retry import pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime
    from pytest_k8s_netem.controller.traffic import TrafficController
    from pytest_k8s_netem.kube.ephemeral import EphemeralAgents
    from pytest_k8s_netem.kube.sockets import Sockets
    from pytest_k8s_netem.model.capabilities import Interface

ATTEND = [*image.PROGRAM, "attend", "--file", sidecar.READY]
_INTERFACES = many(INTERFACE)
_log = logging.getLogger(__name__)


class Gatekeeper:
    """Follows pods; one whose gate fails to be opened starts by itself, see :data:`sidecar.PATIENCE`.

    While a kubelet stands in a sidecar's hook the pod's status does not say that the sidecar runs, nor the pod's
    addresses: whether it runs is found by trying, and the agent tells the addresses.
    """

    def __init__(
        self, runtime: Runtime, sockets: Sockets, agents: EphemeralAgents, controller: TrafficController
    ) -> None:
        self._sockets, self._agents, self._controller = sockets, agents, controller
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._opened: dict[str, str] = {}
        self._pods = runtime.informer(PODS)
        self._pods.subscribe(self._changed)

    async def stop(self) -> None:
        """Open no more gates."""
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)

    def _changed(self, key: str, _old: Object | None, pod: Object | None) -> None:
        start = sidecar.waits(pod) if pod is not None else ""
        if pod is None:
            self._opened.pop(key, None)
        if pod is not None and start and start not in self._opening and self._opened.get(key) != start:
            work = self._let_in(pod, start) if sidecar.held(pod) else self._touch(pod)
            task = asyncio.get_running_loop().create_task(work, name=f"gate of {key}")
            self._opening[start] = task
            task.add_done_callback(lambda _: self._opening.pop(start, None))

    async def _let_in(self, pod: Object, start: str) -> None:
        """Find the sidecar, and open its gate when the pod's plan is in force."""
        key, clock = key_of(pod), asyncio.get_running_loop().time
        began, why = clock(), "nothing"
        while self._awaits(key, start):
            await asyncio.sleep(pace(clock() - began))
            try:
                if await self._once(pod):
                    self._opened[key] = start
                    return
            except (ApiError, ConnectionError, TimeoutError, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
        if key in self._pods.objects:
            _log.warning("pod/%s starts without having been told of its plan; last seen of its sidecar: %s", key, why)

    def _awaits(self, key: str, start: str) -> bool:
        pod = self._pods.objects.get(key)
        return pod is not None and sidecar.waits(pod) == start

    async def _once(self, pod: Object) -> bool:
        """Whether the sidecar was there, and its gate is open now.

        :raises ApiError: if the API server refuses. :raises ConnectionError: if the sidecar ends meanwhile.
        :raises TimeoutError: if it says nothing. :raises ValueError: if it says something else.
        """
        attending = await Exec.start(self._sockets, pod, ATTEND, container=CONTAINER, stdin=True)
        try:
            output = attending.output()
            async with asyncio.timeout(sidecar.PATIENCE):
                if not (line := await _line(output)):
                    return False
                self._agents.reached(pod)
                self._controller.tell(pod, addresses(_INTERFACES.decode(json.loads(line), "interfaces")))
                await self._controller.gate(pod)
                await attending.send(b"\n")
                async for _ in output:
                    pass
            return attending.status == 0
        finally:
            attending.close()

    async def _touch(self, pod: Object) -> None:
        """Open the gate of a pod whose sidecar runs as far as its status says, and has a startup probe."""
        await self._controller.gate(pod)
        try:
            touching = await Exec.start(self._sockets, pod, ["touch", sidecar.READY], container=CONTAINER)
            async for _ in touching.output():
                pass
            touching.close()
        except (ApiError, ConnectionError) as error:
            _log.warning("pod/%s starts late: %s", pod["metadata"]["name"], error)


async def _line(output: AsyncIterator[tuple[int, bytes]]) -> bytes:
    """The first line of what a command writes; b"" = it has ended before, as one that could not be run."""
    line = b""
    async for channel, data in output:
        line += data if channel == STDOUT else b""
        if line.endswith(b"\n"):
            return line
    return b""


def addresses(interfaces: Sequence[Interface]) -> list[str]:
    """A pod's addresses as its status will say them: where the route to everywhere is, the first of each family."""
    first: dict[int, str] = {}
    for interface in [one for one in interfaces if one.default] or interfaces:
        for text in interface.addresses:
            address = ip_address(text)
            if not (address.is_loopback or address.is_link_local):
                first.setdefault(address.version, text)
    return list(first.values())
