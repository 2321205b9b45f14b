"""The test process's end of the node host: asyncio, typed, one object per embedded cluster.

All methods belong to the event loop that ran :meth:`NodeHost.start`. The thread of that loop must live as long as
the cluster: the kernel ends the node host with it.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import weakref
from itertools import count
from pathlib import Path

from pytest_k8s_netem.errors import ClusterError, ProviderError
from pytest_k8s_netem.local import prober
from pytest_k8s_netem.local.launch import AGENT, command, end
from pytest_k8s_netem.local.line import Line
from pytest_k8s_netem.local.process import Process
from pytest_k8s_netem.local.refusal import not_linux, refused
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any

_START_SECONDS = 20.0
"""A start takes 0.05 s; a machine that needs longer than this will not do."""


class NodeHost:
    """A running node host.

    :param log: file that takes the node host's own complaints. :param cwd: working directory of commands.
    """

    def __init__(self, log: Path, cwd: Path | None = None) -> None:
        self._log, self._cwd = log, cwd
        self._numbers = count(1)
        self._processes: dict[int, Process] = {}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._line: Line | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._ready: asyncio.Future[dict[str, Any]] | None = None
        self.lost = asyncio.Event()
        self.started = self.nested = self.ipv6 = False

    @property
    def pid(self) -> int:
        """Process id of the process outside that waits for the node host.

        :raises ClusterError: while it does not run.
        """
        if self._child is None:
            raise ClusterError("the node host is not running")
        return self._child.pid

    async def start(self) -> None:
        """Start it and wait until it has its namespaces.

        :raises ProviderError: if the machine refuses, with the ways out.
        """
        if error := not_linux():
            raise error
        ours, theirs = socket.socketpair()
        self._ready = asyncio.get_running_loop().create_future()
        self._line = Line(ours, self._died, self._told, self._lost)
        with theirs, self._log.open("ab") as log:
            self._child = subprocess.Popen(
                command(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C is for the test; teardown still needs the node host
            )
        try:
            said = await asyncio.wait_for(self._ready, _START_SECONDS)
        except TimeoutError:
            await self.close()
            raise ProviderError(
                f"the node host did not start within {_START_SECONDS:g} s; its log: {self._log}"
            ) from None
        if said["event"] != "ready":
            await self.close()
            raise refused(said["step"], said["errno"]) if said["event"] == "refused" else self._died()
        self.started, self.nested, self.ipv6 = True, said["nested"], said["ipv6"]

    async def close(self) -> None:
        """End it and everything in it; sockets that it handed out are closed. May be called more than once."""
        for sock in list(self._sockets):
            sock.close()
        if self._line is not None:
            self._line.close()
        if self._child is not None:
            await asyncio.to_thread(end, self._child)

    async def add_node(self, name: str, index: int, addresses: Sequence[str], gateways: Sequence[str]) -> None:
        """Make a node: its own addresses and, with prefix, the gateway addresses of its pod networks (v4, v6)."""
        await self.request("node", name=name, index=index, addresses=list(addresses), gateways=list(gateways))

    async def add_wire(self, first: str, second: str) -> None:
        """Join two nodes and let them route to each other's pods."""
        await self.request("wire", first=first, second=second)

    async def add_pod(
        self,
        name: str,
        node: str,
        addresses: Sequence[str],
        gateways: Sequence[str],
        *,
        hostname: str = "",
        hosts: str = "",
        resolv: str = "",
    ) -> None:
        """Make a pod ``namespace/name``: addresses with prefix, gateways without; text of its hosts and resolv.conf."""
        await self.request(
            "pod",
            pod=name,
            node=node,
            addresses=list(addresses),
            gateways=list(gateways),
            hostname=(hostname or name.rpartition("/")[2])[:63],
            hosts=hosts,
            resolv=resolv,
        )

    async def set_hosts(self, pod: str, hosts: str) -> None:
        """Rewrite a pod's hosts file in place; all its processes see it at once."""
        await self.request("hosts", pod=pod, hosts=hosts)

    async def remove_pod(self, name: str) -> None:
        """Kill a pod's containers and let go of its namespace."""
        await self.request("remove", pod=name)

    async def spawn(
        self,
        pod: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        box: str = "",
        cwd: str = "",
        uid: int | None = None,
        gid: int | None = None,
        stdio: tuple[int, int, int],
    ) -> Process:
        """Start a command in a pod; the descriptors of ``stdio`` stay the caller's.

        :param box: name of the container whose files it sees; made by the first process in it.
        :raises ClusterError: if it cannot be executed.
        """
        process = self._new_process()
        await self._starting(
            process,
            "spawn",
            stdio,
            pod=pod,
            box=box,
            argv=list(argv),
            env=dict(env),
            cwd=cwd,
            uid=uid,
            gid=gid,
        )
        return process

    async def end_box(self, pod: str, box: str) -> None:
        """Kill all that a container left behind; its next process gets fresh files."""
        await self.request("end_box", pod=pod, box=box)

    async def probe_tcp(self, node: str, host: str, port: int, timeout: float) -> bool:
        """Whether a connection from a node succeeds within ``timeout`` seconds."""
        return await self._probe(node, host, timeout, lambda sock: prober.tcp(sock, host, port))

    async def probe_http(
        self, node: str, host: str, port: int, path: str, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> bool:
        """Whether a GET from a node is answered 200 to 399 within ``timeout`` seconds."""
        return await self._probe(node, host, timeout, lambda sock: prober.http(sock, host, port, path, headers or {}))

    async def forward(self, pod: str, port: int, host_port: int = 0) -> tuple[int, Process]:
        """Listen on 127.0.0.1 of the test's machine (0: any port) for a port on a pod's loopback; (port, relay).

        Kill the relay to end it.
        """
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", host_port))
            listener.listen(128)
            process = self._new_process()
            await self._starting(process, "forward", [listener.fileno()], pod=pod, port=port)
            return listener.getsockname()[1], process

    async def open_socket(
        self, where: str, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0
    ) -> socket.socket:
        """A socket that lives in a pod (``namespace/name``) or node; closed with the cluster at the latest."""
        _, [fd] = await self.request("socket", where=where, family=int(family), type=int(kind), protocol=protocol)
        made = socket.socket(fileno=fd)
        return self._handed_out(made)

    async def namespace(self, where: str) -> int:
        """A descriptor of the network namespace of a pod or node, which is the caller's to close."""
        _, [fd] = await self.request("namespace", where=where)
        return fd

    async def start_agent(self, log: Path) -> Process:
        """Start the agent that serves every pod, present and future, as target ``namespace/name``."""
        process = self._new_process()
        argv = [sys.executable, "-I", "-S", str(AGENT), "keep"]
        with log.open("ab") as file:
            await self._starting(process, "agent", [file.fileno()], argv=argv)
        return process

    async def session(self) -> socket.socket:
        """A connected stream socket that speaks frames with the agent."""
        _, [fd] = await self.request("session")
        made = socket.socket(fileno=fd)
        return self._handed_out(made)

    async def request(self, op: str, fds: Sequence[int] = (), **fields: Any) -> tuple[dict[str, Any], list[int]]:
        """One op of the node host; answers ``ok`` and the descriptors beside it, which are the caller's.

        :raises ClusterError: if it is refused, or the node host is gone.
        """
        if self._line is None:
            raise self._died()
        return await self._line.request(op, fds, **fields)

    async def _probe(
        self, node: str, host: str, timeout: float, ask: Callable[[socket.socket], Coroutine[Any, Any, bool]]
    ) -> bool:
        with await self.open_socket(node, socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            try:
                return await asyncio.wait_for(ask(sock), timeout)
            except TimeoutError:
                return False

    def _new_process(self) -> Process:
        process = Process(self, number := next(self._numbers))
        self._processes[number] = process
        return process

    async def _starting(self, process: Process, op: str, fds: Sequence[int], **fields: Any) -> None:
        try:
            await self.request(op, fds, process=process.number, **fields)
        except ClusterError:
            self._processes.pop(process.number, None)
            raise

    def _handed_out(self, made: socket.socket) -> socket.socket:
        """Remember a socket: as long as a copy of it is open, the kernel keeps its whole namespace."""
        self._sockets.add(made)
        keep_from_children(made)
        return made

    def _told(self, frame: dict[str, Any]) -> None:
        if frame["event"] == "exit":
            if process := self._processes.pop(frame["process"], None):
                process.ended(frame["status"])
        elif self._ready and not self._ready.done():
            self._ready.set_result(frame)

    def _lost(self) -> None:
        """The line is gone: everything that waits learns it."""
        self.lost.set()
        if self._ready and not self._ready.done():
            self._ready.set_result({"event": "lost"})
        for process in self._processes.values():
            process.ended(-signal.SIGKILL)
        self._processes.clear()

    def _died(self) -> ClusterError:
        return ClusterError(f"the embedded cluster's node host has ended; its log: {self._log}")
