"""The controller's ways to the embedded cluster's agent: one session for all pods."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.errors import ClusterError, ImpairmentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from pytest_k8s_netem.local.host import NodeHost
    from pytest_k8s_netem.local.process import Process

ENDED_WITHIN = 2.0
"""Seconds for a killed agent to be gone; it takes some 20 ms."""


class LocalChannels:
    """Implements :class:`pytest_k8s_netem.controller.channel.Channels`; starts the agent when it is first needed.

    :ivar agent: the agent's process; None before the first session. One that ended is replaced.
    """

    def __init__(self, host: NodeHost, log: Path) -> None:
        self._host, self._log = host, log
        self._lock = asyncio.Lock()
        self._channel: StreamChannel | None = None
        self.agent: Process | None = None

    async def open(self, pod: dict[str, Any]) -> StreamChannel:
        """See :meth:`Channels.open`: the session that all pods share.

        :raises ImpairmentError: if the pod has no network yet, or the node host has ended.
        """
        if not (pod.get("status") or {}).get("podIP"):
            raise ImpairmentError(f"pod/{pod['metadata']['name']} has no network yet")
        async with self._lock:
            if self._channel is None or self._channel.closed:
                self._channel = await self.new_session()
            return self._channel

    async def new_session(self) -> StreamChannel:
        """A session beside the controller's own, for a guest.

        :raises ImpairmentError: if the node host has ended.
        """
        try:
            agent = await self._running_agent()
            return await StreamChannel.over(
                await self._host.session(), "the embedded cluster's agent", partial(_end, agent)
            )
        except ClusterError as error:
            raise ImpairmentError(str(error)) from error

    async def guest(self, pod: dict[str, Any]) -> StreamChannel:
        """See :meth:`Channels.guest`."""
        del pod  # one agent serves all
        return await self.new_session()

    def target(self, pod: dict[str, Any]) -> str:
        """See :meth:`Channels.target`: ``namespace/name``."""
        return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"

    def lease(self, pod: dict[str, Any]) -> None:
        """See :meth:`Channels.lease`: the agent ends with this process, and all that it holds with it."""

    async def start(self) -> None:
        """Start the agent before it is needed."""
        async with self._lock:
            await self._running_agent()

    async def _running_agent(self) -> Process:
        if self.agent is None or self.agent.status is not None:
            self.agent = await self._host.start_agent(self._log)
        return self.agent


async def _end(agent: Process) -> None:
    """End an agent that hangs: the next one clears what it leaves."""
    with suppress(ClusterError, TimeoutError):  # a lost node host has ended it already
        async with asyncio.timeout(ENDED_WITHIN):
            await agent.kill(group=False)
            await agent.wait()
