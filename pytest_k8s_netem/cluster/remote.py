"""A real cluster and the ways into its pods, by its API server."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.api.protocol import NAMESPACES, SERVICEACCOUNTS
from pytest_k8s_netem.cluster.attaching import Containers
from pytest_k8s_netem.cluster.control import InProcess
from pytest_k8s_netem.cluster.provider import Completed
from pytest_k8s_netem.cluster.readiness import made
from pytest_k8s_netem.errors import ApiError, ClusterError, ProviderError
from pytest_k8s_netem.kube.commands import RemoteCommand
from pytest_k8s_netem.kube.forward import Forward
from pytest_k8s_netem.kube.sockets import Sockets, pod_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from pytest_k8s_netem.api.protocol import Api, Kind, Object
    from pytest_k8s_netem.cluster.control import Control
    from pytest_k8s_netem.cluster.session import Choices
    from pytest_k8s_netem.controller.witness import Witness
    from pytest_k8s_netem.docker.attachments import Attachments
    from pytest_k8s_netem.run.events import EventLog

SERVICE_ACCOUNT_WITHIN = 30.0
"""Seconds for a namespace's default service account, without which no pod is taken; 0.1 are usual."""


class PodCommand:
    """A command in a pod of a real cluster."""

    def __init__(self, argv: Sequence[str], running: RemoteCommand) -> None:
        self._argv, self._running = tuple(argv), running

    async def wait(self) -> Completed:
        """Until it ends."""
        return Completed(self._argv, await self._running.wait(), *self.output())

    async def kill(self, signal: int) -> None:
        """Send a signal to it and to what it started."""
        await self._running.kill(signal)

    def output(self) -> tuple[str, str]:
        """Standard output and error so far."""
        return self._running.output()


class RemoteProvider:
    """See :class:`pytest_k8s_netem.cluster.provider.Provider`; children say where the cluster comes from.

    :ivar kubeconfig: file that names it; the children see to it before :meth:`connect`.
    :ivar api: the cluster's own before :meth:`connect`, its control's after.
    :ivar agent_image: the agent's, as the nodes know it; "" before :meth:`connect`.
    """

    name = "kubeconfig"
    home = "default"
    makes_namespaces = True

    def __init__(self, choices: Choices, directory: Path, events: EventLog) -> None:
        self.choices, self.directory = choices, directory
        self.kubeconfig = directory / "kubeconfig"
        self.agent_image = ""
        self._cluster = KubernetesApi(self.connection)
        self._sockets = Sockets(self._cluster.connection)
        self.api: Api = self._cluster
        self._events = events
        self._control: Control | None = None
        self._forwards: dict[tuple[str, int], Forward] = {}

    def connection(self) -> Connection:
        """Who we are there; blocks."""
        return Connection.from_kubeconfig(str(self.kubeconfig))

    @property
    def witness(self) -> Witness:
        """The controller, wherever it runs.

        :raises ClusterError: before :meth:`connect`.
        """
        if self._control is None:
            raise ClusterError(f"provider {self.name} is not connected to its cluster")
        return self._control.witness

    @property
    def attachments(self) -> Attachments:
        """Containers beside the cluster's pods.

        :raises ClusterError: before :meth:`connect`, and where the controller does not run in this process.
        """
        if self._control is None or self._control.attachments is None:
            raise ClusterError(
                f"provider {self.name}: the controller in the cluster does not reach containers of this machine's "
                "Docker; attach them in a run with --netem-provider=local"
            )
        return self._control.attachments

    @property
    def lease(self) -> str:
        """See :attr:`Control.lease`."""
        return self._control.lease if self._control is not None else ""

    async def connect(self, agent_image: str) -> None:
        """Start the controller.

        :param agent_image: as the nodes know it.
        :raises ProviderError: if the API server does not answer.
        """
        await self.reach()
        self.agent_image = agent_image
        self._control = self.control()
        self.api = self._control.api
        await self._control.start()
        await self.namespace_ready(self.home)

    async def reach(self) -> None:
        """See that the API server answers.

        :raises ProviderError: if it does not.
        """
        try:
            await self._cluster.list(NAMESPACES)
        except ApiError as error:
            raise ProviderError(f"provider {self.name}: {error}") from None

    def control(self) -> Control:
        """Where the controller is to run: in this process."""
        identity = f"run {self.directory.name}"
        containers = Containers(self._cluster, self.choices.agent_image, self.directory, self._events)
        return InProcess(containers, self._sockets, self.agent_image, identity=identity, emit=self._events)

    async def disconnect(self) -> None:
        """Heal everything and end what :meth:`connect` began; nothing happens if it did not."""
        try:
            for address in list(self._forwards):
                await self.unforward(address)
            if self._control is not None:
                await self._control.stop()
        finally:
            await self.api.close()

    async def open(self) -> None:
        """See :meth:`Provider.open`: the cluster is there since :meth:`connect`."""

    def reads(self, kind: Kind, namespace: str) -> bool:
        """All can be read."""
        del kind, namespace
        return True

    def limits(self) -> list[str]:
        """Nothing is kept back."""
        return []

    def lost(self) -> str:
        """Nobody but its owner ends a real cluster."""
        return ""

    def check(self, manifest: Object) -> Object:
        """The API server itself checks."""
        return manifest

    async def save_logs(self, directory: Path) -> str:
        """No log of it goes that a test's evidence has not."""
        del directory
        return ""

    async def namespace_ready(self, name: str) -> None:
        """Wait for its default service account, and make it ready for its pods to be impaired."""
        await made(self._cluster, SERVICEACCOUNTS, "default", name, SERVICE_ACCOUNT_WITHIN)
        if self._control is not None:
            await self._control.namespace_ready(name)

    async def spawn(
        self,
        pod: Object,
        argv: Sequence[str],
        *,
        container: str = "",
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> PodCommand:
        """Start a command beside the pod's containers."""
        running = RemoteCommand(self._sockets, pod, container or _first(pod))
        await running.start(argv, env or {}, stdin)
        return PodCommand(argv, running)

    async def logs(self, pod: Object, container: str = "", *, lines: int = 0, previous: bool = False) -> str:
        """What a container has written."""
        path, query = pod_path(pod, "log"), {"container": container or _first(pod)}
        query |= ({"tailLines": str(lines)} if lines else {}) | ({"previous": "true"} if previous else {})
        return await asyncio.to_thread(partial(self._text, path, query))

    def _text(self, path: str, query: Mapping[str, str]) -> str:
        return self._cluster.connection().text(path, query)

    async def forward(self, pod: Object, port: int) -> tuple[str, int]:
        """A listener on 127.0.0.1."""
        forward = Forward(self._sockets, pod, port)
        await forward.start()
        self._forwards[forward.address] = forward
        return forward.address

    async def unforward(self, address: tuple[str, int]) -> None:
        """Close it and its connections."""
        if forward := self._forwards.pop(address, None):
            await forward.stop()

    async def socket(self, pod: Object, family: int, type_: int, protocol: int) -> socket.socket:
        """Not here: the pod's network is on another machine.

        :raises ClusterError: always, with what to do instead.
        """
        del family, type_, protocol
        raise ClusterError(
            f"the provider {self.name} has no socket of this process in the network of pod/{pod['metadata']['name']}, "
            "only local has; let a command in the pod connect (pod.exec, pod.spawn), or use pod.forward"
        )

    async def part_logs(self, lines: int) -> dict[str, str]:
        """The controller's, where that is in the cluster."""
        parts = await self._control.parts() if self._control is not None else ()
        logs = await asyncio.gather(*(self.logs(pod, lines=lines) for pod in parts))
        return {str(pod["metadata"]["name"]): log for pod, log in zip(parts, logs, strict=True)}


def _first(pod: Object) -> str:
    containers: list[dict[str, Any]] = pod["spec"]["containers"]
    return str(containers[0]["name"])
