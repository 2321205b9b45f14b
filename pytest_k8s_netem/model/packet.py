"""Reads a frame as classification sees it: the naive parser that every compiled filter is held against."""

from __future__ import annotations

from pytest_k8s_netem.model.match import ICMP, ICMPV6, IPV4, IPV6, WITH_PORTS, Packet
from pytest_k8s_netem.model.plan import Direction

ETHERNET = 14
"""Bytes of an Ethernet header."""
AUTHENTICATION, FRAGMENT = 51, 44
EXTENSION_HEADERS = (0, 43, 60, 135, 139, 140)
"""IPv6 extension headers that give their length in units of eight bytes after the first eight (RFC 6564)."""
MAX_EXTENSION_HEADERS = 6
"""Most extension headers looked through (RFC 8200 recommends no chain with more); one more is the protocol."""


def parse(frame: bytes, direction: Direction) -> Packet:
    """The frame's fields; those that are cut off, or that a later fragment has not, are None."""
    if len(frame) < ETHERNET:
        return Packet(0)
    ether_type, body = int.from_bytes(frame[12:14], "big"), frame[ETHERNET:]
    if ether_type == IPV4 and len(body) >= 20:
        addresses = body[12:16], body[16:20]
        protocol: int | None = body[9]
        later = bool(int.from_bytes(body[6:8], "big") & 0x1FFF)
        payload = b"" if later else body[(body[0] & 15) * 4 :]
    elif ether_type == IPV6 and len(body) >= 40:
        addresses = body[8:24], body[24:40]
        protocol, payload = _through_extensions(body)
    else:
        return Packet(ether_type)
    egress = direction is Direction.EGRESS
    source_port, destination_port = _ports(protocol, payload)
    return Packet(
        ether_type,
        protocol,
        remote=int.from_bytes(addresses[egress], "big"),
        remote_port=destination_port if egress else source_port,
        local_port=source_port if egress else destination_port,
        icmp_type=payload[0] if protocol in (ICMP, ICMPV6) and payload else None,
    )


def _through_extensions(body: bytes) -> tuple[int | None, bytes]:
    """Protocol and payload of an IPv6 packet; no protocol if a header is cut off, no payload in a later fragment."""
    protocol, at = body[6], 40
    for _ in range(MAX_EXTENSION_HEADERS):
        if protocol not in (*EXTENSION_HEADERS, AUTHENTICATION, FRAGMENT):
            break
        if at + 8 > len(body):
            return None, b""
        this, protocol, length = protocol, body[at], body[at + 1]
        if this == FRAGMENT:
            if int.from_bytes(body[at + 2 : at + 4], "big") & 0xFFF8:
                return protocol, b""
            at += 8
        else:
            at += (length + 2) * 4 if this == AUTHENTICATION else (length + 1) * 8
    return protocol, body[at:]


def _ports(protocol: int | None, payload: bytes) -> tuple[int | None, int | None]:
    if protocol is None or protocol not in WITH_PORTS or len(payload) < 4:
        return None, None
    return int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
