"""Containers of Docker in the user's hands."""

from __future__ import annotations

import asyncio

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.overlay import OverlayApi
from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.docker.attachments import Attachments
from pytest_k8s_netem.docker.channels import ContainerChannels, RoutedChannels, target_of
from pytest_k8s_netem.docker.helper import Helpers
from pytest_k8s_netem.docker.joining import Joining
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.kube.image import AGENT, built
from pytest_k8s_netem.local.joined import JoinedAgent
from pytest_k8s_netem.resolve.objects import CONTAINERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from pytest_k8s_netem.api.protocol import Api, Object
    from pytest_k8s_netem.cluster.provider import Provider
    from pytest_k8s_netem.controller.channel import Channels
    from pytest_k8s_netem.docker.attachments import Attachment
    from pytest_k8s_netem.run.events import EventLog
    from pytest_k8s_netem.run.portal import Portal


class Containers:
    """What a controller in this process needs to impair attached containers beside its cluster's pods.

    :param cluster: where those pods are. :param agent_image: in a registry; "" = built here, when first needed.
    :param directory: of this process.
    :ivar api: with the objects of both.
    """

    def __init__(self, cluster: Api, agent_image: str, directory: Path, emit: EventLog) -> None:
        async def image() -> str:
            return agent_image or await built(AGENT)

        store = cluster if isinstance(cluster, MemoryApi) else MemoryApi()
        self.api: Api = cluster if store is cluster else OverlayApi(store, cluster, PODS, CONTAINERS)
        joining = Joining(JoinedAgent(directory / "containers-agent.log"))
        self._channels = ContainerChannels([joining, Helpers(image, directory.name)])
        self.attachments = Attachments(store, self._channels, emit)

    def beside(self, pods: Channels) -> Channels:
        """The ways to the agents of pods and of attached containers."""
        return RoutedChannels(pods, self._channels)


class Attached:
    """A container that can be impaired as ``container/NAME``; as a context manager it is detached at the end.

    :ivar name: after ``container/``. :ivar id: Docker's.
    """

    def __init__(self, provider: Provider, portal: Portal, made: Attachment) -> None:
        self._provider, self._portal = provider, portal
        self._way = made.way
        self.name, self.id = made.name, made.id

    def __repr__(self) -> str:
        return f"<{target_of(self.name)}: {self.id[:12]}, by {self._way}>"

    @property
    def ip(self) -> str:
        """Its first address now; "" while it does not run."""
        return next(iter(self.ips), "")

    @property
    def ips(self) -> tuple[str, ...]:
        """Its addresses now, on all its networks."""
        return tuple(entry["ip"] for entry in self._status().get("podIPs") or ())

    def detach(self) -> None:
        """Heal it and let go of it; its network is as it was before. Nothing happens the second time."""
        self._portal.call(self._provider.attachments.detach(self.name))

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    async def __aenter__(self) -> Attached:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wrap_future(self._portal.submit(self._provider.attachments.detach(self.name)))

    def _status(self) -> Object:
        try:
            found: Object = self._portal.call(self._provider.api.get(PODS, self.name, CONTAINERS)).get("status") or {}
        except ApiError as error:
            if error.status != 404:
                raise
            return {}
        return found
