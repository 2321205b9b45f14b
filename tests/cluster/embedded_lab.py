"""An embedded cluster for tests of the local room, driven from plain test functions."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import PODS, Kind
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.local import manifests
from pytest_k8s_netem.local.addresses import NodeAddresses
from pytest_k8s_netem.local.embedded import EmbeddedCluster
from pytest_k8s_netem.local.host import NodeHost
from pytest_k8s_netem.local.lifecycle import Gate, open_gate
from pytest_k8s_netem.local.process import Process
from pytest_k8s_netem.run.portal import Portal

T = TypeVar("T")
PATIENCE = 20.0
"""Seconds that any condition may take; none is expected to take one."""


@dataclass(frozen=True)
class Ended:
    """A command that ended; ``returncode`` is -n after signal n."""

    returncode: int
    stdout: bytes
    stderr: bytes


async def to_its_end(
    start: Callable[[tuple[int, int, int]], Awaitable[Process]], stdin: bytes = b"", timeout: float | None = None
) -> Ended:
    """Run a command with files in memory, as the provider does; after ``timeout`` seconds it is killed."""
    with ExitStack() as files:
        stdio = [files.enter_context(os.fdopen(os.memfd_create(name), "wb+", 0)) for name in ("stdin", "out", "err")]
        stdio[0].write(stdin)
        stdio[0].seek(0)
        into, out, err = (file.fileno() for file in stdio)
        process = await start((into, out, err))
        try:
            async with asyncio.timeout(timeout):
                status = await process.wait()
        except BaseException:
            await process.kill()
            raise
        return Ended(status, *(os.pread(fd, os.fstat(fd).st_size, 0) for fd in (out, err)))


class HostLab:
    """A node host with some pods, two nodes, and blocking calls."""

    def __init__(self, portal: Portal, directory: Path) -> None:
        self.portal = portal
        self.host = NodeHost(directory / "node-host.log")
        self.nodes = [NodeAddresses(number) for number in range(2)]
        self.addresses: dict[str, tuple[str, str]] = {}

    async def start(self) -> None:
        await self.host.start()
        for node in self.nodes:
            await self.host.add_node(f"node-{node.index}", node.index, node.own, node.prefixed(node.gateways))
        await self.host.add_wire("node-0", "node-1")

    async def add(self, name: str, number: int) -> None:
        node = self.nodes[number]
        pair = self.addresses[name] = node.take()
        hosts = "127.0.0.1 localhost\n"
        await self.host.add_pod(
            f"default/{name}", f"node-{number}", node.prefixed(pair), node.gateways, hosts=hosts, resolv="search x\n"
        )

    def run(
        self,
        pod: str,
        *argv: str,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        **options: Any,
    ) -> Ended:
        env = {"PATH": os.environ["PATH"], **(env or {})}

        def start(stdio: tuple[int, int, int]) -> Awaitable[Process]:
            return self.host.spawn(f"default/{pod}", argv, env=env, stdio=stdio, **options)

        return self.call(to_its_end(start, stdin, timeout))

    def socket(self, pod: str, family: int, kind: int) -> socket.socket:
        made = self.call(self.host.open_socket(f"default/{pod}", family, kind))
        made.settimeout(PATIENCE)
        return made

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return self.portal.call(work, timeout=60)


@contextmanager
def host_lab(directory: Path) -> Iterator[HostLab]:
    portal = Portal()
    lab = HostLab(portal, directory)
    try:
        lab.call(lab.start())
        yield lab
    finally:
        portal.call(lab.host.close())
        portal.stop()


class ClusterLab:
    """An embedded cluster on a memory store, and blocking calls."""

    def __init__(self, portal: Portal, directory: Path, gate: Gate = open_gate) -> None:
        self.portal, self._directory, self._gate = portal, directory, gate

    async def start(self) -> None:
        self.api = MemoryApi()
        self.runtime = Runtime(self.api)
        self.cluster = EmbeddedCluster(self.runtime, self._directory, gate=self._gate)
        await self.cluster.start()
        await self.runtime.start()

    async def stop(self) -> None:
        await self.runtime.stop()
        await self.cluster.stop()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return self.portal.call(work, timeout=60)

    def create(self, kind: Kind, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        manifest = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
        return self.call(self.api.create(kind, manifests.check(manifest), "default"))

    def pod(self, name: str, *command: str, spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
        """Create a pod with one container."""
        metadata = {"labels": container.pop("labels", {}), "annotations": container.pop("annotations", {})}
        containers = [{"name": "main", "command": list(command), **container}]
        return self.create(PODS, name, {"containers": containers, **(spec or {})}, **metadata)

    def get(self, name: str, kind: Kind = PODS) -> dict[str, Any]:
        return self.call(self.api.get(kind, name, "default"))

    def pods(self, selector: str) -> list[dict[str, Any]]:
        return self.call(self.api.list(PODS, "default", selector)).items

    def delete(self, name: str, kind: Kind = PODS) -> None:
        self.call(self.api.delete(kind, name, "default"))

    def until(self, name: str, condition: Callable[[dict[str, Any]], Any], kind: Kind = PODS) -> dict[str, Any]:
        """Wait until an object is as wanted."""

        async def look() -> dict[str, Any] | None:
            found = await self.api.get(kind, name, "default")
            return found if condition(found) else None

        return self.eventually(look, f"{kind.name} {name}")

    def ready(self, name: str) -> dict[str, Any]:
        return self.until(name, is_ready)

    def gone(self, name: str, kind: Kind = PODS) -> None:
        async def look() -> bool:
            try:
                await self.api.get(kind, name, "default")
            except ApiError as error:
                return error.status == 404
            return False

        self.eventually(look, f"end of {name}")

    def eventually(self, look: Callable[[], Awaitable[T | None]], what: str) -> T:
        async def wait() -> T:
            async with asyncio.timeout(PATIENCE):
                while not (found := await look()):
                    await asyncio.sleep(0.01)
                return found

        try:
            return self.call(wait())
        except TimeoutError:
            raise AssertionError(f"waited {PATIENCE:g} s for {what}") from None

    def exec(self, name: str, *argv: str) -> Ended:
        return self.call(self.inside(self.get(name), *argv))

    async def inside(self, pod: dict[str, Any], *argv: str, container: str = "") -> Ended:
        return await to_its_end(lambda stdio: self.cluster.spawn(pod, argv, stdio, container=container))

    def log(self, name: str, container: str = "main") -> str:
        async def read() -> str:
            path = self.cluster.kubelet.life(await self.api.get(PODS, name, "default")).log(container)
            return path.read_text() if path.exists() else ""

        return self.call(read())


@contextmanager
def cluster_lab(directory: Path, gate: Gate = open_gate) -> Iterator[ClusterLab]:
    portal = Portal()
    lab = ClusterLab(portal, directory, gate)
    try:
        lab.call(lab.start())
        yield lab
    finally:
        portal.call(lab.stop())
        portal.stop()
