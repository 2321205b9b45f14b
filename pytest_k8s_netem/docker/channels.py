"""The controller's ways to agents of attached containers, and the switch between these and those of pods."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.resolve.objects import CONTAINERS, attached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.channel import Channel, Channels
    from pytest_k8s_netem.controller.stream import StreamChannel
    from pytest_k8s_netem.docker.inspection import Container
    from pytest_k8s_netem.docker.ways import Way


def target_of(name: str) -> str:
    """What agents call the container of that name."""
    return f"{CONTAINERS}/{name}"


@dataclass(slots=True)
class _Served:
    """:ivar channel: to the agent in the network that the container has now; None = there is none yet."""

    container: Container
    labels: dict[str, str]
    way: Way | None = None
    channel: StreamChannel | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ContainerChannels:
    """Implements :class:`pytest_k8s_netem.controller.channel.Channels` for attached containers.

    :param ways: in order of preference; the first that works serves a container from then on.
    """

    def __init__(self, ways: Sequence[Way]) -> None:
        self._ways = tuple(ways)
        self._served: dict[str, _Served] = {}

    async def serve(self, name: str, container: Container, labels: dict[str, str]) -> str:
        """Bring an agent to a container; how it came there, for people.

        :param labels: for what is made in Docker.
        :raises ImpairmentError: if no way works, saying why for each. :raises ProviderError: if Docker fails.
        """
        served = self._served[name] = _Served(container, labels)
        try:
            await self._connected(name, served)
        except BaseException:
            del self._served[name]
            raise
        return served.way.name if served.way is not None else ""

    async def rest(self, name: str) -> None:
        """The container has stopped, and its network is gone: its agent has nothing to do there."""
        served = self._served[name]
        async with served.lock:
            served.channel = None
            if served.way is not None:
                await served.way.leave(target_of(name))

    def renew(self, name: str, container: Container) -> None:
        """It has been started anew: its agent comes into the new network when it is next asked for."""
        served = self._served[name]
        served.container, served.channel = container, None

    async def leave(self, name: str) -> None:
        """Take the agent away; the network is as it was when this returns. Never fails."""
        if name in self._served:
            await self.rest(name)
            self._served.pop(name, None)

    async def close(self) -> None:
        """Take all agents away."""
        await asyncio.gather(*(self.leave(name) for name in list(self._served)))
        await asyncio.gather(*(way.close() for way in self._ways))

    async def open(self, pod: Object) -> StreamChannel:
        """See :meth:`Channels.open`.

        :raises ImpairmentError: if the container is attached no more, or its agent cannot be reached.
        """
        return await self._connected(pod["metadata"]["name"], self._of(pod))

    async def _connected(self, name: str, served: _Served) -> StreamChannel:
        async with served.lock:
            if served.channel is None or served.channel.closed:
                served.channel = await self._connect(name, served)
            return served.channel

    async def _connect(self, name: str, served: _Served) -> StreamChannel:
        why: list[str] = []
        for way in [served.way] if served.way is not None else self._ways:
            if not way.able(served.container):
                continue
            try:
                channel = await way.connect(target_of(name), served.container, served.labels)
            except ImpairmentError as error:
                why.append(f"by {way.name}: {error}")
                continue
            served.way = way
            return channel
        reasons = "; ".join(why) or "it does not run"
        raise ImpairmentError(f"container {served.container} cannot be impaired: {reasons}")

    async def guest(self, pod: Object) -> StreamChannel:
        """See :meth:`Channels.guest`."""
        way = self._of(pod).way
        if way is None:
            raise ImpairmentError(f"{self.target(pod)} has no agent yet")
        return await way.guest(self.target(pod))

    def target(self, pod: Object) -> str:
        """See :meth:`Channels.target`."""
        return target_of(str(pod["metadata"]["name"]))

    def lease(self, pod: Object) -> float:
        """See :meth:`Channels.lease`."""
        del pod  # one for all
        return LEASE

    def _of(self, pod: Object) -> _Served:
        served = self._served.get(pod["metadata"]["name"])
        if served is None:
            raise ImpairmentError(f"{self.target(pod)} is not attached any more")
        return served


class RoutedChannels:
    """Implements :class:`pytest_k8s_netem.controller.channel.Channels` for pods and attached containers together."""

    def __init__(self, pods: Channels, containers: Channels) -> None:
        self._pods, self._containers = pods, containers

    def _for(self, pod: Object) -> Channels:
        return self._containers if attached(pod) else self._pods

    async def open(self, pod: Object) -> Channel:
        """See :meth:`Channels.open`."""
        return await self._for(pod).open(pod)

    def target(self, pod: Object) -> str:
        """See :meth:`Channels.target`."""
        return self._for(pod).target(pod)

    def lease(self, pod: Object) -> float | None:
        """See :meth:`Channels.lease`."""
        return self._for(pod).lease(pod)

    async def guest(self, pod: Object) -> Channel | None:
        """See :meth:`Channels.guest`."""
        return await self._for(pod).guest(pod)
