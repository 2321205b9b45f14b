"""From Docker: a helper container beside each container, in its network, with the agent as its only process."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.docker.command import docker
from pytest_k8s_netem.docker.execstream import ExecStream
from pytest_k8s_netem.errors import ImpairmentError, ProviderError
from pytest_k8s_netem.kube import image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_k8s_netem.docker.inspection import Container
    from pytest_k8s_netem.docker.ways import Labels

IDLE = 10
"""Seconds without a session and without a plan after which a helper ends: one that is needed again is made anew."""
STOP_WITHIN = 5
"""Seconds for its agent to put the network back; then Docker kills it."""
HELPER_LABEL = "k8s-netem.riasc.eu/attached"
"""On each helper: the id of the container that it serves."""


class Helpers:
    """Implements :class:`pytest_k8s_netem.docker.ways.Way`; needs access to Docker, no root.

    :param agent_image: gives the agent's image, which Docker has then.
    :param run: name of this process, part of the helpers' names.
    """

    name = "a helper container"

    def __init__(self, agent_image: Callable[[], Awaitable[str]], run: str) -> None:
        self._agent_image, self._run = agent_image, run
        self._helpers: dict[str, tuple[str, str]] = {}

    def able(self, container: Container) -> bool:
        """See :meth:`Way.able`."""
        del container
        return True

    async def connect(self, target: str, container: Container, labels: Labels) -> StreamChannel:
        """See :meth:`Way.connect`."""
        helper, life = self._helpers.get(target, ("", ""))
        if helper and (life != container.life or not await _runs(helper)):
            await self.leave(target)
            helper = ""
        if not helper:
            helper = await self._start(target, container, labels)
            self._helpers[target] = (helper, container.life)
        return await self._stream(target)

    async def guest(self, target: str) -> StreamChannel:
        """See :meth:`Way.guest`."""
        return await self._stream(target)

    async def leave(self, target: str) -> None:
        """See :meth:`Way.leave`."""
        helper, _ = self._helpers.pop(target, ("", ""))
        if helper:
            with suppress(ProviderError):  # it has ended by itself, and Docker has removed it
                await stop(helper)

    async def close(self) -> None:
        """See :meth:`Way.close`."""
        await asyncio.gather(*(self.leave(target) for target in list(self._helpers)))

    async def _start(self, target: str, container: Container, labels: Labels) -> str:
        name = f"netem-{self._run}-{target.rpartition('/')[2]}-{secrets.token_hex(2)}"
        told = {**labels, HELPER_LABEL: container.id}
        await docker(
            *("run", "--detach", "--rm", "--name", name, "--network", f"container:{container.id}"),
            *("--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--read-only", "--user", "0:0"),
            *("--security-opt", "no-new-privileges", "--env", f"NETEM_TARGET={target}"),
            *(word for key, value in told.items() for word in ("--label", f"{key}={value}")),
            *(await self._agent_image(), "keep", "--socket", image.SOCKET, "--idle", str(IDLE)),
        )
        return name

    async def _stream(self, target: str) -> StreamChannel:
        helper, _ = self._helpers.get(target, ("", ""))
        if not helper:
            raise ImpairmentError(f"no agent serves {target}")
        relay = ["docker", "exec", "--interactive", helper, *image.PROGRAM, "relay", "--socket", image.SOCKET]
        return StreamChannel(await ExecStream.start(relay), f"the agent of {target}")


async def stop(helper: str) -> None:
    """Let a helper put its network back and end; Docker removes it.

    :raises ProviderError: if Docker has it no more.
    """
    await docker("stop", "--time", str(STOP_WITHIN), helper)


async def in_use(helper: str) -> bool:
    """Whether a relay runs in it: the run that made it lives, perhaps on another machine."""
    said = await docker("container", "inspect", "--format", "{{len .ExecIDs}}", helper, check=False)
    return said.strip() not in ("", "0")


async def end_unused(container: str) -> None:
    """Let the helpers beside a container put its network back and end, those that nobody uses any more.

    So whoever comes next finds it as it was before all of them: a hook that an idle agent has left would count as the
    container's own, and stay.

    :raises ProviderError: if Docker cannot be asked.
    """
    told = await docker("ps", "--filter", f"label={HELPER_LABEL}={container}", "--format", "{{.Names}}")
    for helper in told.split():
        if not await in_use(helper):
            with suppress(ProviderError):  # it has ended meanwhile
                await stop(helper)


async def _runs(helper: str) -> bool:
    said = await docker("container", "inspect", "--format", "{{.State.Running}}", helper, check=False)
    return said.strip() == "true"
