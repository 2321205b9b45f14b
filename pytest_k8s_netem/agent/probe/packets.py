"""ICMP echoes (RFC 792, RFC 4443) and bare TCP acknowledgements (RFC 9293, 3.10.7: answered by a reset)."""

from __future__ import annotations

import struct

MARKER = b"pytest-k8s-netem"
"""How every echo's payload begins."""
WINDOW = 0x4E45
"""The TCP window by which a capture knows our acknowledgements."""
ECHO, ECHO_REPLY, ECHO_V6, ECHO_REPLY_V6 = 8, 0, 128, 129
_ACK, _RST = 0x10, 0x04
_ICMP = struct.Struct("!BBHHH")
_TCP = struct.Struct("!HHIIBBHHH")


def checksum(data: bytes) -> int:
    """The internet checksum, RFC 1071."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def payload(size: int) -> bytes:
    """``size`` bytes that begin with the marker, which is never cut."""
    return MARKER.ljust(size, b"\0")


def echo(family: int, identifier: int, sequence: int, size: int) -> bytes:
    """An echo request; the kernel completes ICMPv6's checksum, which covers addresses."""
    kind = ECHO if family == 4 else ECHO_V6
    body = payload(size)
    sum_ = checksum(_ICMP.pack(kind, 0, 0, identifier, sequence) + body) if family == 4 else 0
    return _ICMP.pack(kind, 0, sum_, identifier, sequence) + body


def echo_reply(family: int, identifier: int, data: bytes) -> int | None:
    """The sequence number of the answer to :func:`echo`; None for any other packet. IPv4 comes with its IP header."""
    at = _header_length(family, data)
    if len(data) < at + _ICMP.size + len(MARKER):
        return None
    kind, code, _sum, seen, sequence = _ICMP.unpack_from(data, at)
    wanted = ECHO_REPLY if family == 4 else ECHO_REPLY_V6
    ours = (kind, code, seen) == (wanted, 0, identifier) and data.startswith(MARKER, at + _ICMP.size)
    return int(sequence) if ours else None


def acknowledgement(
    family: int, ports: tuple[int, int], number: int, size: int, addresses: tuple[bytes, bytes] | None = None
) -> bytes:
    """A segment that acknowledges ``number`` of a connection that never was.

    :param ports: local, remote. :param size: above the marker's sixteen bytes: payload, so that it fills a link;
        else it is bare. :param addresses: local, remote; for IPv4's checksum (the kernel computes IPv6's).
    """
    body = payload(size) if size > len(MARKER) else b""
    header = _TCP.pack(*ports, 1, number, 5 << 4, _ACK, WINDOW, 0, 0)
    if family == 4 and addresses is not None:
        pseudo = addresses[0] + addresses[1] + struct.pack("!BBH", 0, 6, len(header) + len(body))
        header = header[:16] + struct.pack("!H", checksum(pseudo + header + body)) + header[18:]
    return header + body


def reset(family: int, ports: tuple[int, int], data: bytes) -> int | None:
    """The number that a reset answers (its sequence number); None for any other packet."""
    at = _header_length(family, data)
    if len(data) < at + _TCP.size:
        return None
    remote, local, number, _ack, _offset, flags, *_rest = _TCP.unpack_from(data, at)
    return int(number) if (local, remote) == ports and flags & _RST else None


def reset_filter(family: int, local_port: int) -> bytes:
    """A classic BPF program (linux/filter.h) that lets resets to a port pass, so that other traffic costs nothing.

    IPv4 packets come with their IP header, IPv6 packets without, see raw(7).
    """
    load_header_length = (0xB1, 0, 0, 0) if family == 4 else (0x01, 0, 0, 0)  # ldx msh [0] | ldx #0
    program = [
        load_header_length,
        (0x48, 0, 0, 2),  # ldh [x + 2]: destination port
        (0x15, 0, 3, local_port),  # jeq
        (0x50, 0, 0, 13),  # ldb [x + 13]: flags
        (0x45, 0, 1, _RST),  # jset
        (0x06, 0, 0, 0xFFFF),  # accept
        (0x06, 0, 0, 0),  # drop
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _header_length(family: int, data: bytes) -> int:
    """Bytes of the IP header that a raw socket delivers."""
    return (data[0] & 15) * 4 if family == 4 and data else 0
