"""Flower filters (linux/pkt_cls.h, TCA_FLOWER_*): one IPv4 network each, found by one look into a table of a kind.

Only sets of IPv4 addresses become such filters: flower cannot say which packets it does not take, as neighbour
discovery, and reads no ports of a first fragment.
"""

from __future__ import annotations

import struct

from pytest_k8s_netem.agent.dataplane import mirred
from pytest_k8s_netem.agent.dataplane.attributes import attribute, by_type, number, u32
from pytest_k8s_netem.model.frozen import frozen
from pytest_k8s_netem.model.match import IPV4
from pytest_k8s_netem.model.plan import Direction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from pytest_k8s_netem.model.ranges import Ranges

    Network: TypeAlias = "tuple[int, int]"
    """Address and mask."""

CLASSID, ACT, ETH_TYPE = 1, 3, 8
KEYS = {Direction.EGRESS: (12, 13), Direction.INGRESS: (10, 11)}
"""Address and mask of the remote: the destination of what is sent, the source of what is received."""
_FULL = 0xFFFFFFFF


@frozen
class Networks:
    """IPv4 networks, each as address and mask, to be told by flower filters."""

    pairs: tuple[Network, ...]
    ether_type: int = IPV4

    @classmethod
    def of(cls, addresses: Ranges) -> Networks:
        """The fewest networks that are together exactly these addresses."""
        return cls(tuple(_networks(addresses)))


def options(pairs: Sequence[Network], direction: Direction, class_id: int, target: int, action: int) -> Iterator[bytes]:
    """TCA_OPTIONS of the filter of each network; all redirect to ``target`` by one ``action``."""
    fixed = u32(CLASSID, class_id) + attribute(ETH_TYPE, struct.pack("!H", IPV4))
    redirect = mirred.redirect(ACT, target, action=action)
    key, mask = KEYS[direction]
    for address, bits in pairs:
        yield fixed + attribute(key, address.to_bytes(4)) + attribute(mask, bits.to_bytes(4)) + redirect


def network(raw: bytes, direction: Direction) -> Network:
    """The network that a filter takes; the kernel lists no key whose mask is 0."""
    found = by_type(raw)
    address, mask = (int.from_bytes(found.get(key, b"")) for key in KEYS[direction])
    return address, mask


def class_id(raw: bytes) -> int:
    """The class id that a filter gives."""
    return number(by_type(raw).get(CLASSID, b""))


def action(raw: bytes) -> int:
    """The index of a filter's action; 0 if it has none."""
    return mirred.of_filter(by_type(raw).get(ACT, b"")).action


def _networks(addresses: Ranges) -> Iterator[Network]:
    for first, last in addresses:
        at = first
        while at <= last:
            size = at & -at or _FULL + 1  # the largest network that begins here
            while at + size - 1 > last:
                size >>= 1
            yield at, _FULL - size + 1
            at += size
