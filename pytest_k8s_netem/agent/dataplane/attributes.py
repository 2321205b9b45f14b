"""Netlink attributes (struct nlattr, linux/netlink.h): length, type, payload, padded to four bytes."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded.

    :raises struct.error: if the payload has 65,532 bytes or more.
    """
    length = 4 + len(payload)
    return _HEADER.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind, b"".join(parts))


def u32(kind: int, value: int) -> bytes:
    """A 32-bit number in the machine's byte order."""
    return attribute(kind, value.to_bytes(4, _ORDER))


def text(kind: int, value: str) -> bytes:
    """A string with its final NUL."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each attribute in order; stops at the first that is cut off."""
    at, end = 0, len(data)
    while at + 4 <= end:
        length, kind = _HEADER.unpack_from(data, at)
        if length < 4 or at + length > end:
            return
        yield kind & _TYPE_MASK, data[at + 4 : at + length]
        at += length + 3 & ~3


def by_type(data: bytes) -> dict[int, bytes]:
    """The attributes by type; of a type that occurs twice, the last."""
    return dict(attributes(data))


def number(data: bytes, default: int = 0) -> int:
    """A payload as an unsigned number in the machine's byte order; of no payload, the default."""
    return int.from_bytes(data, _ORDER) if data else default


def string(data: bytes) -> str:
    """A payload as text, up to its NUL."""
    return data.split(b"\0", 1)[0].decode(errors="replace")


_ORDER: _Order = "little" if struct.pack("=H", 1) == b"\1\0" else "big"
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    _Order: TypeAlias = Literal["little", "big"]
