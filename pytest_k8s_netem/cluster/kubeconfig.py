"""Provider ``kubeconfig``: a cluster that is there, as far as the user of a kubeconfig may use it.

The controller that is installed there acts, where there is one that the user may ask; else one in this process. Nothing
is installed unless the user says so. What the run did not make it neither deletes nor, without leave, impairs.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.api.rights import Right, answers, missing, told
from pytest_k8s_netem.cluster.access import Access, explore
from pytest_k8s_netem.cluster.attaching import Containers
from pytest_k8s_netem.cluster.control import InProcess
from pytest_k8s_netem.cluster.installed import Installed
from pytest_k8s_netem.cluster.own import OwnNamespaces
from pytest_k8s_netem.cluster.permitted import PermittedProfiles
from pytest_k8s_netem.cluster.remote import RemoteProvider
from pytest_k8s_netem.errors import ApiError, ConfigError, ProviderError
from pytest_k8s_netem.kube import nearby
from pytest_k8s_netem.kube.ephemeral import IDLE
from pytest_k8s_netem.kube.install import optin
from pytest_k8s_netem.run.identity import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Kind, Object
    from pytest_k8s_netem.cluster.control import Control
    from pytest_k8s_netem.cluster.session import Choices
    from pytest_k8s_netem.run.events import EventLog

OLDEST = (1, 25)
"""The first Kubernetes in which ephemeral containers are stable."""


class KubeconfigProvider(RemoteProvider):
    """See :class:`pytest_k8s_netem.cluster.provider.Provider`."""

    name = "kubeconfig"

    def __init__(self, choices: Choices, directory: Path, events: EventLog) -> None:
        super().__init__(choices, directory, events)
        self.access = Access("")
        self._by_installed = False
        self._in_process: InProcess | None = None

    def connection(self) -> Connection:
        """As the user says; the file is only read."""
        return Connection.from_kubeconfig(self.choices.kubeconfig or None, self.choices.context or None)

    async def start(self) -> None:
        """See what may be done there, and start the controller here.

        :raises ProviderError: if the cluster cannot be used, naming what is missing.
        :raises ConfigError: without an image of the agent.
        """
        connection = await asyncio.to_thread(self._cluster.connection)
        try:
            version = await asyncio.to_thread(connection.version)
            if (0, 0) < version < OLDEST:
                raise ProviderError(f"Kubernetes {_dotted(version)} is too old: {_dotted(OLDEST)} is needed")
            home = self.choices.namespace or connection.namespace or "default"
            self.access = await explore(self._cluster, home, self.choices.allow_namespaces)
            self._by_installed = await self._served()
            if not self._by_installed and not self.choices.agent_image:
                raise ConfigError(_no_image(nearby.of_context(connection.context, connection.cluster)))
        except (ApiError, ProviderError) as error:
            raise ProviderError(f"provider {self.name}, context {connection.context}: {error}") from None
        self.home, self.makes_namespaces = home, self.access.makes_namespaces
        await self.connect(self.choices.agent_image)

    async def stop(self) -> None:
        """Heal everything; the cluster stays as it is."""
        await self.disconnect()

    async def reach(self) -> None:
        """It has answered already."""

    async def _served(self) -> bool:
        """Whether the controller in the cluster is to act.

        :raises ProviderError: if it is to and cannot.
        """
        wish = self.choices.controller
        if wish == "process" or not await answers(self._cluster):
            return False
        lacking = await Installed.lacking(self._cluster, opens=self.access.makes_namespaces)
        if lacking and wish == "cluster":
            raise ProviderError(f"--netem-controller=cluster takes {told(lacking)}")
        if lacking:
            return False  # nothing more is asked for somebody whom it would not serve
        try:
            there = await optin.installed(self._cluster)
        except ApiError as error:
            if error.status != 403 or wish == "cluster":
                raise
            there = False
        if wish == "cluster" and not there:
            raise ProviderError("--netem-controller=cluster, and none is installed there: netem install")
        return there

    def control(self) -> Control:
        """The controller, which sees and touches what it may."""
        connection, own = self._cluster.connection(), OwnNamespaces(self._cluster, self._made)
        if self._by_installed:
            permitted = PermittedProfiles(own, lambda: self.access.view)
            return Installed(permitted, self._sockets, Identity.named(self.directory.name))
        self._in_process = InProcess(
            Containers(own, self.agent_image, self.directory, self._events),
            self._sockets,
            self.agent_image,
            identity=f"run {self.directory.name}",
            emit=self._events,
            access=self.access,
            apiserver=_addresses(connection.host),
        )
        return self._in_process

    async def namespace_ready(self, name: str) -> None:
        """As far as that may be known: where accounts cannot be read, pods will tell."""
        if self.makes_namespaces and name != self.home:
            await super().namespace_ready(name)

    async def load_image(self, name: str) -> None:
        """Bring an image of the local Docker to a cluster that a tool of this machine made.

        :raises ProviderError: for any other.
        """
        connection = await asyncio.to_thread(self._cluster.connection)
        near = nearby.of_context(connection.context, connection.cluster)
        if near is None:
            raise ProviderError(f"{name} cannot be brought to this cluster: push it to a registry that its nodes reach")
        await near.load(name)

    async def forward(self, pod: Object, port: int) -> tuple[str, int]:
        """A listener on 127.0.0.1.

        :raises ApiError: if the user may not.
        """
        verbs = [Right(verb, PODS, "portforward", pod["metadata"]["namespace"]) for verb in ("get", "create")]
        if await answers(self._cluster) and (lacking := await missing(self._cluster, verbs)):
            raise ApiError(403, "Forbidden", f"pod/{pod['metadata']['name']}: forward needs {told(lacking)}")
        return await super().forward(pod, port)

    def reads(self, kind: Kind, namespace: str) -> bool:
        """As the API server has said at the start."""
        return namespace in self.access.scopes.get(kind, (namespace,))

    def limits(self) -> list[str]:
        """What the user's rights keep from being promised."""
        return self.access.limits(in_process=not self._by_installed)

    def remains(self, failed: bool) -> str:
        """Containers of the agent in pods that others made."""
        del failed
        pods = self._in_process.agents.residue() if self._in_process is not None else []
        left = [key for key in pods if key.partition("/")[0] not in self.access.view.made]
        if not left:
            return ""
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        return (
            f"the agent's container ends within {IDLE} s but stays in the list of pod/{', pod/'.join(left[:3])}{more}: "
            "Kubernetes takes none away"
        )

    def _made(self, namespaces: frozenset[str]) -> None:
        """Namespaces of the run's own have come or gone."""
        self.access.view = replace(self.access.view, made=namespaces)
        if self._in_process is not None:
            self._in_process.witness.see(self.access.view)


def _no_image(near: nearby.Nearby | None) -> str:
    bring = " ".join(near.command("NAME")) if near is not None else "docker push NAME"
    tag = "" if near is not None else " --tag=REGISTRY/netem"
    return (
        "no controller that serves this user is installed in the cluster; without one --netem-provider=kubeconfig "
        "needs --netem-agent-image, the agent's image as the nodes can have it. Build it and bring it there:\n"
        f"  netem images{tag}\n  {bring}, for the agent's, which it prints last\nthen say --netem-agent-image=NAME"
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _addresses(host: str) -> tuple[str, ...]:
    """Of the API server as this machine reaches it; those of a tunnel's end here are no pod's business."""
    name = urlsplit(host).hostname or ""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    except OSError:
        return ()
    return tuple(sorted(text for text in found if not ip_address(text.partition("%")[0]).is_loopback))
