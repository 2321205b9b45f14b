"""The containers of this process's tests: attached, followed through stops and starts, detached."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass

from pytest_k8s_netem.api.protocol import NAMESPACES, PODS
from pytest_k8s_netem.docker import gateway
from pytest_k8s_netem.docker.channels import target_of
from pytest_k8s_netem.docker.command import docker
from pytest_k8s_netem.docker.helper import end_unused
from pytest_k8s_netem.docker.inspection import inspect, look
from pytest_k8s_netem.docker.podobject import notes_of, pod_of, status_of
from pytest_k8s_netem.docker.reference import checked_name, reference
from pytest_k8s_netem.docker.watching import happenings
from pytest_k8s_netem.errors import ApiError, ConfigError, ImpairmentError, NetemError
from pytest_k8s_netem.resolve.objects import CONTAINERS
from pytest_k8s_netem.run.claim import Claim
from pytest_k8s_netem.run.events import Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.api.protocol import Api
    from pytest_k8s_netem.docker.channels import ContainerChannels
    from pytest_k8s_netem.docker.inspection import Container
    from pytest_k8s_netem.run.events import EventLog


@dataclass(slots=True)
class Attachment:
    """One container.

    :ivar now: as it runs; None while it does not. :ivar way: how its agent reaches it, for people.
    :ivar gateways: addresses of its machine that answer it.
    """

    name: str
    id: str
    claim: Claim
    now: Container | None = None
    way: str = ""
    gateways: tuple[str, ...] = ()


class Attachments:
    """Gives each attached container a Pod object while it runs; all methods belong to one event loop.

    :param api: where the objects go, which the controller watches.
    """

    def __init__(self, api: Api, channels: ContainerChannels, emit: EventLog) -> None:
        self._api, self._channels, self._emit = api, channels, emit
        self._known: dict[str, Attachment] = {}
        self._lock = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    async def attach(self, container: object, as_: str, labels: Mapping[str, str]) -> Attachment:
        """Make a container one that can be impaired, as ``container/NAME``.

        :param container: see :func:`docker.reference.reference`. :param as_: the name; "" = its own.
        :param labels: for what is made in Docker.
        :raises ConfigError: if it cannot be meant. :raises ProviderError: if Docker cannot be used.
        :raises ImpairmentError: if no agent can come into its network; nothing has changed then.
        """
        found = await inspect(reference(container))
        name = checked_name(as_, found.name)
        async with self._lock:
            self._refuse_double(name, found)
            claim = Claim(f"container/{found.id}")
            if not claim.take():
                raise ConfigError(
                    f"netem.attach: container {found} is attached by another process of pytest on this machine; "
                    "one at a time can impair it"
                )
            made = Attachment(name, found.id, claim)
            try:
                await end_unused(found.id)
                made.way = await self._channels.serve(name, found, dict(labels))
                made.gateways = await self._answering(name, found)
                await self._arrive(made, found)
            except BaseException:
                await self._channels.leave(name)
                claim.release()
                raise
            self._known[name] = made
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow(), name="attached containers")
        return made

    async def detach(self, name: str) -> None:
        """Let go of it: healed, its network as it was before. Nothing happens if nobody has attached it."""
        async with self._lock:
            if (known := self._known.pop(name, None)) is not None:
                await self._let_go(known)

    def attached(self) -> tuple[Attachment, ...]:
        """All, those that do not run among them."""
        return tuple(self._known.values())

    async def logs(self, name: str, lines: int) -> str:
        """The last lines that a container has written.

        :raises ProviderError: if Docker cannot be asked.
        """
        known = self._known.get(name)
        return "" if known is None else await docker("logs", "--tail", str(lines), known.id, merged=True, timeout=10)

    async def stop(self) -> None:
        """Detach all."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        async with self._lock:
            known, self._known = [*self._known.values()], {}
            await asyncio.gather(*(self._let_go(one) for one in known))
        await self._channels.close()

    async def _let_go(self, known: Attachment) -> None:
        with suppress(ApiError):  # the store may be closed by now
            await self._remove(known)
        await self._channels.leave(known.name)
        known.claim.release()

    def _refuse_double(self, name: str, found: Container) -> None:
        for known in self._known.values():
            if known.name == name:
                raise ConfigError(
                    f"netem.attach: container/{name} is container {known.id[:12]} already; "
                    "detach that one, or give this one another name by as_="
                )
            if known.id == found.id:
                raise ConfigError(f"netem.attach: container {found} is attached already, as container/{known.name}")

    async def _answering(self, name: str, container: Container) -> tuple[str, ...]:
        try:
            channel = await self._channels.guest(pod_of(name, container))
        except ImpairmentError:
            return ()
        try:
            return await gateway.answering(channel, target_of(name), container)
        finally:
            await channel.close()

    # The objects

    async def _arrive(self, known: Attachment, container: Container) -> None:
        with suppress(ApiError):  # 409: it is there
            await self._api.create(NAMESPACES, {"metadata": {"name": CONTAINERS}})
        await self._api.create(PODS, pod_of(known.name, container), CONTAINERS)
        known.now = container
        await self._tell(known, container)

    async def _tell(self, known: Attachment, container: Container) -> None:
        status = status_of(known.name, container, known.gateways)
        await self._api.patch(PODS, known.name, {"status": status}, CONTAINERS, "status")

    async def _remove(self, known: Attachment) -> None:
        if known.now is not None:
            known.now = None
            await self._api.delete(PODS, known.name, CONTAINERS, grace=0)

    # What happens to them

    async def _follow(self) -> None:
        async with aclosing(happenings()) as told:
            async for container in told:
                for known in [*self._known.values()]:
                    if container in ("", known.id):
                        await self._look_again(known)

    async def _look_again(self, known: Attachment) -> None:
        async with self._lock:
            if self._known.get(known.name) is not known:
                return
            try:
                await self._compare(known, await look(known.id))
            except NetemError as error:
                self._emit(Trouble(target_of(known.name), str(error)))

    async def _compare(self, known: Attachment, now: Container | None) -> None:
        before = known.now
        if before is not None and (now is None or not now.running or now.life != before.life):
            await self._remove(known)
            await self._channels.rest(known.name)
        if now is None or not now.running:
            return
        if known.now is None:
            self._channels.renew(known.name, now)
            await self._arrive(known, now)
        elif now != before:
            patch = {"metadata": {"annotations": notes_of(now)}}
            await self._api.patch(PODS, known.name, patch, CONTAINERS)
            known.now = now
            await self._tell(known, now)
