"""Compiled programs in the real kernel, on a hook and on packet sockets, against the model's own evaluation."""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packets import MATCHES, PEERS, address, first_of, frames, ipv4, peers

from pytest_k8s_netem.agent.dataplane import bpf, filters
from pytest_k8s_netem.agent.dataplane.assembler import Program
from pytest_k8s_netem.agent.dataplane.blocks import ETHERNET_FRAMES, Layout
from pytest_k8s_netem.agent.dataplane.netlink import Netlink
from pytest_k8s_netem.agent.namespace import current, enter, entered, unshare
from pytest_k8s_netem.model.match import EVERYTHING, TCP, UDP, Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction
from pytest_k8s_netem.model.ranges import Ranges

pytestmark = [pytest.mark.needs("root"), pytest.mark.needs("netns")]

ETH_P_ALL = 0x0003
SO_ATTACH_FILTER = 26
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
LISTS = st.lists(st.lists(MATCHES, min_size=1, max_size=3), min_size=1, max_size=4)
STRANGERS = PeerSet(Ranges.of(*random.Random(4).sample(range(11 << 24, 12 << 24), 5000)))
"""More single addresses than a program has instructions, none of them in a frame."""
VERSIONS = {b"\x08\x00": 4, b"\x86\xdd": 6}
FRAMES = st.lists(frames(), min_size=1, max_size=12)
IN_THE_KERNEL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Wire:
    """Frames put in at one end, seen at the other; all in a namespace of its own, silent but for them."""

    def __init__(self) -> None:
        home = current()
        unshare()
        self.netlink = Netlink.open()
        self.near = self.netlink.add_link("near", "veth", peer="far")
        self.far = self.netlink.link("far").index
        self.sink = self.netlink.add_link("sink", "ifb")
        for index in (self.near, self.far, self.sink):
            self.netlink.without_ipv6(index)
            self.netlink.set_link(index, up=True)
        for index in (self.near, self.far):
            self.netlink.add_clsact(index)
        self.namespace = current()
        self.input = self.socket("near")
        self.spare = [self.socket("far") for _ in range(8)]
        enter(home)
        os.close(home)

    def socket(self, device: str) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind((device, ETH_P_ALL if device == "far" else 0))
        sock.setblocking(False)
        return sock

    def attach(self, sock: socket.socket, program: Program) -> None:
        code = ctypes.create_string_buffer(program.code)
        pointer = ctypes.addressof(code).to_bytes(8, "little")
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, len(program).to_bytes(8, "little") + pointer)

    def drain(self, sock: socket.socket) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(sock.recv(65536))
            except BlockingIOError:
                return found

    def close(self) -> None:
        for sock in (self.input, *self.spare):
            sock.close()
        os.close(self.namespace)
        self.netlink.close()


class Tunnel:
    """A tun device beside a wire: what is written to it, without anything before the network header, arrives there."""

    def __init__(self, wire: Wire) -> None:
        with entered(wire.namespace):
            self._descriptor = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self._descriptor, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
        found = wire.netlink.link("tun0")
        self.index, self.layout = found.index, Layout.of(found.mac)
        wire.netlink.without_ipv6(self.index)
        wire.netlink.set_link(self.index, up=True)
        wire.netlink.add_clsact(self.index)

    def send(self, frame: bytes) -> None:
        """Let the packet of an Ethernet frame arrive."""
        os.write(self._descriptor, frame[14:])

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tunnel(wire: Wire) -> Iterator[Tunnel]:
    made = Tunnel(wire)
    yield made
    made.close()


def counts(hooked: filters.Hooked, total: int) -> dict[str, int]:
    """Packets a class took, once all classes together took as many as were sent."""
    deadline = time.monotonic() + 10
    while True:
        found = {name: seen.packets for name, seen in hooked.read().items()}
        if sum(found.values()) >= total or time.monotonic() > deadline:
            return found


def listing(groups: list[list[Match]], direction: Direction) -> list[Class]:
    return [Class(str(at), "far", direction, tuple(group), ("s",)) for at, group in enumerate(groups)]


@IN_THE_KERNEL
@given(LISTS, FRAMES, st.sampled_from(Direction))
def test_packet_sockets_take_what_their_class_takes_first(
    wire: Wire, groups: list[list[Match]], frames: list[bytes], direction: Direction
) -> None:
    classes = listing(groups, direction)
    sockets = wire.spare[: len(classes)]
    for at, sock in enumerate(sockets):
        wire.attach(sock, bpf.select(classes, at))
        wire.drain(sock)
    for frame in frames:
        wire.input.send(frame)
        expected = first_of(classes, frame)
        if expected is not None:
            select.select([sockets[expected]], [], [], 10)
        assert [wire.drain(sock) for sock in sockets] == [
            [frame] if at == expected else [] for at in range(len(classes))
        ]


@pytest.mark.parametrize("by_address", [pytest.param(True, marks=pytest.mark.needs("flower")), False])
@settings(IN_THE_KERNEL, max_examples=20)
@given(PEERS, st.booleans(), FRAMES)
def test_sets_that_no_program_holds_are_taken_likewise(
    wire: Wire, by_address: bool, remote: PeerSet, together: bool, frames: list[bytes]
) -> None:
    large = [Match(remote=remote | STRANGERS)]
    others = [Match(protocols=Ranges.of(TCP))]
    classes = listing([*([[*others, *large]] if together else [large, others]), [EVERYTHING]], Direction.INGRESS)
    redirects = {entry.id: wire.sink for entry in classes}
    hooked = filters.install(wire.netlink, wire.far, Direction.INGRESS, classes, redirects, by_address=by_address)
    try:
        for frame in frames:
            wire.input.send(frame)
        counted = counts(hooked, len(frames))
        assert all(seen.held for seen in hooked.read().values())
    finally:
        hooked.remove()
    expected = [first_of(classes, frame) for frame in frames]
    assert counted == {entry.id: expected.count(at) for at, entry in enumerate(classes)}


@IN_THE_KERNEL
@given(LISTS, FRAMES, st.sampled_from(Direction))
def test_filters_take_what_their_class_takes_first(
    wire: Wire, groups: list[list[Match]], frames: list[bytes], direction: Direction
) -> None:
    index = wire.near if direction is Direction.EGRESS else wire.far
    assert_taken(wire, index, listing([*groups, [EVERYTHING]], direction), frames, wire.input.send)


@pytest.mark.needs("tun")
@IN_THE_KERNEL
@given(LISTS, FRAMES)
def test_packets_of_a_tunnel_are_taken_likewise(
    wire: Wire, tunnel: Tunnel, groups: list[list[Match]], frames: list[bytes]
) -> None:
    """The device tells IPv4 from IPv6 by the header's first bits."""
    sent = [frame for frame in frames if frame[14:] and VERSIONS.get(frame[12:14]) == frame[14] >> 4]
    classes = listing([*groups, [EVERYTHING]], Direction.INGRESS)
    assert_taken(wire, tunnel.index, classes, sent, tunnel.send, tunnel.layout)


@pytest.mark.needs("tun")
def test_the_shortest_packet_of_a_tunnel_is_taken(wire: Wire, tunnel: Tunnel) -> None:
    """It is shorter than the headers of the same packet in an Ethernet frame."""
    datagram = ipv4(UDP, struct.pack("!HHHH", 40000, 53, 8, 0), address("10.0.0.1"), address("10.0.0.2"))
    asked = Match(remote=peers("10.0.0.1/32"), local_ports=Ranges.of(53))
    classes = listing([[asked], [EVERYTHING]], Direction.INGRESS)
    assert_taken(wire, tunnel.index, classes, [datagram], tunnel.send, tunnel.layout)


def assert_taken(
    wire: Wire,
    index: int,
    classes: list[Class],
    frames: list[bytes],
    send: Callable[[bytes], object],
    layout: Layout = ETHERNET_FRAMES,
) -> None:
    """Each frame is counted by the first class that takes it."""
    redirects = {entry.id: wire.sink for entry in classes}
    hooked = filters.install(wire.netlink, index, classes[0].direction, classes, redirects, layout=layout)
    try:
        for frame in frames:
            send(frame)
        counted = counts(hooked, len(frames))
    finally:
        hooked.remove()
    expected = [first_of(classes, frame) for frame in frames]
    # A class of matches that are all empty has no filter.
    assert {name: count for name, count in counted.items() if count} == {
        str(at): expected.count(at) for at in sorted(set(expected))
    }
