"""What each profile takes on one side of one pod, and what of that it leaves alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pytest_k8s_netem.model.match import IPV4, IPV6, TCP, UDP, Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.peers import explicit
from pytest_k8s_netem.resolve.rules import merged, own_ports, peers_of, taken
from pytest_k8s_netem.resolve.select import profiles_by_name, selected
from pytest_k8s_netem.resolve.services import union, vips

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile
    from pytest_k8s_netem.resolve.rules import Own

NODE, APISERVER, DNS = "node", "apiserver", "dns"
APISERVER_SERVICE = "default/kubernetes"
"""The Service by which pods reach the API server; the API server itself makes it."""
DNS_TRAFFIC = Match(protocols=Ranges.of(TCP, UDP), remote_ports=Ranges.of(53))
"""RFC 1035 4.2; by port, since node-local caches and outside resolvers answer too."""


@dataclass(frozen=True, slots=True)
class Region:
    """One profile on one side of a pod.

    :ivar takes: what its rules take. :ivar spares: what of that passes it by.
    """

    profile: str
    takes: tuple[Match, ...]
    spares: tuple[Match, ...] = ()


def region(index: Index, pod_key: str, profile: TrafficProfile, direction: Direction) -> Region:
    """What the profile does to the packets of the pod in that direction."""
    own = own_ports(index, profile.name, direction, pod_key)
    spares = [match for _, match in exempt(index, profile.name, direction, own_node(index, pod_key))]
    if direction is Direction.INGRESS:
        spares += already_taken(index, profile.name, pod_key)
    return Region(profile.name, taken(index, profile.name, direction, own), merged(spares))


@once
def node_of(index: Index, pod_key: str) -> tuple[str, PeerSet]:
    """The pod's node: its name and addresses, as far as the Node object or the pod itself tell."""
    pod = index.live[pod_key]
    name = objects.node_name(pod)
    known = objects.node_addresses(index.world.nodes.get(name, {}))
    hosts = [str(entry.get("ip", "")) for entry in objects.status(pod).get("hostIPs") or ()]
    return name, known | objects.peer_set([*hosts, str(objects.status(pod).get("hostIP") or "")])


@once
def own_node(index: Index, pod_key: str) -> tuple[str, PeerSet]:
    """The node that the pod is to be spared from; no kubelet looks after a container, so it has none.

    Who comes from the address of its machine is the test itself.
    """
    return ("", PeerSet()) if objects.attached(index.live[pod_key]) else node_of(index, pod_key)


@once
def exempt(
    index: Index, profile_name: str, direction: Direction, node: tuple[str, PeerSet]
) -> tuple[tuple[str, Match], ...]:
    """What a side leaves alone: a description and the packets; addresses that its rules name are not spared."""
    profile = profiles_by_name(index)[profile_name]
    meant = named(index, profile_name, direction)
    wanted = [(f"node {node[0]}", NODE, node[1]), ("API server", APISERVER, apiserver(index))]
    found = [
        (f"{text} ({_listed(left)})", Match(remote=left))
        for text, kind, addresses in wanted
        if kind in profile.exempt and (left := addresses - meant)
    ]
    if DNS in profile.exempt:
        found.append(("DNS (port 53)", DNS_TRAFFIC))
    return tuple(found)


@once
def named(index: Index, profile_name: str, direction: Direction) -> PeerSet:
    """Addresses that a side's rules name one by one."""
    return union(explicit(index, peer) for peer in peers_of(profiles_by_name(index)[profile_name], direction))


@once
def apiserver(index: Index) -> PeerSet:
    """The API server's addresses, its Service's among them."""
    found = objects.peer_set(index.world.apiserver)
    return found | vips(index, APISERVER_SERVICE) if APISERVER_SERVICE in index.world.services else found


def _listed(addresses: PeerSet) -> str:
    pairs = [(family, first) for family in (4, 6) for first, _ in addresses.family(family)]
    return ", ".join(objects.textual(family, first) for family, first in pairs)


def already_taken(index: Index, profile_name: str, pod_key: str) -> list[Match]:
    """Arriving packets that the same profile has impaired at their sender: a packet meets a profile once."""
    mine = objects.pod_addresses(index.live[pod_key])
    return [
        seen
        for own, senders in senders_of(index, profile_name).items()
        for match in taken(index, profile_name, Direction.EGRESS, own)
        if (seen := _mirrored(match, mine, senders))
    ]


@once
def senders_of(index: Index, profile_name: str) -> dict[Own, PeerSet]:
    """Addresses of the pods that the profile impairs, by what they call their own ports: these send alike."""
    groups: dict[Own, list[PeerSet]] = defaultdict(list)
    for key in selected(index, profile_name):
        own = own_ports(index, profile_name, Direction.EGRESS, key)
        groups[own].append(objects.pod_addresses(index.live[key]))
    return {own: union(sets) for own, sets in groups.items()}


def _mirrored(match: Match, mine: PeerSet, senders: PeerSet) -> Match | None:
    """A sender's match as the receiver sees it; None if it does not reach this receiver."""
    reached = mine if match.remote is None else mine & match.remote
    remote = PeerSet(senders.v4 if reached.v4 else Ranges(), senders.v6 if reached.v6 else Ranges())
    ether_types = Ranges.of(IPV4, IPV6) if match.ether_types is None else match.ether_types
    seen = Match(ether_types, match.protocols, remote, match.local_ports, match.remote_ports)
    return None if seen.empty else seen
