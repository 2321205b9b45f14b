"""Provider ``local``: the embedded cluster on a memory store, driven by the same controller as a real one."""

from __future__ import annotations

import os
import weakref

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.cluster.attaching import Containers
from pytest_k8s_netem.cluster.provider import Completed
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.controller.traffic import TrafficController
from pytest_k8s_netem.local.embedded import EmbeddedCluster
from pytest_k8s_netem.local.manifests import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_k8s_netem.api.protocol import Api, Kind, Object
    from pytest_k8s_netem.cluster.session import Choices
    from pytest_k8s_netem.local.process import Process
    from pytest_k8s_netem.run.events import EventLog


LINE = 200
"""Bytes that a log's line may have on average; a tail of longer ones has fewer lines."""


class LocalCommand:
    """A command in a local pod; its outputs are files in memory, which live as long as this object."""

    def __init__(self, argv: Sequence[str], process: Process, outputs: tuple[int, int]) -> None:
        self._argv, self._process, self._outputs = tuple(argv), process, outputs
        for fd in outputs:
            weakref.finalize(self, os.close, fd)

    async def wait(self) -> Completed:
        """Until it ends."""
        status = await self._process.wait()
        return Completed(self._argv, status, *self.output())

    async def kill(self, signal: int) -> None:
        """Send a signal to it and to what it started."""
        await self._process.kill(signal)

    def output(self) -> tuple[str, str]:
        """Standard output and error so far."""
        return _text(self._outputs[0]), _text(self._outputs[1])


class LocalScript:
    """A script beside the controller; its output is a file in memory."""

    def __init__(self, process: Process, output: int) -> None:
        self._process, self._output = process, output
        weakref.finalize(self, os.close, output)

    async def wait(self) -> int:
        """Its exit status."""
        return await self._process.wait()

    async def kill(self, signal: int) -> None:
        """Send a signal to it and to what it started."""
        await self._process.kill(signal)

    def output(self) -> str:
        """What it has written."""
        return _text(self._output)


class LocalProvider:
    """See :class:`pytest_k8s_netem.cluster.provider.Provider`.

    :param api: where the cluster's objects are; a memory store if none is given.
    """

    name = "local"
    lease = ""
    home = "default"
    makes_namespaces = True

    def __init__(self, choices: Choices, directory: Path, events: EventLog, api: Api | None = None) -> None:
        containers = Containers(MemoryApi() if api is None else api, choices.agent_image, directory, events)
        self.api = containers.api
        self.attachments = containers.attachments
        self._runtime = Runtime(self.api)
        self._embedded = EmbeddedCluster(
            self._runtime, directory, nodes=choices.nodes, gate=self._gate, farewell=self._farewell
        )
        self.controller = TrafficController(
            self._runtime,
            containers.beside(self._embedded.channels),
            identity=f"run {directory.name}",
            emit=events,
            scripts=(self._launch, directory / "scripts") if choices.allow_script else None,
        )
        self._relays: dict[tuple[str, int], Process] = {}

    @property
    def witness(self) -> TrafficController:
        """The controller of this process."""
        return self.controller

    async def start(self) -> None:
        """Controllers on the store."""
        await self._runtime.start()

    async def open(self) -> None:
        """Namespaces, agent."""
        await self._embedded.start()
        await self._embedded.channels.start()

    async def stop(self) -> None:
        """All at once: the namespaces go with their host."""
        await self._runtime.stop()
        await self.controller.stop()
        await self.attachments.stop()
        await self._embedded.stop()

    def reads(self, kind: Kind, namespace: str) -> bool:
        """All can be read."""
        del kind, namespace
        return True

    def limits(self) -> list[str]:
        """Nothing is kept back."""
        return []

    def remains(self, failed: bool) -> str:
        """Nothing of it can be kept."""
        del failed
        return ""

    async def save_logs(self, directory: Path) -> str:
        """No log of it goes that a test's evidence has not."""
        del directory
        return ""

    async def namespace_ready(self, name: str) -> None:
        """It is, at once."""

    async def load_image(self, name: str) -> None:
        """No image runs here: pods name programs of this machine."""

    async def _launch(self, pod: Object, argv: list[str]) -> LocalScript:
        output = os.memfd_create("script")
        try:
            return LocalScript(await self._embedded.beside(pod, argv, output), output)
        except BaseException:
            os.close(output)
            raise

    async def _gate(self, pod: Object) -> None:
        await self.controller.gate(pod)

    async def _farewell(self, pod: Object) -> None:
        await self.controller.farewell(pod)

    def lost(self) -> str:
        """Its node host has ended, and everything in it."""
        host = self._embedded.host
        return "the embedded cluster has ended: its node host was killed" if host.started and host.lost.is_set() else ""

    def check(self, manifest: Object) -> Object:
        """What the embedded cluster can honour."""
        return check(manifest)

    async def spawn(
        self,
        pod: Object,
        argv: Sequence[str],
        *,
        container: str = "",
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> LocalCommand:
        """Start a command beside the pod's containers."""
        out, err = os.memfd_create("stdout"), os.memfd_create("stderr")
        try:
            with open(os.memfd_create("stdin"), "wb+") as into:
                into.write(stdin)
                into.seek(0)
                stdio = (into.fileno(), out, err)
                process = await self._embedded.spawn(pod, argv, stdio, container=container, env=env)
        except BaseException:
            os.close(out)
            os.close(err)
            raise
        return LocalCommand(argv, process, (out, err))

    async def logs(self, pod: Object, container: str = "", *, lines: int = 0, previous: bool = False) -> str:
        """What a container has written, in all its lives."""
        if previous:
            return ""
        life = self._embedded.kubelet.life(pod)
        return _read(life.log(container or str(pod["spec"]["containers"][0]["name"])), lines)

    async def forward(self, pod: Object, port: int) -> tuple[str, int]:
        """A listener on 127.0.0.1; a relay beside the node host carries the bytes."""
        life = self._embedded.kubelet.life(pod)
        number, relay = await self._embedded.host.forward(life.key, port)
        self._relays["127.0.0.1", number] = relay
        return "127.0.0.1", number

    async def unforward(self, address: tuple[str, int]) -> None:
        """End its relay."""
        if relay := self._relays.pop(address, None):
            await relay.kill()
            await relay.wait()  # nothing listens any more when this returns

    async def socket(self, pod: Object, family: int, type_: int, protocol: int) -> socket.socket:
        """A socket that lives in the pod's namespace."""
        life = self._embedded.kubelet.life(pod)
        return await self._embedded.host.open_socket(life.key, family, type_, protocol)

    async def part_logs(self, lines: int) -> dict[str, str]:
        """Node host and agent."""
        return {path.stem: _read(path, lines) for path in sorted(self._embedded.directory.glob("*.log"))}


def _read(path: Path, lines: int) -> str:
    """A file's last lines (0: all of it); "" if it is not there."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        if lines:
            file.seek(max(0, path.stat().st_size - lines * LINE))
        text = file.read().decode(errors="replace")
    return "".join(text.splitlines(keepends=True)[-lines:])


def _text(fd: int) -> str:
    # pread: the position at which the command writes is shared, and stays where it is.
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")
