"""The worker of the user-space engine: one process a target that holds packets until they are due.

It knows nothing of devices and namespaces: it reads classified frames from sockets that it was given, lets each pass
the stages of its class in order, and writes it to another socket. Frames wait by due time on CLOCK_MONOTONIC. A frame
is due from the moment in which the *kernel* took it, so time spent before it was read is not added.

Requests come as JSON objects over a SOCK_SEQPACKET socket, each answered by ``{"ok": ...}`` or ``{"error": text}``:

=======  =============================================  ======================================================
op       fields                                         ok
=======  =============================================  ======================================================
stage    stage, seed, impairment                        a new stage of that number
port     sink, class, stages [number]; two descriptors  a class: frames are read from the first and sent on the second
hold     stage, impairment                              the stage holds it
read     stages [number]                                {number: what :meth:`Stage.read` says}
packets  sink                                           {class: packets without probes}
backlog  sink                                           packets that wait, those still in sockets included as one
close    sink, stages [number]                          what waits in the sink is dropped, the stages are forgotten
=======  =============================================  ======================================================
"""

from __future__ import annotations

import array
import errno
import gc
import hashlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from heapq import heapify, heappop, heappush

from pytest_k8s_netem.agent.dataplane.frame import NETWORK, ecn_capable, is_probe, mark_congestion, size
from pytest_k8s_netem.agent.dataplane.sockets import Receiver, drops
from pytest_k8s_netem.agent.forked import alone
from pytest_k8s_netem.model.fate import Fate
from pytest_k8s_netem.model.impairment import SECOND
from pytest_k8s_netem.model.observed import LATE
from pytest_k8s_netem.model.wire import IMPAIRMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.tables import Table

    Waiting = tuple[int, int, "Port", int, memoryview | bytes, bool]
    """Due (ns), number (so that equals leave as they came), class, stages passed, frame, whether it is a probe."""

MAX_MESSAGE = 1 << 20
_REMEMBERED = 4096
"""Packets over which ``late_p99`` is taken."""
_FLUSH = 256
"""Most packets sent before sockets are read again."""
_SANE = 5 * SECOND
"""Longest lag believed; beyond, the wall clock was set between a frame's arrival and its reading."""
_NO_LINK = (errno.ENETDOWN, errno.ENXIO, errno.ENODEV)
"""The interface is down or gone: what is sent there is lost without us too."""
_PRIORITY = 10
"""SCHED_FIFO priority, where this user may have one."""
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29


class Stage:
    """One stage: its fate, and a second one for probes, which draw from no seed and stay out of the counters."""

    __slots__ = ("backlog", "fate", "lagged", "late", "lost", "probes")

    def __init__(self, impairment: Impairment, seed: int) -> None:
        self.fate = Fate(impairment, seed)
        self.probes = Fate(impairment, int.from_bytes(os.urandom(8), "little"))
        self.late: deque[int] = deque(maxlen=_REMEMBERED)
        self.backlog = self.lagged = self.lost = 0

    def hold(self, impairment: Impairment) -> None:
        """Change the parameters."""
        self.fate.hold(impairment)
        self.probes.hold(impairment)

    def leaves(self, late: int) -> None:
        """Note a packet that leaves ``late`` ns after its due time."""
        self.late.append(late)
        if late > LATE:
            self.lagged += 1

    def loses(self, packets: int) -> None:
        """Note packets that nobody meant to lose: a full buffer, a device that took no more."""
        self.lost += packets

    def read(self) -> dict[str, Any]:
        """What it holds and did; tables as :func:`digest`."""
        fate = self.fate
        held = fate.impairment
        bare = replace(held, table=None, slot=replace(held.slot, table=None))
        late = sorted(self.late)
        return {
            "held": IMPAIRMENT.encode(bare),
            "tables": [digest(held.table), digest(held.slot.table)],
            "passed": fate.passed,
            "dropped": fate.dropped,
            "delayed": fate.delayed,
            "duplicated": fate.duplicated,
            "corrupted": fate.corrupted,
            "reordered": fate.reordered,
            "backlog": self.backlog,
            "late_p99": late[len(late) * 99 // 100] if late else None,
            "lagged": self.lagged,
            "lost": self.lost,
        }


class Port:
    """A class of one sink: where its frames come from, the stages they pass, and where they go."""

    __slots__ = ("chain", "closed", "fd", "name", "packets", "send", "sink", "sockets", "source")

    def __init__(
        self, sink: int, name: str, chain: tuple[Stage, ...], source: socket.socket, target: socket.socket
    ) -> None:
        self.sink, self.name, self.chain = sink, name, chain
        self.source, self.fd, self.send = source, source.fileno(), target.send
        self.sockets = (source, target)
        self.packets = 0
        self.closed = False


def digest(table: Table | None) -> str | None:
    """Sixteen hex digits over the values of a table."""
    return None if table is None else hashlib.sha256(array.array("h", table.values).tobytes()).hexdigest()[:16]


class Worker:
    """Everything the process knows."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._stages: dict[int, Stage] = {}
        self._ports: dict[int, Port] = {}
        self._heap: list[Waiting] = []
        self._number = 0
        self._receiver = Receiver()
        self._next_count = 0

    def run(self) -> None:
        """Work until the control socket ends."""
        heap, control = self._heap, self._control.fileno()
        while True:
            wait = None
            if heap:
                wait = max(heap[0][0] - time.monotonic_ns(), 0) / SECOND
            ready = select.select([control, *self._ports], (), (), wait)[0]
            for fd in ready:
                if fd == control:
                    if not self._serve():
                        return
                elif fd in self._ports:
                    self._read(self._ports[fd])
            self._flush()

    # Packets

    def _read(self, port: Port) -> None:
        arrivals = self._receiver.read(port.fd)
        if self._receiver.left_out:
            port.packets += self._receiver.left_out
            port.chain[0].loses(self._receiver.left_out)
        now = time.monotonic_ns()
        shift = now - time.time_ns()
        for stamp, frame in arrivals:
            arrival = stamp + shift
            if not now - _SANE < arrival <= now:
                arrival = now
            probe = is_probe(frame)
            port.packets += not probe
            self._enter(port, 0, arrival, frame, probe)
        if not arrivals or now > self._next_count:
            self._count_drops(port, now)

    def _enter(self, port: Port, index: int, arrival: int, frame: memoryview | bytes, probe: bool) -> None:
        """A frame comes to stage ``index`` of its class."""
        stage = port.chain[index]
        fate = stage.probes if probe else stage.fate
        held = fate.impairment
        length = size(frame) if held.rate or held.slot else 0
        for due, corrupt, mark in fate.decide(arrival, length, held.ecn and ecn_capable(frame)):
            copy = frame
            if corrupt or mark:
                copy = _changed(frame, fate if corrupt else None, mark)
            if due <= arrival and not self._heap:
                self._leave(port, index + 1, due, copy, probe)
            else:
                self._number += 1
                heappush(self._heap, (due, self._number, port, index + 1, bytes(copy), probe))
                stage.backlog += 1

    def _flush(self) -> None:
        """Let go what is due."""
        heap, now = self._heap, time.monotonic_ns()
        for _ in range(_FLUSH):
            if not heap or heap[0][0] > now:
                return
            due, _number, port, index, frame, probe = heappop(heap)
            port.chain[index - 1].backlog -= 1
            self._leave(port, index, due, frame, probe)
            now = time.monotonic_ns()

    def _leave(self, port: Port, index: int, due: int, frame: memoryview | bytes, probe: bool) -> None:
        """A frame leaves the stage before ``index``: to the next one, or out."""
        stage = port.chain[index - 1]
        if index < len(port.chain):
            self._enter(port, index, due, frame, probe)
        else:
            try:
                port.send(frame)
            except OSError as error:  # the device is full, or takes no frame of this length
                if error.errno not in _NO_LINK:
                    stage.loses(1)
        if not probe:
            stage.leaves(time.monotonic_ns() - due)

    def _count_drops(self, port: Port, now: int) -> None:
        """Look once a second, and when a socket has been emptied, whether frames found it full."""
        self._next_count = now + SECOND
        if lost := drops(port.source):
            port.chain[0].loses(lost)

    # Requests

    def _serve(self) -> bool:
        """Answer one request; False once nobody is left to ask."""
        message, descriptors, _flags, _address = socket.recv_fds(self._control, MAX_MESSAGE, 2)
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

    def _on_port(self, request: dict[str, Any], descriptors: list[int]) -> None:
        source, target = (socket.socket(fileno=fd) for fd in descriptors)
        chain = tuple(self._stages[number] for number in request["stages"])
        self._ports[source.fileno()] = Port(request["sink"], request["class"], chain, source, target)

    def _on_hold(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        self._stages[request["stage"]].hold(IMPAIRMENT.decode(request["impairment"]))

    def _on_read(self, request: dict[str, Any], _descriptors: list[int]) -> dict[int, Any]:
        now = time.monotonic_ns()
        for port in self._ports.values():
            self._count_drops(port, now)
        return {number: self._stages[number].read() for number in request["stages"]}

    def _on_packets(self, request: dict[str, Any], _descriptors: list[int]) -> dict[str, int]:
        return {port.name: port.packets for port in self._of(request["sink"])}

    def _on_backlog(self, request: dict[str, Any], _descriptors: list[int]) -> int:
        ports = self._of(request["sink"])
        unread = select.select([port.fd for port in ports], (), (), 0)[0] if ports else []
        return sum(entry[2] in ports for entry in self._heap) + bool(unread)

    def _on_close(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        import _thread

        gone = self._of(request["sink"])
        for entry in self._heap:
            if entry[2] in gone:
                entry[2].chain[entry[3] - 1].backlog -= 1
        self._heap[:] = [entry for entry in self._heap if entry[2] not in gone]
        heapify(self._heap)
        for port in gone:
            del self._ports[port.fd]
        for number in request["stages"]:
            del self._stages[number]
        # Closing a packet socket waits for RCU, tens of milliseconds: not while others' packets are due.
        _thread.start_new_thread(_close, ([sock for port in gone for sock in port.sockets],))

    def _of(self, sink: int) -> list[Port]:
        return [port for port in self._ports.values() if port.sink == sink]


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _changed(frame: memoryview | bytes, corrupts: Fate | None, mark: bool) -> bytes:
    copy = bytearray(frame)
    if mark:
        mark_congestion(copy)
    if corrupts is not None:
        corrupts.flip(copy, NETWORK)
    return bytes(copy)


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
    import ctypes

    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value))
