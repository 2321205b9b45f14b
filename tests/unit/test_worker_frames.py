"""How frames come to the user-space engine's worker and leave it: in batches, in order, and none lost in silence."""

from __future__ import annotations

import socket
import time

import pytest

from pytest_k8s_netem.agent.dataplane.batches import FRAME, SHORT, Receiver, Sender
from pytest_k8s_netem.agent.dataplane.clocks import Clocks
from pytest_k8s_netem.agent.dataplane.forwarding import Exit, Forwarder, Port, Stage
from pytest_k8s_netem.model.impairment import MILLISECOND, Impairment

pytestmark = pytest.mark.needs("linux")
LONG = SHORT + 1


@pytest.fixture
def pair():
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.extend(ends)
        return ends

    yield make
    for end in made:
        end.close()


class Way:
    """Stack -> forwarder -> wire, through one class of some stages; these are no packet sockets."""

    def __init__(self, pair, *impairments: Impairment) -> None:
        self.source, self.stack = pair()
        target, self.wire = pair()
        self.stages = [Stage(impairment, seed=1) for impairment in impairments]
        self.port = Port(1, "class", tuple(self.stages), [self.source], Exit(target))
        self.forwarder = Forwarder()

    def arrived(self) -> list[bytes]:
        found = []
        self.wire.setblocking(False)
        while True:
            try:
                found.append(self.wire.recv(FRAME))
            except BlockingIOError:
                return found


def test_a_frame_that_is_too_long_is_lost_counted_and_told(pair):
    way = Way(pair, Impairment(delay=MILLISECOND, limit=10))
    for size in (FRAME, FRAME + 1):
        way.stack.send(bytes(size))
    way.forwarder.read(way.port)
    seen = way.stages[0].read()
    assert (seen["delayed"], seen["dropped"], seen["lost"], seen["lagged"]) == (1, 0, 1, 0)
    assert way.port.packets == 2


@pytest.mark.parametrize("delay", [0, 1, 5 * MILLISECOND])
@pytest.mark.parametrize("stages", [1, 2])
def test_long_and_short_frames_keep_their_order_and_their_bytes(pair, delay, stages):
    way = Way(pair, *(Impairment(delay=delay, limit=100) for _ in range(stages)))
    sent = [bytes([number]) * (LONG if number % 3 == 0 else 100 + number) for number in range(9)]
    arrived: list[bytes] = []
    for frame in sent:
        way.stack.send(frame)
    while len(arrived) < len(sent):
        way.forwarder.read(way.port)
        way.forwarder.flush()
        arrived += way.arrived()
    assert arrived == sent
    assert not list(way.forwarder.waiting)
    assert [(seen["passed"], seen["backlog"]) for seen in (stage.read() for stage in way.stages)] == [(9, 0)] * stages


def test_a_worker_that_is_kept_from_running_between_two_clocks_keeps_the_order(pair, monkeypatch):
    """What comes half a millisecond later is due later, however long the worker waits between its looks at clocks."""
    way = Way(pair, Impairment(delay=1000 * MILLISECOND, limit=100))
    wall = time.time_ns
    arrivals = [(wall() + number * MILLISECOND // 2, bytes([number])) for number in range(4)]
    waits = [0, 0.01, 0, 0.01]

    def interrupted() -> int:
        time.sleep(waits.pop(0))
        return wall()

    monkeypatch.setattr(way.forwarder._receiver, "read", lambda _fd: [arrivals.pop(0)])
    monkeypatch.setattr(time, "time_ns", interrupted)
    time.sleep(0.002)  # all have come
    while arrivals:
        way.forwarder.read(way.port)
    entries = sorted(way.forwarder.waiting, key=lambda entry: entry[:2])
    assert [entry[2][2] for entry in entries] == [bytes([number]) for number in range(4)]


def test_the_wall_clock_may_be_set(monkeypatch):
    clocks, wall = Clocks(), time.time_ns
    for moved in (0, 10**12, -(10**12)):
        monkeypatch.setattr(time, "time_ns", lambda moved=moved: wall() + moved)
        now, distance = clocks.look()
        assert now - 10**12 // 2 < time.time_ns() + distance <= time.monotonic_ns()


def test_a_frame_that_is_refused_is_lost_and_those_around_it_are_not(pair):
    way = Way(pair, Impairment(limit=100))
    way.port.exit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel's least: some 4,600 bytes
    sent = [bytes([number]) * (1900 if number == 2 else 10) for number in range(5)]
    way.port.exit.frames += sent
    way.port.exit.frames[2] = bytes(100_000)
    way.port.exit.leaving += [(way.stages[0], time.monotonic_ns(), False) for _ in sent]
    way.forwarder._send(way.port.exit)
    assert way.arrived() == [frame for number, frame in enumerate(sent) if number != 2]
    assert way.stages[0].read()["lost"] == 1


def test_more_than_one_call_takes_go_in_order(pair):
    receiver, sender = Receiver(), Sender()
    ends = pair()
    sent = [number.to_bytes(2) for number in range(receiver.SLOTS + 3)]
    taken = 0
    got: list[bytes] = []
    while taken < len(sent):
        try:
            taken += sender.send(ends[0].fileno(), sent[taken : taken + sender.MOST])
        except BlockingIOError:
            got += [bytes(frame) for _, frame in receiver.read(ends[1].fileno())]
    while len(got) < len(sent):
        got += [bytes(frame) for _, frame in receiver.read(ends[1].fileno())]
    assert got == sent
    assert receiver.read(ends[1].fileno()) == []
