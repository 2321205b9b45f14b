"""A cluster of kind, by its name: made, found, given images, deleted; the user's own kubeconfig stays as it is."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

from pytest_k8s_netem.api.protocol import NODES
from pytest_k8s_netem.errors import ConfigError, ProviderError
from pytest_k8s_netem.kube.programs import INSTALL, Failed, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api

OLDEST = (0, 20)
"""The first kind whose nodes come with native sidecars and ephemeral containers by default (Kubernetes 1.27)."""
LIST_IMAGES = ("ctr", "--namespace=k8s.io", "images", "list", "--quiet")
"""Prints the names of a node's images."""
START = "start it (systemctl start docker, or Docker Desktop), and see that this user may use it: docker version"
STATES = ("docker", "inspect", "--format", "{{.Name}} {{.State.Status}}")
"""Prints a line for each container: its name after a slash, and what Docker calls its state."""
WAKE = {"paused": "docker unpause {}", "exited": "docker start {}", "created": "docker start {}"}
"""By the state of a node that does not run, what makes it run."""
READY_WITHIN = 180
"""Seconds for the nodes to be ready; 8 are usual."""


class KindCluster:
    """One cluster.

    :param kubeconfig: where its credentials go.
    """

    def __init__(self, name: str, kubeconfig: Path) -> None:
        self.name, self.kubeconfig = name, kubeconfig

    async def exists(self) -> bool:
        """Whether there is one of that name.

        :raises ProviderError: if kind or Docker is missing.
        """
        return self.name in (await run("kind", "get", "clusters")).split()

    async def create(self, *, image: str = "", config: Path | None = None, workers: int = 0) -> None:
        """Make it and wait until its nodes are ready.

        :param image: of the nodes; "" = kind's own for its version. :param config: kind's, in place of ``workers``.
        :raises ProviderError: with kind's own words.
        """
        options = ["--image", image] if image else []
        text = _read(config) if config else configuration(workers)
        wait = f"{READY_WITHIN}s"
        argv = ["kind", "create", "cluster", *self._named(), "--config", "-", "--wait", wait, *options]
        try:
            await run(*argv, stdin=text)
        except Failed as error:
            why = next((line for line in error.said.splitlines() if line.startswith("ERROR: ")), "ERROR: ?")
            raise ProviderError(f"kind cluster {self.name} cannot be made: {why[7:]}\n{error}") from None

    async def find(self) -> None:
        """Write its kubeconfig.

        :raises ProviderError: if a node does not run.
        """
        await awake(self.name)
        await run("kind", "export", "kubeconfig", *self._named())

    async def load(self, *images: str) -> None:
        """Bring images of the local Docker to all nodes; one that Docker has not is pulled first.

        :raises ProviderError: if a node does not run, or with kind's own words.
        """
        await awake(self.name)
        for image in images:
            if not await run("docker", "image", "inspect", "--format", "{{.Id}}", image, check=False):
                await run("docker", "pull", "--quiet", image)
        await run("kind", "load", "docker-image", *images, "--name", self.name)

    async def provide(self, *images: str) -> None:
        """The same for images whose names stand for their content: what every node has is not brought again."""
        nodes = (await run("kind", "get", "nodes", "--name", self.name)).split()
        there = await asyncio.gather(*(run("docker", "exec", node, *LIST_IMAGES, check=False) for node in nodes))
        known = [set(names.split()) for names in there]
        lacking = [name for name in images if not all(f"docker.io/{name}" in names for names in known)]
        if lacking:
            await self.load(*lacking)

    async def export_logs(self, directory: Path) -> None:
        """Write the logs of nodes and pods there."""
        await run("kind", "export", "logs", str(directory), "--name", self.name)

    async def delete(self) -> None:
        """Delete it; no error if it is gone already."""
        await run("kind", "delete", "cluster", *self._named())

    def _named(self) -> list[str]:
        return ["--name", self.name, "--kubeconfig", str(self.kubeconfig)]


def configuration(workers: int) -> bytes:
    """kind's configuration for a control plane and so many workers; JSON is YAML."""
    nodes = [{"role": "control-plane"}, *({"role": "worker"} for _ in range(workers))]
    return json.dumps({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}).encode()


async def check() -> None:
    """See that kind and Docker are there and answer.

    :raises ProviderError: naming what is missing or too old, and how to get it.
    """
    said = await run("kind", "version")
    found = re.search(r"v(\d+)\.(\d+)[.\w-]*", said)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        wanted = f"v{OLDEST[0]}.{OLDEST[1]}.0 or later is needed; {INSTALL['kind']}"
        raise ProviderError(f"kind {found[0]} ({shutil.which('kind')}) is too old: {wanted}")
    try:
        await run("docker", "version", "--format", "{{.Server.Version}}")
    except Failed as error:
        raise ProviderError(f"Docker does not answer: {error.said}\n{START}") from None


async def awake(name: str) -> None:
    """See that all nodes of a cluster run: kind itself shows how its command failed on one that does not.

    :raises ProviderError: naming those, and what makes them run.
    """
    nodes = (await run("kind", "get", "nodes", "--name", name)).split()
    said = await run(*STATES, *nodes, check=False) if nodes else ""  # nodes of another engine than Docker are not seen
    states = dict(line.lstrip("/").split(maxsplit=1) for line in said.splitlines())
    if asleep := {node: state for node, state in states.items() if state != "running"}:
        told = ", ".join(f"node {node} is {state}" for node, state in asleep.items())
        anew = f"kind delete cluster --name {name}"
        wake = "; ".join(WAKE.get(state, anew).format(node) for node, state in asleep.items())
        raise ProviderError(f"kind cluster {name} cannot be used: {told}. Let it run again: {wake}")


def _read(config: Path) -> bytes:
    try:
        return config.read_bytes()
    except OSError as error:
        raise ConfigError(f"kind's configuration {config}: {error.strerror}") from None


async def name_of(api: Api) -> str:
    """The name that kind knows a cluster by, from what its nodes say; "" = it is none of kind's.

    :raises ApiError: if nodes cannot be read.
    """
    for node in (await api.list(NODES)).items:
        provider, _, rest = str((node.get("spec") or {}).get("providerID", "")).partition("://")
        if provider == "kind":
            return rest.split("/")[1]
    return ""
