"""What the user-space engine reads from frames: probes, ECN, sizes; every function is total over short frames."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.agent.dataplane.frame import NETWORK, ecn_capable, is_probe, mark_congestion, size
from pytest_k8s_netem.agent.probe.packets import acknowledgement, checksum, echo

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def frame(family: int, protocol: int, payload: bytes, tos: int = 0) -> bytes:
    """An Ethernet frame behind an empty struct virtio_net_hdr."""
    ether = bytes(12) + (b"\x08\x00" if family == 4 else b"\x86\xdd")
    if family == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, tos, 20 + len(payload), 1, 0, 64, protocol, 0, bytes(4), bytes(4))
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    else:
        source = ipaddress.ip_address("fd00::1").packed
        header = struct.pack("!IHBB16s16s", 6 << 28 | tos << 20, len(payload), protocol, 64, source, source)
    return bytes(10) + ether + header + payload


def segment(ports: tuple[int, int], flags: int, window: int, offset: int = 5) -> bytes:
    return struct.pack("!HHIIBBHHH", *ports, 1, 2, offset << 4, flags, window, 0, 0)


@FAMILIES
def test_echoes_of_ours_are_probes(family):
    protocol = 1 if family == 4 else 58
    ours = echo(family, 1, 2, 40)
    assert is_probe(frame(family, protocol, ours))
    assert is_probe(memoryview(frame(family, protocol, ours)))
    assert not is_probe(frame(family, protocol, ours[:8] + b"abcdefghijklmnopqrst"))
    assert not is_probe(frame(family, 17, ours))


@FAMILIES
@pytest.mark.parametrize("length", [16, 1000])
def test_acknowledgements_of_ours_are_probes(family, length):
    addresses = (bytes(4), bytes(4)) if family == 4 else None
    assert is_probe(frame(family, 6, acknowledgement(family, (61005, 80), 7, length, addresses)))


@FAMILIES
def test_segments_of_others_are_not(family):
    for ports, flags, window, offset in (
        ((61005, 80), 0x10, 0x4E44, 5),
        ((61005, 80), 0x10, 0x4E45, 8),
        ((61005, 80), 0x18, 0x4E45, 5),
        ((80, 50000), 0x04, 0, 5),
        ((80, 61005), 0x14, 0, 5),
    ):
        assert not is_probe(frame(family, 6, segment(ports, flags, window, offset)))


@FAMILIES
@pytest.mark.parametrize("ports", [(80, 61005), (61005, 80)])
def test_resets_that_answer_are_probes(family, ports):
    assert is_probe(frame(family, 6, segment(ports, 0x04, 0)))


@given(st.binary(max_size=120))
def test_any_bytes_have_an_answer(data):
    assert is_probe(data) in (True, False)
    assert ecn_capable(data) in (True, False)


@FAMILIES
@pytest.mark.parametrize("tos", [0, 1, 2, 3, 0xFC, 0xFD])
def test_ecn(family, tos):
    before = frame(family, 17, b"payload", tos)
    assert ecn_capable(before) is bool(tos & 3)
    if tos & 3:
        after = bytearray(before)
        mark_congestion(after)
        assert after == frame(family, 17, b"payload", tos | 3)


def test_size_counts_the_headers_of_a_superpacket():
    plain = frame(4, 6, bytes(20 + 100))
    assert size(plain) == 14 + 40 + 100
    # virtio_net_hdr: needs checksum, TCPv4, headers of 54 bytes, segments of 1000.
    whole = struct.pack("=BBHHHH", 1, 1, 54, 1000, 34, 16) + frame(4, 6, bytes(20 + 2500))[10:]
    assert size(whole) == 54 + 2500 + 2 * 54
    assert len(plain) - NETWORK == 140
