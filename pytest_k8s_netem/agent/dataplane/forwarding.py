"""The way of a packet through the user-space engine: read, decided on, held until it is due, sent.

Frames wait by due time on CLOCK_MONOTONIC. A frame is due from the moment in which the *kernel* took it, so time spent
before it was read is not added.
"""

from __future__ import annotations

import array
import errno
import hashlib
import os
import time
from collections import deque
from dataclasses import replace

from pytest_k8s_netem.agent.dataplane.batches import SHORT, Receiver, Sender
from pytest_k8s_netem.agent.dataplane.clocks import Clocks
from pytest_k8s_netem.agent.dataplane.frame import NETWORK, ecn_capable, is_probe, mark_congestion, size
from pytest_k8s_netem.agent.dataplane.sockets import drops
from pytest_k8s_netem.agent.dataplane.waiting import Waiting
from pytest_k8s_netem.model.fate import Fate
from pytest_k8s_netem.model.impairment import SECOND
from pytest_k8s_netem.model.observed import LATE
from pytest_k8s_netem.model.wire import IMPAIRMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.tables import Table

_REMEMBERED = 4096
"""Packets over which ``late_p99`` is taken."""
_TURN = 256
"""Most packets let go before sockets are read again."""
_SANE = 5 * SECOND
"""Longest lag believed; beyond, the wall clock was set between a frame's arrival and its reading."""
_NO_LINK = (errno.ENETDOWN, errno.ENXIO, errno.ENODEV)
"""The interface is down or gone: what is sent there is lost without us too."""


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


def digest(table: Table | None) -> str | None:
    """Sixteen hex digits over the values of a table."""
    return None if table is None else hashlib.sha256(array.array("h", table.values).tobytes()).hexdigest()[:16]


class Exit:
    """Where the frames of a sink go, in the order in which they are let go.

    :ivar frames: those that wait for the next :meth:`Forwarder.send`. :ivar leaving: beside each, the stage that it
        leaves, when it was due, and whether it is a probe.
    """

    __slots__ = ("fd", "frames", "leaving", "socket")

    def __init__(self, target: socket.socket) -> None:
        self.socket, self.fd = target, target.fileno()
        self.frames: list[bytes] = []
        self.leaving: list[tuple[Stage, int, bool]] = []


class Port:
    """A class of one sink: where its frames come from, the stages they pass, and where they go.

    :ivar fds: of its sources, the one to read from first.
    """

    __slots__ = ("chain", "exit", "fds", "name", "packets", "sink", "sources")

    def __init__(
        self, sink: int, name: str, chain: tuple[Stage, ...], sources: Sequence[socket.socket], leave: Exit
    ) -> None:
        self.sink, self.name, self.chain = sink, name, chain
        self.sources, self.exit = sources, leave
        self.fds = deque(source.fileno() for source in sources)
        self.packets = 0

    def count_drops(self) -> None:
        """Note frames that found the sockets full since the last look."""
        if lost := sum(map(drops, self.sources)):
            self.chain[0].loses(lost)


class Forwarder:
    """All frames of a worker that are under way.

    :ivar waiting: frames until they are due, each with its class, the number of stages it has passed, and whether it
        is a probe.
    """

    def __init__(self) -> None:
        self.waiting = Waiting()
        self._receiver = Receiver()
        self._sender = Sender()
        self._clocks = Clocks()
        self._now = 0

    def read(self, port: Port) -> None:
        """Take in what has come for a class."""
        arrivals = self._receiver.read(port.fds[0])
        for _ in range(len(port.fds) - 1):
            if arrivals or self._receiver.left_out:
                break
            port.fds.rotate(-1)  # the kernel fills the sources in this order, and moves on when one is nearly full
            arrivals = self._receiver.read(port.fds[0])
        if self._receiver.left_out:
            port.packets += self._receiver.left_out
            port.chain[0].loses(self._receiver.left_out)
        now, shift = self._clocks.look()
        self._now = now
        for stamp, frame in arrivals:
            arrival = stamp + shift
            if not now - _SANE < arrival <= now:
                arrival = now
            probe = is_probe(frame)
            port.packets += not probe
            self._enter(port, 0, arrival, frame, probe)
        self._send(port.exit)

    def flush(self) -> None:
        """Let go what is due."""
        exits: dict[int, Exit] = {}
        self._now = time.monotonic_ns()
        for due, _number, (port, index, frame, probe) in self.waiting.due(self._now, _TURN):
            port.chain[index - 1].backlog -= 1
            exits[port.exit.fd] = port.exit
            self._leave(port, index, due, frame, probe)
        for one in exits.values():
            self._send(one)

    def _enter(self, port: Port, index: int, arrival: int, frame: memoryview | bytes, probe: bool) -> None:
        """A frame comes to stage ``index`` of its class."""
        stage = port.chain[index]
        fate = stage.probes if probe else stage.fate
        length = size(frame) if fate.weighs else 0
        for due, corrupt, mark in fate.decide(arrival, length, fate.marks and ecn_capable(frame)):
            copy = _changed(frame, fate if corrupt else None, mark) if corrupt or mark else frame
            if due <= self._now and self.waiting.none_before(due):
                self._leave(port, index + 1, due, copy, probe)
            else:
                self.waiting.push(due, (port, index + 1, bytes(copy), probe))
                stage.backlog += 1

    def _leave(self, port: Port, index: int, due: int, frame: memoryview | bytes, probe: bool) -> None:
        """A frame leaves the stage before ``index``: to the next one, or out."""
        stage = port.chain[index - 1]
        if index < len(port.chain):
            if not probe:
                stage.leaves(time.monotonic_ns() - due)
            self._enter(port, index, due, frame, probe)
            return
        leave = port.exit
        if len(frame) > SHORT:
            self._send(leave)
            self._send_long(leave, frame, stage, due, probe)
        else:
            leave.frames.append(bytes(frame))
            leave.leaving.append((stage, due, probe))
            if len(leave.frames) == Sender.MOST:
                self._send(leave)

    def _send(self, leave: Exit) -> None:
        """Send what was let go; a frame that is refused is lost, those behind it go on."""
        frames, leaving = leave.frames, leave.leaving
        while frames:
            try:
                sent = self._sender.send(leave.fd, frames)
            except OSError as error:
                sent = 1
                _refused(leaving[0][0], error)
            now = time.monotonic_ns()
            for stage, due, probe in leaving[:sent]:
                if not probe:
                    stage.leaves(now - due)
            del frames[:sent], leaving[:sent]

    def _send_long(self, leave: Exit, frame: memoryview | bytes, stage: Stage, due: int, probe: bool) -> None:
        try:
            leave.socket.send(frame)
        except OSError as error:
            _refused(stage, error)
        if not probe:
            stage.leaves(time.monotonic_ns() - due)


def _refused(stage: Stage, error: OSError) -> None:
    """The device is full, or takes no frame of this length."""
    if error.errno not in _NO_LINK:
        stage.loses(1)


def _changed(frame: memoryview | bytes, corrupts: Fate | None, mark: bool) -> bytes:
    copy = bytearray(frame)
    if mark:
        mark_congestion(copy)
    if corrupts is not None:
        corrupts.flip(copy, NETWORK)
    return bytes(copy)
