"""The controller's ways to agents in pods: pods/exec of a relay, one session a pod."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.errors import ApiError, ImpairmentError
from pytest_k8s_netem.kube import image
from pytest_k8s_netem.kube.exec import Exec, RelayStream
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.kube.ephemeral import EphemeralAgents
    from pytest_k8s_netem.kube.sockets import Sockets

FIRST_WITHIN = 5.0
"""Seconds in which a first connection is tried again; the next round tries it anew."""
AGAIN_WITHIN = LEASE - 5
"""Seconds for a lost one: its plans live that long, and a session that comes in time finds them in force."""


class ExecChannels:
    """Implements :class:`pytest_k8s_netem.controller.channel.Channels`.

    :param closed: what gives a namespace the rights that are refused there; None = the refusal says enough.
    """

    def __init__(self, sockets: Sockets, agents: EphemeralAgents, closed: Callable[[str], str] | None = None) -> None:
        self._sockets, self._agents, self._closed = sockets, agents, closed
        self._open: dict[str, StreamChannel] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self, pod: Object) -> StreamChannel:
        """See :meth:`Channels.open`.

        :raises ImpairmentError: if the pod is gone, cannot have an agent, or its agent cannot be reached in time.
        """
        uid = str(pod["metadata"]["uid"])
        async with self._locks[uid]:
            known = self._open.get(uid)
            if known is None or known.closed:
                self._forget_gone()
                try:
                    known = self._open[uid] = await self._connected(
                        pod, FIRST_WITHIN if known is None else AGAIN_WITHIN
                    )
                except ImpairmentError:
                    self._open.pop(uid, None)
                    raise
                known.on_close = partial(self._closed_here, uid, known)
            return known

    def _closed_here(self, uid: str, channel: StreamChannel) -> None:
        if self._open.get(uid) is channel:
            del self._open[uid]

    def _forget_gone(self) -> None:
        """Let go of the closed streams of pods that are no more: each holds 100 KiB."""
        there = self._agents.there()
        for uid in [uid for uid, lock in self._locks.items() if uid not in there and not lock.locked()]:
            if uid not in self._open or self._open[uid].closed:
                self._open.pop(uid, None)
                del self._locks[uid]

    async def guest(self, pod: Object) -> StreamChannel:
        """See :meth:`Channels.guest`."""
        return await self._connected(pod, FIRST_WITHIN)

    def target(self, pod: Object) -> str:
        """See :meth:`Channels.target`: ``namespace/name``, which its agent's container is told."""
        return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"

    def lease(self, pod: Object) -> float:
        """See :meth:`Channels.lease`."""
        del pod  # one for all
        return LEASE

    async def _connected(self, pod: Object, within: float) -> StreamChannel:
        where = f"pod/{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        try:
            async for attempt in attempts(within, ApiError):
                with attempt:
                    return await self._once(pod, where)
        except ApiError as error:  # 403 too was tried again: an API server that has just started knows no rights yet
            raise ImpairmentError(
                f"the agent of {where} cannot be reached: {error}{self._advice(pod, error)}"
            ) from None
        raise AssertionError("the last attempt raises")

    def _advice(self, pod: Object, error: ApiError) -> str:
        if error.status != 403 or self._closed is None:
            return ""
        return f"; {self._closed(str(pod['metadata']['namespace']))}"

    async def _once(self, pod: Object, where: str) -> StreamChannel:
        container = await self._agents.container(pod)
        relay = [*image.PROGRAM, "relay", "--socket", image.SOCKET]
        running = await Exec.start(self._sockets, pod, relay, container=container, stdin=True)
        return StreamChannel(RelayStream(running), f"the agent of {where}")
