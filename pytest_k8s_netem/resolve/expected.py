"""What a pair of pods should see: the delay and loss that all profiles at both ends add to a round trip."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.match import ICMP, ICMPV6, IPV4, IPV6, Packet
from pytest_k8s_netem.model.plan import Class, Direction
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.layout import layout
from pytest_k8s_netem.resolve.outcome import Outcome, in_a_row, of_timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.match import Match
    from pytest_k8s_netem.model.peers import PeerSet
    from pytest_k8s_netem.resolve.world import World

EPHEMERAL = 50_000
"""A port that stands for the one a client's kernel picks."""
ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
"""ICMP types of echo request and reply (RFC 792, RFC 4443)."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One of the four places where a round trip may be impaired.

    :ivar pod: its key; "" = a remote that is no pod. :ivar stages: ids in order. :ivar class_id: "" = in no class.
    """

    pod: str
    direction: Direction
    class_id: str
    stages: tuple[str, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Expected:
    """What the profiles add to a round trip: request out, request in, reply out, reply in.

    :ivar legs: those four, in this order; a remote that is no pod has none.
    """

    legs: tuple[Leg, ...] = ()

    @property
    def round_trip(self) -> Outcome:
        """All legs in a row: added RTT (low, mean, high; ns) and loss of a request or its reply."""
        return in_a_row(leg.outcome for leg in self.legs)

    @property
    def there(self) -> Outcome:
        """What the request meets."""
        return in_a_row(leg.outcome for leg in self.legs[: len(self.legs) // 2])

    @property
    def back(self) -> Outcome:
        """What the reply meets."""
        return in_a_row(leg.outcome for leg in self.legs[len(self.legs) // 2 :])

    @property
    def rtt(self) -> tuple[int, int, int]:
        """Least, mean and greatest RTT that is added, ns."""
        whole = self.round_trip
        return (whole.low, whole.mean, whole.high)

    @property
    def loss(self) -> float:
        """Mean share of round trips that are lost."""
        return self.round_trip.loss


def expected(
    a: str, b: str, world: World | Index, *, protocol: int = ICMP, port: int = 0, client_port: int = EPHEMERAL
) -> Expected:
    """What pod ``a`` should see when it talks to ``port`` of pod ``b``; ICMP: when it pings.

    :returns: no legs at all if either has no address of a family that both have.
    """
    index = Index.of(world)
    if a not in index.live or b not in index.live:
        return Expected()
    pair = addresses(objects.pod_addresses(index.live[a]), objects.pod_addresses(index.live[b]))
    if not pair:
        return Expected()
    family, mine, remote = pair[0]
    return path(index, a, b, mine, request(family, remote, protocol, port, client_port))


def addresses(mine: PeerSet, others: PeerSet) -> list[tuple[int, int, int]]:
    """(family, own address, other's address) for each family that both have, IPv4 first."""
    return [
        (family, mine.family(family).pairs[0][0], others.family(family).pairs[0][0])
        for family in (4, 6)
        if mine.family(family) and others.family(family)
    ]


def request(family: int, remote: int, protocol: int, port: int, client_port: int = EPHEMERAL) -> Packet:
    """A packet of a conversation as its client sends it; ICMP (either family's number) is an echo request."""
    ether_type = IPV4 if family == 4 else IPV6
    if protocol in ECHO:
        protocol = ICMP if family == 4 else ICMPV6
        return Packet(ether_type, protocol, remote, icmp_type=ECHO[protocol][0])
    return Packet(ether_type, protocol, remote, port, client_port)


def reply(packet: Packet) -> Packet:
    """The answer, as the client receives it: remote and local are the same, the direction is the other."""
    echo = ECHO.get(packet.protocol or 0)
    kind = echo[1] if echo else None
    return Packet(packet.ether_type, packet.protocol, packet.remote, packet.remote_port, packet.local_port, kind)


def from_afar(packet: Packet, address: int) -> Packet:
    """A client's packet as the other end sees it; ``address`` is the client's."""
    return Packet(packet.ether_type, packet.protocol, address, packet.local_port, packet.remote_port, packet.icmp_type)


def path(index: Index, a: str, b: str, address: int, out: Packet) -> Expected:
    """The four legs of a round trip that ``a`` (at ``address``) begins with ``out``; ``b`` = "" is no pod."""
    back = reply(out)
    sent, heard = leg(index, a, Direction.EGRESS, out), leg(index, a, Direction.INGRESS, back)
    if not b:
        return Expected((sent, heard))
    asked = leg(index, b, Direction.INGRESS, from_afar(out, address))
    answered = leg(index, b, Direction.EGRESS, from_afar(back, address))
    return Expected((sent, asked, answered, heard))


def leg(index: Index, pod: str, direction: Direction, packet: Packet) -> Leg:
    """What one side of a pod does to a packet, on the interface that cluster traffic takes."""
    found = classify(index, pod, direction, packet)
    if found is None:
        return Leg(pod, direction, "", (), Outcome())
    return Leg(pod, direction, found.id, found.stages, _outcome(index, pod, found.stages))


@once
def _outcome(index: Index, pod: str, stages: tuple[str, ...]) -> Outcome:
    plan = layout(index, pod).plan
    return in_a_row(of_timeline(plan.stage(stage).timeline) for stage in stages)


@once
def main_interface(index: Index, pod: str) -> str:
    """The interface by which a pod reaches other pods: the default route's, or its only one; "" = unknown."""
    facts = index.world.targets.get(pod)
    outside = [one for one in (facts.interfaces if facts else ()) if one.name != "lo"]
    defaults = sorted(one.name for one in outside if one.default)
    return defaults[0] if defaults else outside[0].name if len(outside) == 1 else ""


def classify(index: Index, pod: str, direction: Direction, packet: Packet) -> Class | None:
    """The class that a packet of cluster traffic falls in on one side of a pod; None = none."""
    classes = layout(index, pod).side(main_interface(index, pod), direction)
    key = (id(classes), packet.ether_type, packet.remote)
    if key not in index.results:
        index.results[key] = tuple(one for one in classes if any(_reaches(match, packet) for match in one.matches))
    return first_class(index.results[key], packet)


def _reaches(match: Match, packet: Packet) -> bool:
    """Whether the match looks at the packet's remote at all: what pods ask most, so it is remembered."""
    family = 4 if packet.ether_type == IPV4 else 6
    return match.remote is None or (packet.remote is not None and packet.remote in match.remote.family(family))


def first_class(classes: tuple[Class, ...], packet: Packet) -> Class | None:
    """The first class that takes the packet, naively; None = it never leaves its path."""
    return next((one for one in classes if any(match.takes(packet) for match in one.matches)), None)
