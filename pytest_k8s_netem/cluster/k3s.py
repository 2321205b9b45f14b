"""Provider ``k3s``: a cluster of K3s in one container of Docker, by Testcontainers; one for each process of a run."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Protocol

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.protocol import NODES
from pytest_k8s_netem.cluster.remote import RemoteProvider
from pytest_k8s_netem.errors import ApiError, ProviderError
from pytest_k8s_netem.kube.image import AGENT, built
from pytest_k8s_netem.kube.programs import run
from pytest_k8s_netem.run.retry import attempts

READY_WITHIN = 120.0
"""Seconds for its node to be ready; the container's own start waits for less than that."""
ARCHIVE = "/netem-image.tar"
"""Where an image is put in the node's container: not in /tmp, since docker cp reaches under a mount there."""


class Container(Protocol):
    """What is used of ``testcontainers.community.k3s.K3SContainer``."""

    def start(self) -> Any:
        """Until K3s has found its node."""

    def stop(self) -> None:
        """Remove it."""

    def config_yaml(self) -> str:
        """The administrator's kubeconfig, with an address that this machine reaches."""

    def get_wrapped_container(self) -> Any:
        """Docker's own object, which has an ``id``."""


class K3sProvider(RemoteProvider):
    """See :class:`pytest_k8s_netem.cluster.provider.Provider`; nothing is installed in the cluster."""

    name = "k3s"
    _container: Container | None = None

    async def start(self) -> None:
        """Start the container, and bring the agent's image there.

        :raises ProviderError: if Testcontainers or Docker is missing, or K3s does not start.
        """
        agent = asyncio.ensure_future(self._agent_image())
        try:
            self._container = await asyncio.to_thread(self._started)
            text = await asyncio.to_thread(self._container.config_yaml)
            with open(os.open(self.kubeconfig, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            await self._ready()
            await self.load_image(await agent)
        finally:
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)
        await self.connect(agent.result())

    async def stop(self) -> None:
        """Remove the container, and the cluster with it."""
        try:
            await self.disconnect()
        finally:
            container, self._container = self._container, None
            if container is not None:
                await asyncio.to_thread(container.stop)

    def remains(self, failed: bool) -> str:
        """Nothing: Testcontainers itself removes what a process has started."""
        del failed
        return ""

    async def load_image(self, name: str) -> None:
        """Bring an image of the local Docker to the node.

        :raises ProviderError: if Docker has it not, or that fails.
        """
        if self._container is None:
            raise ProviderError("provider k3s has no container yet")
        node, archive = str(self._container.get_wrapped_container().id), str(self.directory / "image.tar")
        await run("docker", "save", "--output", archive, name)
        try:
            await run("docker", "cp", archive, f"{node}:{ARCHIVE}")
        finally:
            os.unlink(archive)
        await run("docker", "exec", node, "ctr", "--namespace", "k8s.io", "images", "import", ARCHIVE)
        await run("docker", "exec", node, "rm", ARCHIVE)

    def _started(self) -> Container:
        """Blocks."""
        make, image = container_class(), self.choices.k3s_image
        try:
            self._container = container = make(image)  # whatever becomes of its start, it is to be stopped
            container.start()
        except Exception as error:  # of Docker, of its client, or TimeoutError
            raise ProviderError(f"provider k3s: {image} does not start: {error}") from None
        made: Container = container
        return made

    async def _ready(self) -> None:
        """Until there is a node that takes pods."""
        try:
            async for attempt in attempts(READY_WITHIN, ApiError, _NotReady, most=0.5):
                with attempt:
                    nodes = (await self._cluster.list(NODES)).items
                    if not any(is_ready(node) for node in nodes):
                        raise _NotReady(f"none of its {len(nodes)} nodes is ready after {READY_WITHIN:g} s")
        except (ApiError, _NotReady) as error:
            raise ProviderError(f"provider k3s: {error}") from None

    async def _agent_image(self) -> str:
        return self.choices.agent_image or await built(AGENT)


class _NotReady(Exception):
    """Its node is on the way."""


def container_class() -> Any:
    """Testcontainers' own.

    :raises ProviderError: if it is not installed, or there is no Docker.
    """
    try:
        from testcontainers.community.k3s import K3SContainer
    except ImportError:
        raise ProviderError("provider k3s needs Testcontainers: pip install 'pytest-k8s-netem[k3s]'") from None
    return K3SContainer
