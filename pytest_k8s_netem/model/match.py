"""Which packets: a conjunction of fields, closed under intersection."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.ranges import Ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _S = TypeVar("_S", Ranges, PeerSet)

IPV4 = 0x0800
ARP = 0x0806
IPV6 = 0x86DD
IP = Ranges.of(IPV4, IPV6)
ICMP, TCP, UDP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 58, 132, 136
WITH_PORTS = Ranges.of(TCP, UDP, SCTP, UDPLITE)
NEIGHBOUR_DISCOVERY = Ranges.of((133, 137))
"""ICMPv6 types of RFC 4861; a match that reaches IPv6 by address, port or protocol never takes them."""


@dataclass(frozen=True, slots=True)
class Packet:
    """What classification sees of a packet; remote and local are as seen from the target's interface.

    A field is None where the packet has none: no addresses outside IP, no ports in a later fragment or in ICMP.
    """

    ether_type: int
    protocol: int | None = None
    remote: int | None = None
    remote_port: int | None = None
    local_port: int | None = None
    icmp_type: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A set of packets: all fields must take the packet; None takes any, also a packet without that field.

    With ``ether_types`` None every frame is taken, ARP and neighbour discovery too: that is a wire.
    Otherwise neighbour discovery is never taken, and ARP only where its ether type is named.
    """

    ether_types: Ranges | None = IP
    protocols: Ranges | None = None
    remote: PeerSet | None = None
    remote_ports: Ranges | None = None
    local_ports: Ranges | None = None

    @property
    def empty(self) -> bool:
        """Whether no packet can be in it."""
        return any(part is not None and not part for part in self._parts()) or bool(
            self.remote is not None
            and self.ether_types is not None
            and not any(self.reaches(family) for family in (4, 6))
        )

    def reaches(self, family: int) -> bool:
        """Whether packets of IP family 4 or 6 can be in it."""
        ether_type = IPV4 if family == 4 else IPV6
        return (self.ether_types is None or ether_type in self.ether_types) and (
            self.remote is None or bool(self.remote.family(family))
        )

    def __and__(self, other: Match) -> Match:
        """The packets in both; may be :attr:`empty`."""
        return Match(
            _both(self.ether_types, other.ether_types),
            _both(self.protocols, other.protocols),
            _both(self.remote, other.remote),
            _both(self.remote_ports, other.remote_ports),
            _both(self.local_ports, other.local_ports),
        )

    def takes(self, packet: Packet) -> bool:
        """Naive evaluation, the yardstick of every compiled filter."""
        if self.ether_types is not None:
            if packet.ether_type not in self.ether_types:
                return False
            if packet.ether_type == IPV6 and packet.protocol == ICMPV6 and packet.icmp_type in range(133, 138):
                return False
        family = {IPV4: 4, IPV6: 6}.get(packet.ether_type)
        if self.remote is not None and (
            family is None or packet.remote is None or packet.remote not in self.remote.family(family)
        ):
            return False
        return all(
            wanted is None or (value is not None and value in wanted)
            for wanted, value in (
                (self.protocols, packet.protocol),
                (self.remote_ports, packet.remote_port),
                (self.local_ports, packet.local_port),
            )
        )

    def _parts(self) -> tuple[Ranges | PeerSet | None, ...]:
        return (self.ether_types, self.protocols, self.remote, self.remote_ports, self.local_ports)


EVERYTHING = Match(ether_types=None)


def _both(a: _S | None, b: _S | None) -> _S | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b
