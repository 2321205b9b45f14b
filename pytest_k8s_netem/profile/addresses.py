"""Addresses and blocks as text, and as the model's (family, address, prefix length)."""

from __future__ import annotations

import ipaddress

from pytest_k8s_netem.profile.findings import refusal

Network = tuple[int, int, int]


def read_network(text: str) -> Network | None:
    """An address or CIDR of IPv4 or IPv6, host bits cleared; None if the text is neither."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.scope_id:
        return None
    return (network.version, int(network.network_address), network.prefixlen)


def parse_network(value: object, path: str = "") -> Network:
    """As :func:`read_network`.

    :raises ConfigError: if it is neither address nor CIDR.
    """
    network = read_network(value) if isinstance(value, str) else None
    if network is None:
        raise refusal(path, value, "not an address block", 'write a CIDR: "10.0.0.0/8" or "2001:db8::/32"')
    return network


def render_network(network: Network, *, always_length: bool = True) -> str:
    """As CIDR; without ``always_length`` a single address stands alone."""
    family, address, length = network
    host = str(ipaddress.IPv4Address(address) if family == 4 else ipaddress.IPv6Address(address))
    single = length == (32 if family == 4 else 128)
    return host if single and not always_length else f"{host}/{length}"


def within(inner: Network, outer: Network) -> bool:
    """Whether all of ``inner`` lies in ``outer``."""
    bits = (32 if outer[0] == 4 else 128) - outer[2]
    return inner[0] == outer[0] and inner[2] >= outer[2] and inner[1] >> bits == outer[1] >> bits
