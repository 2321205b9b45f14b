"""What a profile takes is impaired, whatever the packet looks like; what it does not take is not touched."""

from __future__ import annotations

import socket
import struct

import pytest
from bounds import on_time
from road import Road

FAMILIES = pytest.mark.parametrize("family", [4, 6])
WAYS = pytest.mark.parametrize("direction", ["egress", "ingress"])
ASKED = 250
"""ms; what is not taken stays far below, on any machine."""
TAKEN, SPARED = 4000, 4001
_IP_OPTIONS, _IPV6_HOPOPTS, _IPV6_DSTOPTS = 4, 54, 59
_NOOP = b"\1\1\1\1"
"""IPv4 option 1, four times (RFC 791, 3.1)."""
_PADN = struct.pack("=BBBB4x", 0, 0, 1, 4)
"""Next header, length, and option PadN of four bytes (RFC 8200, 4.2)."""


@FAMILIES
@WAYS
def test_another_port_is_not_touched(road: Road, family: int, direction: str) -> None:
    with road.impair(delay=f"{ASKED}ms", ports=f"udp/{TAKEN}", **road.towards(direction)):
        assert max(road.flow(100, direction=direction, family=family, port=SPARED).delays) < ASKED
        on_time(road.flow(20, direction=direction, family=family, port=TAKEN).delays, ASKED)


@FAMILIES
def test_another_peer_is_not_touched(road: Road, family: int) -> None:
    with road.impair(delay=f"{ASKED}ms", to="app=right"):
        assert max(road.flow(100, family=family, to=road.other).delays) < ASKED
        on_time(road.flow(20, family=family).delays, ASKED)


def test_another_protocol_is_not_touched(road: Road) -> None:
    with road.impair(delay=f"{ASKED}ms", ports=f"tcp/{TAKEN}"):
        assert max(road.flow(100, port=TAKEN).delays) < ASKED


OPTIONS = [
    pytest.param(4, (socket.IPPROTO_IP, _IP_OPTIONS, _NOOP), id="ip-options"),
    pytest.param(
        6,
        (socket.IPPROTO_IPV6, _IPV6_DSTOPTS, _PADN),
        id="destination-options",
        marks=pytest.mark.needs("root"),  # CAP_NET_RAW beside the pod: ip6_setsockopt
    ),
    pytest.param(6, (socket.IPPROTO_IPV6, _IPV6_HOPOPTS, _PADN), id="hop-by-hop", marks=pytest.mark.needs("root")),
]


@pytest.mark.parametrize(("family", "option"), OPTIONS)
@WAYS
def test_ports_are_found_behind_options(
    road: Road, family: int, option: tuple[int, int, bytes], direction: str
) -> None:
    with road.impair(delay=f"{ASKED}ms", ports=f"udp/{TAKEN}", **road.towards(direction)):
        taken = road.flow(10, direction=direction, family=family, port=TAKEN, option=option)
        spared = road.flow(10, direction=direction, family=family, port=SPARED, option=option)
    assert (taken.lost, spared.lost) == (0, 0)
    on_time(taken.delays, ASKED)
    assert max(spared.delays) < ASKED


@FAMILIES
@WAYS
def test_fragments_go_with_their_datagram(road: Road, family: int, direction: str) -> None:
    """4,000 bytes are three fragments, of which the first alone carries ports."""
    with road.impair(delay=f"{ASKED}ms", ports=f"udp/{TAKEN}", **road.towards(direction)):
        taken = road.flow(10, direction=direction, family=family, port=TAKEN, size=4000)
        spared = road.flow(10, direction=direction, family=family, port=SPARED, size=4000)
    assert (taken.lost, spared.lost) == (0, 0)
    on_time(taken.delays, ASKED)
    assert max(spared.delays) < ASKED


def test_exact_ports_are_of_one_end(road: Road) -> None:
    with road.impair(delay=f"{ASKED}ms", src_ports=f"udp/{TAKEN}"):
        assert max(road.flow(20, port=TAKEN).delays) < ASKED
    with road.impair(delay=f"{ASKED}ms", dst_ports=f"udp/{TAKEN}"):
        on_time(road.flow(20, port=TAKEN).delays, ASKED)
