"""The node host: a program that holds all namespaces of an embedded cluster, and everything that runs in them.

Started by :mod:`pytest_k8s_netem.local.host` as ``python -I -S node_host.py --fd N --path DIR...``. It is pid 1 of
its own pid namespace, single-threaded, and ends with its parent or with the control socket, whichever goes first; the
kernel then ends every process and removes every link it made. Requests are frames ``{"id", "op", ...}``, answered
``{"id", "ok"}`` or ``{"id", "problems"}``; a child's end is the event ``{"event": "exit", "process", "status"}``.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the package can be imported: an isolated interpreter knows no paths
    sys.path += [value for flag, value in zip(sys.argv, sys.argv[1:], strict=False) if flag == "--path"]

import argparse
import contextlib
import gc
import os
import resource
import select
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from pytest_k8s_netem.local import forward, isolation, sandbox, syscalls
from pytest_k8s_netem.local.agentline import AgentLine
from pytest_k8s_netem.local.fdstream import FdStream
from pytest_k8s_netem.local.links import Fabric, delete_link
from pytest_k8s_netem.local.processes import Processes, Start, StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Frame = dict[str, Any]

_FILES = Path("/run/netem-pods")
"""In the node host's own mount namespace, on a tmpfs that ends with it."""


@dataclass(slots=True)
class Request:
    """A frame, the descriptors that came with it, and those that its answer shall bring; all are closed after it.

    ``later``: the op answers by itself, when it is done.
    """

    frame: Frame
    fds: list[int]
    given: list[int] = field(default_factory=list)
    later: bool = False

    def __getitem__(self, name: str) -> Any:
        return self.frame[name]


class NodeHost:
    """Answers requests; each ``_op_*`` method is one op."""

    def __init__(self, control: FdStream, fabric: Fabric, processes: Processes) -> None:
        self._control, self._fabric, self._processes = control, fabric, processes
        self._files: dict[str, sandbox.Files] = {}
        self._relays: dict[str, list[int]] = {}
        self._own: dict[int, Callable[[], None]] = {}  # children of ours, by negative names
        self._agent = AgentLine(processes)
        self._cwd = os.getcwd()
        _FILES.mkdir()

    def serve(self) -> None:
        """Work until the control socket ends."""
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        with contextlib.suppress(EOFError):
            while True:
                self._turn(woken)

    def _turn(self, woken: socket.socket) -> None:
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        for stream in (self._control, self._agent.stream):
            if stream:
                poll.register(stream, select.POLLIN | (select.POLLOUT if stream.flush() else 0))
        ready = {fd for fd, _ in poll.poll()}
        if woken.fileno() in ready:
            woken.recv(4096)
            for process, status in self._processes.reap():
                self._ended(process, status)
        if self._agent.stream and self._agent.stream.fileno() in ready:
            self._agent.listen()
        if self._control.fileno() in ready:
            for frame, fds in self._control.receive():
                self._answer(Request(frame, fds))

    def _ended(self, process: int, status: int) -> None:
        if done := self._own.pop(process, None):
            done()
        else:
            self._control.send({"event": "exit", "process": process, "status": status})

    def _answer(self, ask: Request) -> None:
        try:
            getattr(self, f"_op_{ask['op']}")(ask)
        except Exception as error:
            self._control.send({"id": ask["id"], "problems": [_problem(ask.frame, error)]}, ())
        else:
            if not ask.later:
                self._reply(ask)
        for fd in (*ask.fds, *ask.given):
            os.close(fd)

    def _reply(self, ask: Request) -> None:
        self._control.send({"id": ask["id"], "ok": {}}, ask.given)

    def _op_node(self, ask: Request) -> None:
        self._fabric.add_node(ask["name"], ask["index"], ask["addresses"], ask["gateways"])

    def _op_wire(self, ask: Request) -> None:
        self._fabric.add_wire(ask["first"], ask["second"])

    def _op_pod(self, ask: Request) -> None:
        name = ask["pod"]
        directory = _FILES / name.replace("/", "_")
        directory.mkdir(exist_ok=True)
        files = sandbox.Files(str(directory / "hosts"), str(directory / "resolv.conf"), ask["hostname"])
        Path(files.hosts).write_text(ask["hosts"], encoding="ascii")
        Path(files.resolv).write_text(ask["resolv"], encoding="ascii")
        self._fabric.add_pod(name, ask["node"], ask["addresses"], ask["gateways"])  # last: nobody takes it back
        self._files[name] = files
        ask.later = True
        self._agent.add(name, self._fabric.pods[name].fd, lambda: self._reply(ask))

    def _op_hosts(self, ask: Request) -> None:
        # In place: the boxes show this very inode.
        Path(self._files[ask["pod"]].hosts).write_text(ask["hosts"], encoding="ascii")

    def _op_remove(self, ask: Request) -> None:
        name = ask["pod"]
        for key in self._processes.boxes(name):
            self._processes.end_box(key)
        for relay in self._relays.pop(name, ()):
            self._processes.kill(relay, signal.SIGKILL, group=True)
        files = self._files.pop(name)
        for path in (files.hosts, files.resolv):
            os.unlink(path)
        os.rmdir(os.path.dirname(files.hosts))
        self._agent.forget(name)
        pod = self._fabric.forget_pod(name)

        def done() -> None:
            os.close(pod.fd)
            self._reply(ask)

        ask.later = True
        self._own[-ask["id"]] = done
        self._processes.run(-ask["id"], [pod.node.fd], lambda: delete_link(pod))

    def _op_spawn(self, ask: Request) -> None:
        pod = ask["pod"]
        command = sandbox.Command(
            ask["argv"], ask["env"], ask["cwd"] or self._cwd, ask.frame.get("uid"), ask.frame.get("gid")
        )
        key = (pod, ask["box"])
        self._processes.start(
            Start(ask["process"], self._fabric.pods[pod].fd, key, self._files[pod], command, tuple(ask.fds))
        )

    def _op_end_box(self, ask: Request) -> None:
        self._processes.end_box((ask["pod"], ask["box"]))

    def _op_kill(self, ask: Request) -> None:
        self._processes.kill(ask["process"], ask["signal"], group=ask["group"])

    def _op_forward(self, ask: Request) -> None:
        [listener] = ask.fds
        pod = self._fabric.pods[ask["pod"]].fd

        def body() -> int:
            syscalls.setns(pod, syscalls.CLONE_NEWNET)
            os.close(pod)
            return forward.relay(socket.socket(fileno=listener), ask["port"])

        self._processes.run(ask["process"], [pod, listener], body)
        self._relays.setdefault(ask["pod"], []).append(ask["process"])

    def _op_socket(self, ask: Request) -> None:
        made = self._fabric.socket(ask["where"], ask["family"], ask["type"], ask["protocol"])
        ask.given.append(made.detach())

    def _op_namespace(self, ask: Request) -> None:
        ask.given.append(os.dup(self._fabric.namespace(ask["where"])))

    def _op_agent(self, ask: Request) -> None:
        """Start the agent that serves every pod; its descriptor is the log."""
        [log] = ask.fds
        pods = {name: pod.fd for name, pod in self._fabric.pods.items()}
        ask.later = True
        self._agent.start(ask["process"], ask["argv"], log, pods, lambda: self._reply(ask))

    def _op_session(self, ask: Request) -> None:
        ask.given.append(self._agent.session())


def _problem(frame: Frame, error: Exception) -> dict[str, str]:
    """Say what was refused in a form that crosses the line."""
    if isinstance(error, StartError):
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        return {"path": "command", "why": why}
    if isinstance(error, KeyError):
        return {"path": str(frame["op"]), "why": f"no {error.args[0]} here"}
    return {"path": str(frame["op"]), "why": f"{type(error).__name__}: {error}"}


def _raise_file_limit() -> None:
    """Some five descriptors a pod."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Leave the machine's namespaces, say so, serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--path", action="append", default=[])
    arguments = parser.parse_args()
    control_socket = socket.socket(fileno=arguments.fd)
    control_socket.set_inheritable(False)
    control = FdStream(control_socket)
    try:
        nested = isolation.enter(arguments.fd)
        isolation.mount_proc()
        isolation.raise_loopback()
        syscalls.mount("tmpfs", "/run", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=0755")
    except OSError as error:
        step = os.fsdecode(error.filename or "namespaces")
        control.send({"event": "refused", "step": step, "errno": error.errno})
        return
    _raise_file_limit()
    fabric = Fabric()
    processes = Processes(nested=nested)
    host = NodeHost(control, fabric, processes)
    control.send({"event": "ready", "nested": nested, "ipv6": fabric.ipv6})
    import pyroute2  # noqa: F401  (the parent goes on while this takes its 0.1 s)

    gc.freeze()
    host.serve()


if __name__ == "__main__":
    main()
