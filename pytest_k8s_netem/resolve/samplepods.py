"""Objects that a profile's selections take, made up: pods by their labels, owners and Services; nodes and hosts."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8s_netem.model.capabilities import Capabilities, EngineCapability, Interface
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.profile.selectors import format_selection, gather
from pytest_k8s_netem.profile.trafficprofile import Block, LabelSelector, Operator, RefKind
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.layout import AUTO
from pytest_k8s_netem.resolve.world import TargetFacts, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_k8s_netem.profile.selectors import Atom
    from pytest_k8s_netem.profile.trafficprofile import Ref, Requirement, Selection, TrafficProfile

HOME = "home-of-the-test"
"""Stands for the test's namespace where nothing says which one that is."""
FIRST_PORT = 61_001
"""Numbers of the pods' ports that are called by name begin here."""
BEHIND = "behind"
"""Label by which a Service finds its pods."""
V4, V6 = 0xC6120000, 0x20010002 << 96
"""198.18.0.0 and 2001:2::, blocks for benchmarks (RFC 2544, RFC 5180) that no profile is likely to name."""
FACTS = TargetFacts(
    Capabilities("", (EngineCapability("kernel", True), EngineCapability("userspace", True))),
    (Interface("lo", 1, 65536, "", True, False), Interface("eth0", 2, 1500, "", True, True)),
)


class SamplePods:
    """A world that grows.

    :ivar groups: keys of pods by label, which is how the profile names them. :ivar others: remotes that are no pods.
    :ivar within: see Party. :ivar ports: numbers of the ports that the profile calls by name.
    """

    def __init__(self, profile: TrafficProfile) -> None:
        self.profile = replace(profile, engine=AUTO, interface="")
        self.world = World(profiles={profile.name: self.profile})
        self.groups: dict[str, list[str]] = {}
        self.others: dict[str, PeerSet] = {}
        self.within: dict[str, str] = {}
        sides = [side for side in (profile.egress, profile.ingress) if side is not None]
        ports = (port for side in sides for rule in side.rules for port in rule.ports or ())
        self.ports = dict(enumerate(sorted({port.name for port in ports if port.name}), FIRST_PORT))

    def add(self, atom: Atom, selection: Selection, number: int) -> None:
        """So many whom this part of a selection means; once for each label."""
        label, place = _label(atom), self._namespace(selection)
        if label in self.groups or label in self.others:
            return
        if isinstance(atom, LabelSelector):
            self._pods(label, number, place, labels(atom))
            self._selected_too(label, place, labels(atom))
        elif isinstance(atom, Block):
            self.others[label] = PeerSet.from_networks([atom.network]) - PeerSet.from_networks(list(atom.exceptions))
        else:
            self._named(label, atom, number, place)

    def address(self) -> PeerSet:
        """One of each family that nobody has."""
        number = 1 + len(self.world.pods) + len(self.others)
        return PeerSet.from_networks([(4, V4 + number, 32), (6, V6 + number, 128)])

    def _named(self, label: str, ref: Ref, number: int, place: str) -> None:
        match ref.kind:
            case RefKind.NODE:
                self.others[label] = self.address()
                addresses = [{"address": text} for text in _texts(self.others[label])]
                self.world.nodes[ref.name] = {"status": {"addresses": addresses}}
            case RefKind.FQDN:
                self.others[label] = self.address()
                self.world.names[ref.name] = tuple(_texts(self.others[label]))
            case RefKind.POD:
                self._pods(label, 1, place, {}, name=ref.name)
            case RefKind.CONTAINER:
                self._pods(label, 1, objects.CONTAINERS, {objects.CONTAINER_LABEL: ref.name}, name=ref.name)
            case RefKind.SERVICE:
                service = {"selector": {BEHIND: ref.name}, "clusterIP": "None"}
                self.world.services[f"{place}/{ref.name}"] = {"spec": service}
                self._pods(label, number, place, {BEHIND: ref.name})
            case RefKind.DEPLOYMENT:
                owner = {"kind": "Deployment", "name": ref.name, "uid": label, "controller": True}
                self._pods(label, number, place, {}, owner=owner)

    def _selected_too(self, label: str, place: str, theirs: dict[str, str]) -> None:
        """Peers that the profile selects, where labels can make them so."""
        for selector in self.profile.pods.selectors:
            own = labels(selector)
            if own and theirs and not own.keys() & theirs.keys():
                both = f"{label},{_label(selector)}"
                self.within[both] = label
                self._pods(both, 2, place, theirs | own)

    def _namespace(self, selection: Selection) -> str:
        """Where the selection looks; the profile's own where it does not say."""
        own = self.profile.pods.names
        place = selection.names[0] if selection.names else own[0] if own else HOME
        if selection.namespaces is not None:
            place = place if selection.names else _label(selection.namespaces)
            self.world.namespaces[place] = {"metadata": {"labels": labels(selection.namespaces)}}
        return place

    def _pods(
        self,
        label: str,
        number: int,
        place: str,
        theirs: dict[str, str],
        *,
        name: str = "",
        owner: dict[str, Any] | None = None,
    ) -> None:
        self.world.namespaces.setdefault(place, {})
        for _ in range(number):
            own = name or f"pod-{len(self.world.pods)}"
            addresses = [{"ip": text} for text in _texts(self.address())]
            self.world.pods[f"{place}/{own}"] = {
                "metadata": {"name": own, "labels": theirs, "ownerReferences": [owner] if owner else []},
                "spec": {"containers": [{"name": "main", "ports": self._container_ports()}]},
                "status": {"phase": "Running", "podIPs": addresses},
            }
            self.world.targets[f"{place}/{own}"] = FACTS
            self.groups.setdefault(label, []).append(f"{place}/{own}")

    def _container_ports(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "containerPort": number, "protocol": protocol}
            for number, name in self.ports.items()
            for protocol in objects.PROTOCOLS
        ]


def labels(selector: LabelSelector) -> dict[str, str]:
    """Labels that satisfy the selector, if any do."""
    keys = dict.fromkeys(requirement.key for requirement in selector.requirements)
    values = {key: _value([one for one in selector.requirements if one.key == key]) for key in keys}
    return {key: value for key, value in values.items() if value}


def _value(requirements: list[Requirement]) -> str:
    """A value of one key that they take; "" = none, or none is needed."""
    wanted = [one.values for one in requirements if one.operator is Operator.IN]
    away = {value for one in requirements if one.operator is Operator.NOT_IN for value in one.values}
    if wanted:
        return next((v for v in wanted[0] if v not in away and all(v in values for values in wanted)), "")
    if not any(one.operator is Operator.EXISTS for one in requirements):
        return ""
    return next(value for at in range(len(away) + 1) if (value := f"value-{at}") not in away)


def _label(atom: Atom) -> str:
    return format_selection(gather([atom]))


def _texts(addresses: PeerSet) -> list[str]:
    return [objects.textual(family, addresses.family(family).pairs[0][0]) for family in (4, 6)]
