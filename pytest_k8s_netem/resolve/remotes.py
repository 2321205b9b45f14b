"""Whom a probe may be sent to: a few live pods that a side of a profile reaches, and nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from pytest_k8s_netem.profile.trafficprofile import RefKind
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.expected import main_interface
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.regions import node_of
from pytest_k8s_netem.resolve.rules import own_ports, peers_of, taken
from pytest_k8s_netem.resolve.select import profiles_by_name, selected
from pytest_k8s_netem.resolve.services import union

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
    known = reachable(index, profile, direction, own, bool(objects.attached(index.live[pod_key])))
    pods = [seen for remote in known if remote.pod != pod_key and (seen := _facing(index, pod_key, remote))]
    node = Remote("", node_of(index, pod_key)[1])
    return [*pods, *nodes_named(index, profile, direction), node]


def every_running(index: Index, profile: str, direction: Direction, pod_key: str) -> Iterator[Remote]:
    """All running pods that the side reaches, but the pod itself."""
    matches = taken(index, profile, direction, own_ports(index, profile, direction, pod_key))
    attached = bool(objects.attached(index.live[pod_key]))
    for remote in _running(index, matches, frozenset(index.live) - {pod_key}, attached):
        if seen := _facing(index, pod_key, remote):
            yield seen


@once
def reachable(index: Index, profile: str, direction: Direction, own: Own, attached: bool) -> tuple[Remote, ...]:
    """A few running pods that the side reaches: some that the profile does not impair, then some that it does.

    :param attached: whether one asks that stands for a container, see :func:`_running`.
    """
    matches = taken(index, profile, direction, own)
    impaired = selected(index, profile)
    fresh = islice(_running(index, matches, frozenset(index.live) - impaired, attached), FEW + 1)
    return (*fresh, *islice(_running(index, matches, impaired, attached), FEW + 1))


def _running(index: Index, matches: tuple[Match, ...], keys: frozenset[str], attached: bool) -> Iterator[Remote]:
    """The oldest first, so that a new pod seldom moves a probe that was planned before.

    Between pods and attached containers there need be no way, unless the rule itself names the others' addresses.
    """
    for key in index.by_age:
        if key not in keys:
            continue
        pod = index.live[key]
        addresses = objects.pod_addresses(pod)
        strange = bool(objects.attached(pod)) != attached
        if addresses and objects.running(pod) and any(_reaches(match, addresses, strange) for match in matches):
            yield Remote(key, addresses)


def _reaches(match: Match, addresses: PeerSet, strange: bool) -> bool:
    return not strange if match.remote is None else bool(match.remote & addresses)


def _facing(index: Index, pod_key: str, remote: Remote) -> Remote | None:
    """The remote by the addresses that the pod reaches from its main interface; None where it reaches none.

    Containers may be on several networks, between which there is no way.
    """
    mine, theirs = (objects.networks(index.live[key]) for key in (pod_key, remote.pod))
    if not mine or not theirs:
        return remote
    own = main_addresses(index, pod_key)
    shared = union(theirs[name] for name in mine if name in theirs and mine[name] & own)
    return replace(remote, addresses=shared) if shared else None


@once
def main_addresses(index: Index, pod_key: str) -> PeerSet:
    """The pod's addresses on its main interface; all of them where its agent has not said."""
    facts, name = index.world.targets.get(pod_key), main_interface(index, pod_key)
    texts = [text for one in (facts.interfaces if facts else ()) if one.name == name for text in one.addresses]
    every = objects.pod_addresses(index.live[pod_key])
    return every & objects.peer_set(texts) or every


@once
def nodes_named(index: Index, profile: str, direction: Direction) -> tuple[Remote, ...]:
    """The nodes that the side's rules name."""
    peers = peers_of(profiles_by_name(index)[profile], direction)
    names = dict.fromkeys(ref.name for peer in peers for ref in peer.refs if ref.kind is RefKind.NODE)
    nodes = (index.world.nodes[name] for name in names if name in index.world.nodes)
    return tuple(Remote("", objects.node_addresses(node)) for node in nodes)
