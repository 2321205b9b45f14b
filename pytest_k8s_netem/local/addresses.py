"""Which addresses the nodes and pods of an embedded cluster have; pure arithmetic.

Pods of node *n*: 10.244.0.0/16 cut into /22, and fd00:10:244:n::/64. Nodes: 172.20.0.n and fd00:172:20::n.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from pytest_k8s_netem.errors import ClusterError

_PODS4 = IPv4Network("10.244.0.0/16")
_NODES4 = IPv4Network("172.20.0.0/24")
_NODES6 = IPv6Network("fd00:172:20::/64")
_PREFIX4, _PREFIX6 = 22, 64
MOST_NODES = 1 << (_PREFIX4 - _PODS4.prefixlen)
MOST_PODS = 1000
"""Per node; a bridge has 1,024 ports (BR_MAX_PORTS, net/bridge/br_private.h)."""


@dataclass(slots=True)
class NodeAddresses:
    """One node's share of the address plan; ``index`` counts from 0."""

    index: int
    _freed: deque[int] = field(default_factory=deque)
    _next: int = 2

    @property
    def own(self) -> tuple[str, str]:
        """The node's own addresses, v4 and v6."""
        return str(_NODES4[self.index + 1]), str(_NODES6[self.index + 1])

    @property
    def networks(self) -> tuple[IPv4Network, IPv6Network]:
        """Networks of its pods."""
        first = int(_PODS4.network_address) + (self.index << (32 - _PREFIX4))
        return IPv4Network((first, _PREFIX4)), IPv6Network(f"fd00:10:244:{self.index:x}::/{_PREFIX6}")

    @property
    def gateways(self) -> tuple[str, str]:
        """First address of each network, which the node answers to."""
        four, six = self.networks
        return str(four[1]), str(six[1])

    def prefixed(self, pair: tuple[str, str]) -> tuple[str, str]:
        """Addresses as ``address/prefix``."""
        return f"{pair[0]}/{_PREFIX4}", f"{pair[1]}/{_PREFIX6}"

    def take(self) -> tuple[str, str]:
        """Addresses for one more pod; those given back longest ago come round last.

        :raises ClusterError: if the node is full.
        """
        if self._next < MOST_PODS + 2:
            number = self._next
            self._next += 1
        elif self._freed:
            number = self._freed.popleft()
        else:
            raise ClusterError(f"node {self.index} is full: it has {MOST_PODS} pods")
        four, six = self.networks
        return str(four[number]), str(six[number])

    def give_back(self, pair: tuple[str, str]) -> None:
        """A pod is gone."""
        four, _ = self.networks
        self._freed.append(int(IPv4Network(pair[0]).network_address) - int(four.network_address))
