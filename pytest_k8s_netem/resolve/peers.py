"""Who a peer selection means: addresses at any port, and Services by their ports."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.profile.trafficprofile import Block, RefKind, Selection
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.select import in_namespaces, pods_of, service_pods
from pytest_k8s_netem.resolve.services import Front, endpoints, fronts, services_of, union, vips

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE = {4: 32, 6: 128}
"""Prefix length of a single address, by family."""


@dataclass(frozen=True, slots=True)
class Remotes:
    """What a peer selection comes to.

    :ivar addresses: taken at any port. :ivar pods: keys of the pods among them, for ports by name.
    :ivar vips: ClusterIPs of Services in front of those pods. :ivar fronts: the same, port by port.
    :ivar services: ports of the Services that were named themselves: taken as (VIP, port) and (endpoint, target).
    """

    addresses: PeerSet = PeerSet()
    pods: frozenset[str] = frozenset()
    vips: PeerSet = PeerSet()
    fronts: tuple[Front, ...] = ()
    services: tuple[Front, ...] = ()

    @property
    def meant(self) -> PeerSet:
        """Every address but those that only stand in front of a selected pod, and maybe of others."""
        return union([self.addresses, *(part for f in self.services for part in (f.vips, f.endpoints))])


@once
def remotes(index: Index, selection: Selection) -> Remotes:
    """Resolve a peer selection: the union of its parts, without its exceptions."""
    pods = _pods(index, selection)
    keys = _services(index, selection)
    portless = [key for key in keys if not fronts(index, key)]
    fronting = sorted({key for pod in pods for key in services_of(index).get(pod, ())})
    away = union(remotes(index, exception).meant for exception in selection.exceptions)
    found = Remotes(
        addresses=union(
            [
                *(objects.pod_addresses(index.live[pod]) for pod in pods),
                *(_block(block) for block in selection.blocks),
                *_named(index, selection),
                *(endpoints(index, key) for key in portless),
            ]
        ),
        pods=pods,
        vips=union([vips(index, key) for key in fronting] + [vips(index, key) for key in portless]),
        fronts=tuple(front for key in fronting for front in fronts(index, key) if front.vips),
        services=tuple(front for key in keys for front in fronts(index, key)),
    )
    return _without(found, away) if away else found


def _pods(index: Index, selection: Selection) -> frozenset[str]:
    """Pods meant as such; those behind a named Service are its endpoints."""
    refs = tuple(ref for ref in selection.refs if ref.kind is not RefKind.SERVICE)
    return pods_of(index, replace(selection, refs=refs, blocks=()))


def _services(index: Index, selection: Selection) -> list[str]:
    names = {ref.name for ref in selection.refs if ref.kind is RefKind.SERVICE}
    return [
        key
        for key in sorted(index.world.services)
        if key.partition("/")[2] in names and in_namespaces(index, objects.namespace(key), selection)
    ]


def _named(index: Index, selection: Selection) -> Iterator[PeerSet]:
    """Addresses of nodes and hosts; they belong to no namespace."""
    for ref in selection.refs:
        if ref.kind is RefKind.NODE:
            yield objects.node_addresses(index.world.nodes.get(ref.name, {}))
        elif ref.kind is RefKind.FQDN:
            yield objects.peer_set(index.world.names.get(ref.name, ()))


def _block(block: Block) -> PeerSet:
    return PeerSet.from_networks([block.network]) - PeerSet.from_networks(list(block.exceptions))


def _without(found: Remotes, away: PeerSet) -> Remotes:
    def less(front: Front) -> Front:
        return replace(front, vips=front.vips - away, endpoints=front.endpoints - away)

    return Remotes(
        addresses=found.addresses - away,
        pods=found.pods,
        vips=found.vips - away,
        fronts=tuple(less(front) for front in found.fronts),
        services=tuple(less(front) for front in found.services),
    )


@once
def explicit(index: Index, selection: Selection) -> PeerSet:
    """Addresses that the selection names one by one: these are not spared, those that a range happens to hold are."""
    singles = tuple(block for block in selection.blocks if block.network[2] == WHOLE[block.network[0]])
    refs = tuple(ref for ref in selection.refs if ref.kind in (RefKind.NODE, RefKind.SERVICE, RefKind.FQDN))
    return remotes(index, replace(selection, selectors=(), blocks=singles, refs=refs)).meant


@once
def overreach(index: Index, selection: Selection) -> tuple[str, ...]:
    """Sentences about ClusterIPs that stand in front of other pods too: traffic to those is impaired as well."""
    found = remotes(index, selection)
    keys = sorted({front.service for front in found.fronts})
    return tuple(
        f"the ClusterIP of svc/{key.partition('/')[2]} also stands for {len(others)} pods that are not selected"
        for key in keys
        if (others := service_pods(index, key) - found.pods)
    )
