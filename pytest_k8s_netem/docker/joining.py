"""From this machine: one agent of this process enters the containers' network namespaces."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.errors import ImpairmentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.docker.inspection import Container
    from pytest_k8s_netem.docker.ways import Labels
    from pytest_k8s_netem.local.joined import JoinedAgent


class Joining:
    """Implements :class:`pytest_k8s_netem.docker.ways.Way`; needs root, and Docker on this very machine."""

    name = "its network namespace"

    def __init__(self, agent: JoinedAgent) -> None:
        self._agent = agent
        self._served: dict[str, tuple[int, str]] = {}
        self._channel: StreamChannel | None = None
        self._lock = asyncio.Lock()

    def able(self, container: Container) -> bool:
        """See :meth:`Way.able`."""
        namespace = namespace_of(container)
        if namespace is None:
            return False
        os.close(namespace)
        return True

    async def connect(self, target: str, container: Container, labels: Labels) -> StreamChannel:
        """See :meth:`Way.connect`."""
        del labels  # nothing is made in Docker
        async with self._lock:
            self._agent.start()
            await self._serve(target, container)
            if self._channel is None or self._channel.closed:
                self._channel = await self._session()
            return self._channel

    async def guest(self, target: str) -> StreamChannel:
        """See :meth:`Way.guest`."""
        if target not in self._served:
            raise ImpairmentError(f"no agent serves {target}")
        return await self._session()

    async def leave(self, target: str) -> None:
        """See :meth:`Way.leave`."""
        async with self._lock:
            life, _ = self._served.pop(target, (0, ""))
            if life == self._agent.life:
                with suppress(ImpairmentError):  # it has ended, and put everything back
                    await self._agent.forget(target)

    async def close(self) -> None:
        """See :meth:`Way.close`."""
        if self._channel is not None:
            await self._channel.close()
        await self._agent.close()

    async def _serve(self, target: str, container: Container) -> None:
        wanted = (self._agent.life, container.life)
        if (served := self._served.get(target)) == wanted:
            return
        if served is not None and served[0] == self._agent.life:
            await self._agent.forget(target)
        self._served.pop(target, None)
        if (namespace := namespace_of(container)) is None:
            raise ImpairmentError(f"the network namespace of container {container} is gone")
        try:
            await self._agent.add(target, namespace)
        finally:
            os.close(namespace)
        self._served[target] = wanted

    async def _session(self) -> StreamChannel:
        return await StreamChannel.over(await self._agent.session(), "the agent of attached containers")


def namespace_of(container: Container) -> int | None:
    """A descriptor of the container's network namespace; None where this process cannot have it.

    Docker's process ids are those of its own machine: with a daemon elsewhere, or seen from inside a container, one
    means another process or none. So it must be proven to be the container's.
    """
    if not container.pid or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    try:
        found = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _is_of(container, found) and not os.path.samestat(os.fstat(found), os.stat("/proc/self/ns/net")):
            return found
    except OSError:
        pass
    os.close(found)
    return None


def _is_of(container: Container, namespace: int) -> bool:
    with suppress(OSError):  # Docker may keep its mounts to itself
        if container.sandbox and os.path.samestat(os.fstat(namespace), os.stat(container.sandbox)):
            return True
    with open(f"/proc/{container.pid}/cgroup", encoding="utf-8") as groups:
        return container.id in groups.read()
