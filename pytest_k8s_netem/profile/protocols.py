"""Names and numbers of IP protocols and ether types (IANA registries), as profiles write them."""

from __future__ import annotations

import re

from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.profile.findings import nearest, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipv4": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
    "icmpv6": 58, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
}  # fmt: skip
"""IANA's protocol numbers."""
_PROTOCOL_ALIASES = {"ipv6-icmp": "icmpv6", "ipencap": "ipv4", "ospfigp": "ospf"}
PROTOCOL_NAMES = (*PROTOCOLS, *_PROTOCOL_ALIASES)
"""Every name that :func:`parse_protocol` knows."""
WITH_PORTS = ("tcp", "udp", "sctp", "udplite", "dccp")
ETHER_TYPES = {"ip": 0x0800, "arp": 0x0806, "ip6": 0x86DD, "vlan": 0x8100, "8021ad": 0x88A8, "8021q": 0x8100}
"""IANA's ether types, under the names that nft has for them."""


def parse_protocol(value: object, path: str = "") -> int:
    """A name of :data:`PROTOCOLS` in any case, or a number 0..255 (``"0x1"`` too).

    :raises ConfigError: for anything else.
    """
    return _number(value, path, PROTOCOLS | {k: PROTOCOLS[v] for k, v in _PROTOCOL_ALIASES.items()}, 0xFF, "protocol")


def parse_ether_type(value: object, path: str = "") -> int:
    """A name of :data:`ETHER_TYPES`, or a number 1536..65535 (smaller ones are lengths, IEEE 802.3).

    :raises ConfigError: for anything else.
    """
    number = _number(value, path, ETHER_TYPES, 0xFFFF, "ether type")
    if number < 1536:
        raise refusal(path, value, "below 0x0600 it is a length, not an ether type")
    return number


def protocol_name(number: int) -> str:
    """``tcp`` for 6; the number where it has no name."""
    return _names(PROTOCOLS).get(number, str(number))


def render_protocols(numbers: Ranges) -> list[int | str]:
    """A list that reads back as these protocols."""
    return _render(numbers, _names(PROTOCOLS))


def render_ether_types(numbers: Ranges) -> list[int | str]:
    """A list that reads back as these ether types."""
    return _render(numbers, _names(ETHER_TYPES))


def _names(table: Mapping[str, int]) -> dict[int, str]:
    return {table[name]: name for name in reversed(list(table))}


def _render(numbers: Ranges, names: Mapping[int, str]) -> list[int | str]:
    return [names.get(number, number) for first, last in numbers for number in range(first, last + 1)]


def _number(value: object, path: str, names: Mapping[str, int], highest: int, what: str) -> int:
    number = names.get(value.lower()) if isinstance(value, str) else value
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,4}|[0-9]{1,5}", value):
        number = int(value, 16 if value.startswith("0x") else 10)
    if type(number) is not int:
        fix = nearest(value, names) if isinstance(value, str) else "write its name or number"
        raise refusal(path, value, f"unknown {what}", fix)
    if not 0 <= number <= highest:
        raise refusal(path, value, f"no {what}: out of range 0 to {highest}")
    return number
