"""Frames and the matches that may take them, both at random, and what a list of classes naively says of a frame."""

from __future__ import annotations

import ipaddress
import struct

from hypothesis import strategies as st

from pytest_k8s_netem.model.match import ARP, IPV4, IPV6, Match
from pytest_k8s_netem.model.packet import MAX_EXTENSION_HEADERS, parse
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction
from pytest_k8s_netem.model.ranges import Ranges

EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
WORD = 0xFFFFFFFF


def address(text: str) -> int:
    return int(ipaddress.ip_address(text))


def peers(*texts: str) -> PeerSet:
    networks = [ipaddress.ip_network(text) for text in texts]
    return PeerSet.from_networks([(n.version, int(n.network_address), n.prefixlen) for n in networks])


def ethernet(ether_type: int, body: bytes) -> bytes:
    return bytes(12) + ether_type.to_bytes(2, "big") + body


def ipv4(protocol: int, payload: bytes, source: int, destination: int, options: int = 0, fragment: int = 0) -> bytes:
    """``options``: words of IP options. ``fragment``: the flags and offset field."""
    header = struct.pack("!BBHHHBBH", 0x45 + options, 0, 0, 1, fragment, 64, protocol, 0)
    addresses = source.to_bytes(4, "big") + destination.to_bytes(4, "big")
    return ethernet(IPV4, header + addresses + b"\1" * 4 * options + payload)


def ipv6(protocol: int, payload: bytes, source: int, destination: int, extensions: tuple[bytes, ...] = ()) -> bytes:
    """``extensions``: headers whose first byte, the next header's number, is set here; each begins with its own."""
    chain, numbers = b"", [entry[0] for entry in extensions] + [protocol]
    for entry, following in zip(extensions, numbers[1:], strict=True):
        chain += bytes([following]) + entry[1:]
    addresses = source.to_bytes(16, "big") + destination.to_bytes(16, "big")
    return ethernet(IPV6, struct.pack("!IHBB", 6 << 28, 0, numbers[0], 64) + addresses + chain + payload)


def fragment_header(offset: int, more: bool = True) -> bytes:
    return bytes([44, 0]) + (offset << 3 | more).to_bytes(2, "big") + bytes(4)


# Small universes, so that random matches and packets meet.
V4 = [address(f"10.0.{a}.{b}") for a in (0, 1) for b in (0, 1, 2, 128, 255)] + [0, WORD]
V6 = [address(t) for t in ("::", "fd00::1", "fd00::2", "fd00:0:0:1::", "fd00::1:0:0:1", "fe80::ff")] + [2**128 - 1]
PORTS = [0, 1, 53, 80, 443, 8080, 65535]
PROTOCOLS = [0, 1, 6, 17, 44, 47, 50, 51, 58, 60, 132, 136]


def ranges_of(universe: list[int], top: int) -> st.SearchStrategy[Ranges]:
    number = st.sampled_from(universe).flatmap(lambda n: st.sampled_from([n, max(n - 1, 0), min(n + 1, top)]))
    pair = st.tuples(number, number).map(lambda p: (min(p), max(p)))
    return st.lists(st.one_of(pair, number.map(lambda n: (n, n))), min_size=1, max_size=6).map(Ranges.joined)


def optional(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), strategy)


ETHER_TYPES = st.sampled_from(
    [
        None,
        Ranges.of(IPV4, IPV6),
        Ranges.of(IPV4),
        Ranges.of(IPV6),
        Ranges.of(ARP),
        Ranges.of(ARP, IPV4),
        Ranges.of((0, 65535)),
    ]
)
PEERS = st.builds(
    PeerSet,
    st.one_of(st.just(Ranges()), ranges_of(V4, WORD)),
    st.one_of(st.just(Ranges()), ranges_of(V6, 2**128 - 1)),
)
MATCHES = st.builds(
    Match,
    ETHER_TYPES,
    optional(ranges_of(PROTOCOLS, 255)),
    optional(PEERS),
    optional(ranges_of(PORTS, 65535)),
    optional(ranges_of(PORTS, 65535)),
)
EXTENSION = st.one_of(
    st.builds(
        lambda number, length: bytes([number, length]) + bytes(6 + 8 * length),
        st.sampled_from([0, 43, 60, 135, 139, 140]),
        st.integers(0, 2),
    ),
    st.integers(1, 4).map(lambda length: bytes([51, length]) + bytes(6 + 4 * length)),
    st.builds(fragment_header, st.sampled_from([0, 0, 0, 1, 185]), st.booleans()),
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    protocol = draw(st.sampled_from(PROTOCOLS))
    payload = struct.pack("!HH", draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))) + bytes(8)
    if protocol in (1, 58):
        payload = bytes([draw(st.sampled_from([8, 128, 132, 133, 135, 137, 138]))]) + payload
    kind = draw(st.sampled_from(["v4", "v4", "v6", "v6", "v6", "arp", "other"]))
    if kind == "v4":
        frame = ipv4(
            protocol,
            payload,
            draw(st.sampled_from(V4)),
            draw(st.sampled_from(V4)),
            draw(st.sampled_from([0, 0, 1, 10])),
            draw(st.sampled_from([0, 0x4000, 0x2000, 0x2001, 185, 0x1FFF])),
        )
    elif kind == "v6":
        extensions = tuple(draw(st.lists(EXTENSION, max_size=MAX_EXTENSION_HEADERS + 1)))
        frame = ipv6(protocol, payload, draw(st.sampled_from(V6)), draw(st.sampled_from(V6)), extensions)
    else:
        frame = ethernet(ARP if kind == "arp" else 0x88CC, draw(st.binary(max_size=60)))
    if draw(st.integers(0, 4)) == 0:
        frame = frame[: draw(st.integers(14, len(frame)))]
    return frame


def first_of(classes: list[Class], frame: bytes) -> int | None:
    """Naive evaluation: the first class that takes the frame."""
    packet = parse(frame, classes[0].direction)
    return next((at for at, c in enumerate(classes) if any(match.takes(packet) for match in c.matches)), None)
