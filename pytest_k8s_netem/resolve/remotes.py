"""Whom a probe may be sent to: a few live pods that a side of a profile reaches, and nodes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from pytest_k8s_netem.profile.trafficprofile import RefKind
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.regions import node_of
from pytest_k8s_netem.resolve.rules import own_ports, peers_of, taken
from pytest_k8s_netem.resolve.select import profiles_by_name, selected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.model.match import Match
    from pytest_k8s_netem.model.peers import PeerSet
    from pytest_k8s_netem.model.plan import Direction
    from pytest_k8s_netem.resolve.rules import Own

FEW = 4
"""Pods looked at of each kind, impaired and not: so a plan depends on few others, and a change moves few plans."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One whom a probe may be sent to; ``pod`` is its key, "" for a node."""

    pod: str
    addresses: PeerSet


def candidates(index: Index, profile: str, direction: Direction, pod_key: str) -> list[Remote]:
    """Remotes for the probe of one stage of a pod, best first: pods (never itself), nodes by name, its own node."""
    own = own_ports(index, profile, direction, pod_key)
    pods = [remote for remote in reachable(index, profile, direction, own) if remote.pod != pod_key]
    node = Remote("", node_of(index, pod_key)[1])
    return [*pods, *nodes_named(index, profile, direction), node]


def every_running(index: Index, profile: str, direction: Direction, pod_key: str) -> Iterator[Remote]:
    """All running pods that the side reaches, but the pod itself."""
    matches = taken(index, profile, direction, own_ports(index, profile, direction, pod_key))
    return _running(index, matches, frozenset(index.live) - {pod_key})


@once
def reachable(index: Index, profile: str, direction: Direction, own: Own) -> tuple[Remote, ...]:
    """A few running pods that the side reaches: some that the profile does not impair, then some that it does."""
    matches = taken(index, profile, direction, own)
    impaired = selected(index, profile)
    fresh = islice(_running(index, matches, frozenset(index.live) - impaired), FEW + 1)
    return (*fresh, *islice(_running(index, matches, impaired), FEW + 1))


def _running(index: Index, matches: tuple[Match, ...], keys: frozenset[str]) -> Iterator[Remote]:
    """The oldest first, so that a new pod seldom moves a probe that was planned before."""
    for key in index.by_age:
        if key not in keys:
            continue
        pod = index.live[key]
        addresses = objects.pod_addresses(pod)
        if addresses and objects.running(pod) and any(_reaches(match, addresses) for match in matches):
            yield Remote(key, addresses)


def _reaches(match: Match, addresses: PeerSet) -> bool:
    return match.remote is None or bool(match.remote & addresses)


@once
def nodes_named(index: Index, profile: str, direction: Direction) -> tuple[Remote, ...]:
    """The nodes that the side's rules name."""
    peers = peers_of(profiles_by_name(index)[profile], direction)
    names = dict.fromkeys(ref.name for peer in peers for ref in peer.refs if ref.kind is RefKind.NODE)
    nodes = (index.world.nodes[name] for name in names if name in index.world.nodes)
    return tuple(Remote("", objects.node_addresses(node)) for node in nodes)
