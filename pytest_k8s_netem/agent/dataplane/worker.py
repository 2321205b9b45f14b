"""The worker of the user-space engine: one process a target that holds packets until they are due.

It knows nothing of devices and namespaces: it reads classified frames from sockets that it was given, lets each pass
the stages of its class in order, and writes it to another socket (see :mod:`.forwarding`).

Requests come as JSON objects over a SOCK_SEQPACKET socket, each answered by ``{"ok": ...}`` or ``{"error": text}``:

=======  =============================================  ======================================================
op       fields                                         ok
=======  =============================================  ======================================================
stage    stage, seed, impairment                        a new stage of that number
sink     sink; a descriptor                             a sink, whose frames are sent there
port     sink, class, stages [number]; descriptors      a class of that sink, whose frames are read there
hold     stage, impairment                              the stage holds it
read     stages [number]                                {number: what :meth:`Stage.read` says}
packets  sink                                           {class: packets without probes}
backlog  sink                                           packets that wait, those still in sockets included as one
close    sink, stages [number]                          what waits in the sink is dropped, the stages are forgotten
=======  =============================================  ======================================================
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress

from pytest_k8s_netem.agent.dataplane.forwarding import Exit, Forwarder, Port, Stage
from pytest_k8s_netem.agent.dataplane.sockets import ROOMS
from pytest_k8s_netem.agent.forked import alone
from pytest_k8s_netem.model.impairment import SECOND
from pytest_k8s_netem.model.wire import IMPAIRMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_MESSAGE = 1 << 20
_PRIORITY = 10
"""SCHED_FIFO priority, where this user may have one."""
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29
_LIBC = ctypes.CDLL(None)
"""Loaded before the fork: each page that a new worker writes is copied, which is most of the time it takes to start."""


class Worker:
    """Everything the process knows."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._stages: dict[int, Stage] = {}
        self._exits: dict[int, Exit] = {}
        self._ports: dict[int, Port] = {}
        self._forwarder = Forwarder()
        self._ready = select.epoll()
        self._ready.register(control, select.EPOLLIN)

    def run(self) -> None:
        """Work until the control socket ends."""
        forwarder, control = self._forwarder, self._control.fileno()
        while True:
            for fd, _events in self._ready.poll(0) or self._awaited():
                if fd == control:
                    if not self._serve():
                        return
                elif fd in self._ports:
                    forwarder.read(self._ports[fd])
            forwarder.flush()

    def _awaited(self) -> list[tuple[int, int]]:
        """What is ready once something is, or once a frame is due; epoll's own timeout counts milliseconds."""
        first = self._forwarder.waiting.first()
        wait = None if first is None else (first - time.monotonic_ns()) / SECOND
        if wait is not None and wait <= 0:
            return []
        select.select([self._ready], (), (), wait)
        return self._ready.poll(0)

    # Requests

    def _serve(self) -> bool:
        """Answer one request; False once nobody is left to ask."""
        message, descriptors, _flags, _address = socket.recv_fds(self._control, MAX_MESSAGE, ROOMS)
        if not message:
            return False
        request = json.loads(message)
        try:
            answer = {"ok": getattr(self, f"_on_{request['op']}")(request, descriptors)}
        except (OSError, ValueError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        self._control.send(json.dumps(answer).encode())
        return True

    def _on_stage(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        self._stages[request["stage"]] = Stage(IMPAIRMENT.decode(request["impairment"]), request["seed"])

    def _on_sink(self, request: dict[str, Any], descriptors: list[int]) -> None:
        self._exits[request["sink"]] = Exit(socket.socket(fileno=descriptors[0]))

    def _on_port(self, request: dict[str, Any], descriptors: list[int]) -> None:
        sources = [socket.socket(fileno=fd) for fd in descriptors]
        chain = tuple(self._stages[number] for number in request["stages"])
        sink = request["sink"]
        port = Port(sink, request["class"], chain, sources, self._exits[sink])
        for source in sources:
            self._ports[source.fileno()] = port
            self._ready.register(source, select.EPOLLIN)

    def _on_hold(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        self._stages[request["stage"]].hold(IMPAIRMENT.decode(request["impairment"]))

    def _on_read(self, request: dict[str, Any], _descriptors: list[int]) -> dict[int, Any]:
        for port in dict.fromkeys(self._ports.values()):
            port.count_drops()
        return {number: self._stages[number].read() for number in request["stages"]}

    def _on_packets(self, request: dict[str, Any], _descriptors: list[int]) -> dict[str, int]:
        return {port.name: port.packets for port in self._of(request["sink"])}

    def _on_backlog(self, request: dict[str, Any], _descriptors: list[int]) -> int:
        ports = self._of(request["sink"])
        unread = select.select([source for port in ports for source in port.sources], (), (), 0)[0] if ports else []
        return sum(entry[2][0] in ports for entry in self._forwarder.waiting) + bool(unread)

    def _on_close(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        import _thread

        gone = self._of(request["sink"])
        for _due, _number, (port, index, *_) in self._forwarder.waiting.drop(lambda entry: entry[2][0] in gone):
            port.chain[index - 1].backlog -= 1
        for port in gone:
            port.count_drops()
            for source in port.sources:
                self._ready.unregister(source)
                del self._ports[source.fileno()]
        for number in request["stages"]:
            self._stages.pop(number, None)  # it was refused, if it is not there
        leave = self._exits.pop(request["sink"], None)  # not there if the devices could not be made
        # Closing a packet socket waits for RCU, tens of milliseconds: not while others' packets are due.
        sockets = [source for port in gone for source in port.sources]
        _thread.start_new_thread(_close, ([*sockets, leave.socket] if leave else sockets,))

    def _of(self, sink: int) -> list[Port]:
        return list(dict.fromkeys(port for port in self._ports.values() if port.sink == sink))


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def main(control: socket.socket, parent: int) -> None:
    """The whole life of a forked worker; never returns.

    :param parent: process id of the agent, with which it dies.
    """
    code = 1
    try:
        alone(control.fileno())
        _mute()
        _die_with(parent)
        _be_prompt()
        Worker(control).run()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _mute() -> None:
    """Neither read nor write where the agent does; stderr is its log."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    os.close(null)


def _die_with(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _be_prompt() -> None:
    """Wake on time, and never stop to collect garbage."""
    _prctl(_PR_SET_TIMERSLACK, 1)
    gc.disable()  # what the agent left is kept: collecting it would copy every page of it
    with suppress(OSError):  # an ordinary user, or no CAP_SYS_NICE: late by milliseconds on a busy machine
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))


def _prctl(option: int, value: int) -> None:
    _LIBC.prctl(option, ctypes.c_ulong(value))
