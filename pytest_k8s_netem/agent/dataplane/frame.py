"""What the user-space engine looks at, and changes, in a frame, which begins with a struct virtio_net_hdr."""

from __future__ import annotations

import struct

from pytest_k8s_netem.agent.dataplane.names import COOKIE
from pytest_k8s_netem.agent.dataplane.sockets import VNET
from pytest_k8s_netem.model.match import ICMP, ICMPV6, IPV4, IPV6, TCP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NETWORK = VNET + 14
"""Where the network header stands, behind an Ethernet header."""
PROBE_WINDOW = 0x4E45
"""TCP window of a probe's acknowledgement."""
PROBE_PORTS = 61001
"""Lowest of the ports that probes choose from."""
_ETHER_TYPE = VNET + 12
_V6_HEADER = 40
_RST, _ACK = 0x04, 0x10
_VIRTIO = struct.Struct("=BBHH")
"""flags, gso_type, hdr_len, gso_size."""
_ECN_MASK = 3


def size(frame: memoryview | bytes) -> int:
    """Bytes on the wire: a superpacket counts the headers of all packets that it stands for."""
    length = len(frame) - VNET
    if not frame[1]:
        return length
    _flags, _kind, headers, segment = _VIRTIO.unpack_from(frame)
    segments = -(-(length - headers) // segment) if segment else 1
    return int(length + max(segments - 1, 0) * headers)


def is_probe(frame: memoryview | bytes) -> bool:
    """Whether the agent itself, or its peer's kernel in answer to it, sent this packet.

    Echoes whose payload begins with our cookie; TCP segments without options that only acknowledge, with the window
    :data:`PROBE_WINDOW`; and what answers those: resets that acknowledge nothing, from or to a port of
    :data:`PROBE_PORTS` and above.
    """
    try:
        ether_type = frame[_ETHER_TYPE] << 8 | frame[_ETHER_TYPE + 1]
        if ether_type == IPV4:
            protocol, at = frame[NETWORK + 9], NETWORK + (frame[NETWORK] & 15) * 4
        elif ether_type == IPV6:
            protocol, at = frame[NETWORK + 6], NETWORK + _V6_HEADER
        else:
            return False
        if protocol == TCP:
            flags = frame[at + 13]
            if flags == _ACK:
                return frame[at + 14] << 8 | frame[at + 15] == PROBE_WINDOW and frame[at + 12] >> 4 == 5
            return flags == _RST and max(frame[at], frame[at + 2]) >= PROBE_PORTS >> 8
        return protocol in (ICMP, ICMPV6) and frame[at + 8 : at + 24] == COOKIE
    except IndexError:
        return False


def ecn_capable(frame: Sequence[int]) -> bool:
    """Whether an IP packet's sender takes marks in place of drops (RFC 3168, 5: ECT(0), ECT(1) or marked already)."""
    if len(frame) < NETWORK + 20:
        return False
    ether_type = frame[_ETHER_TYPE] << 8 | frame[_ETHER_TYPE + 1]
    if ether_type == IPV4:
        return bool(frame[NETWORK + 1] & _ECN_MASK)
    return ether_type == IPV6 and bool(frame[NETWORK + 1] >> 4 & _ECN_MASK)


def mark_congestion(frame: bytearray) -> None:
    """Set Congestion Experienced; IPv4's header checksum follows (RFC 1624, equation 3)."""
    if frame[_ETHER_TYPE] << 8 | frame[_ETHER_TYPE + 1] == IPV6:
        frame[NETWORK + 1] |= _ECN_MASK << 4
        return
    before = struct.unpack_from("!H", frame, NETWORK)[0]
    frame[NETWORK + 1] |= _ECN_MASK
    after = struct.unpack_from("!H", frame, NETWORK)[0]
    total = (~struct.unpack_from("!H", frame, NETWORK + 10)[0] & 0xFFFF) + (~before & 0xFFFF) + after
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", frame, NETWORK + 10, ~total & 0xFFFF)
