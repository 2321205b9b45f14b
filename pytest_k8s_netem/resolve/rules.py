"""From rules to matches: which packets a side of a profile takes."""

from __future__ import annotations

from pytest_k8s_netem.model.match import IP, Match
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.peers import remotes
from pytest_k8s_netem.resolve.select import profiles_by_name
from pytest_k8s_netem.resolve.services import union

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.peers import PeerSet
    from pytest_k8s_netem.profile.trafficprofile import Port, Rule, Selection, Side, TrafficProfile
    from pytest_k8s_netem.resolve.services import Front

    Own = tuple[tuple[str, int, Ranges], ...]
    """What a pod calls its own ports: (name, protocol, numbers)."""

EITHER, REMOTE, LOCAL = "either", "remote", "local"


def side_of(profile: TrafficProfile, direction: Direction) -> Side | None:
    """What the profile does in that direction; None = nothing."""
    return profile.egress if direction is Direction.EGRESS else profile.ingress


def impairments(profile: TrafficProfile) -> list[Impairment]:
    """Every impairment of both sides, at whatever time."""
    sides = [side for direction in Direction if (side := side_of(profile, direction)) is not None]
    return [impairment for side in sides for impairment in side.timeline.impairments]


def peers_of(profile: TrafficProfile, direction: Direction) -> tuple[Selection, ...]:
    """The peers of all rules of a side."""
    side = side_of(profile, direction)
    return tuple(peer for rule in (side.rules if side else ()) for peer in rule.peers or ())


@once
def taken(index: Index, profile_name: str, direction: Direction, own: Own = ()) -> tuple[Match, ...]:
    """What one side of a profile takes, on any pod that calls its own ports ``own`` (see :func:`own_ports`)."""
    side = side_of(profiles_by_name(index)[profile_name], direction)
    rules = side.rules if side else ()
    return merged(match for rule in rules for match in _rule(index, rule, own))


@once
def own_ports(index: Index, profile_name: str, direction: Direction, pod_key: str) -> Own:
    """The numbers that the pod gives to port names which the side uses for this end; mostly ()."""
    return tuple(
        (name, protocol, Ranges.of(*objects.named_ports(index.live[pod_key], name, protocol)))
        for name, protocol in _local_names(index, profile_name, direction)
    )


@once
def _local_names(index: Index, profile_name: str, direction: Direction) -> tuple[tuple[str, int], ...]:
    side = side_of(profiles_by_name(index)[profile_name], direction)
    ports = (port for rule in (side.rules if side else ()) for port in rule.ports or ())
    return tuple(dict.fromkeys((port.name, port.protocol) for port in ports if port.name and port.side != REMOTE))


def _rule(index: Index, rule: Rule, own: Own) -> Iterator[Match]:
    frame = Match(ether_types=IP if rule.ether_types is None else rule.ether_types, protocols=rule.protocols)
    for peer in (None,) if rule.peers is None else rule.peers:
        for match in _conversations(index, peer, rule.ports, own):
            both = frame & match
            if not both.empty:
                yield both


def _conversations(index: Index, peer: Selection | None, ports: tuple[Port, ...] | None, own: Own) -> Iterator[Match]:
    if ports is None:
        yield from _whole(index, peer)
        return
    for port in ports:
        if port.ports is None and not port.name:
            yield from (match & Match(None, Ranges.of(port.protocol)) for match in _whole(index, peer))
            continue
        if port.side in (EITHER, REMOTE):
            yield from _to_remote(index, peer, port)
        if port.side in (EITHER, LOCAL):
            yield from _to_local(index, peer, port, own)


def _whole(index: Index, peer: Selection | None) -> Iterator[Match]:
    """Every port; of a Service that was named itself, its own ports."""
    if peer is None:
        yield Match(None)
        return
    found = remotes(index, peer)
    yield Match(None, remote=found.addresses | found.vips)
    for front in found.services:
        yield from _front(front)


def _front(front: Front) -> Iterator[Match]:
    """(VIP, port) and (endpoint, target port): not their product."""
    protocol = Ranges.of(front.protocol)
    yield Match(None, protocol, front.vips, Ranges.of(front.port))
    yield Match(None, protocol, front.endpoints, front.targets)


def _to_remote(index: Index, peer: Selection | None, port: Port) -> Iterator[Match]:
    """The conversation's named port is the remote's."""
    protocol = Ranges.of(port.protocol)
    if port.ports is not None:
        yield Match(None, protocol, None if peer is None else remotes(index, peer).addresses, port.ports)
    if port.name:
        for number, pods in _calling(index, peer, port.name, port.protocol).items():
            yield Match(None, protocol, pods, Ranges.of(number))
    if peer is None:
        return
    for front in remotes(index, peer).fronts:
        if front.protocol == port.protocol and _targets(front, port):
            yield Match(None, protocol, front.vips, Ranges.of(front.port))
    for front in remotes(index, peer).services:
        if front.protocol == port.protocol and (_targets(front, port) or _offers(front, port)):
            yield from _front(front)


def _targets(front: Front, port: Port) -> bool:
    """Whether the Service's port leads to the asked port of its pods."""
    return bool(port.ports and port.ports & front.targets) or bool(port.name and port.name == front.target_name)


def _offers(front: Front, port: Port) -> bool:
    """Whether the asked port is the Service's own."""
    return bool(port.ports and front.port in port.ports) or bool(port.name and port.name == front.name)


def _to_local(index: Index, peer: Selection | None, port: Port, own: Own) -> Iterator[Match]:
    """The conversation's named port is this pod's; a virtual address never begins one."""
    called = (numbers for name, protocol, numbers in own if (name, protocol) == (port.name, port.protocol))
    numbers = next(called, Ranges()) if port.name else port.ports
    remote = None
    if peer is not None:
        found = remotes(index, peer)
        remote = union([found.addresses, *(front.endpoints for front in found.services)])
    yield Match(None, Ranges.of(port.protocol), remote, None, numbers)


def _calling(index: Index, peer: Selection | None, name: str, protocol: int) -> dict[int, PeerSet]:
    """Addresses of the peer's pods by the number that they give to a port name."""
    pods = index.live if peer is None else remotes(index, peer).pods
    found: dict[int, list[PeerSet]] = {}
    for key in pods:
        for number in objects.named_ports(index.live[key], name, protocol):
            found.setdefault(number, []).append(objects.pod_addresses(index.live[key]))
    return {number: union(sets) for number, sets in sorted(found.items())}


def merged(matches: Iterable[Match]) -> tuple[Match, ...]:
    """The same packets by fewer matches: those that differ in the remote only become one; empty ones go."""
    groups: dict[tuple[Ranges | None, ...], list[PeerSet | None]] = {}
    for match in matches:
        key = (match.ether_types, match.protocols, match.remote_ports, match.local_ports)
        groups.setdefault(key, []).append(match.remote)
    found = []
    for (ether_types, protocols, remote_ports, local_ports), sets in groups.items():
        known = [one for one in sets if one is not None]
        remote = None if len(known) < len(sets) else union(known)
        found.append(Match(ether_types, protocols, remote, remote_ports, local_ports))
    return tuple(match for match in found if not match.empty)
