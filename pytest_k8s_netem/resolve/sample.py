"""The smallest world in which a profile can be seen at work: some pods for each whom it names, and a stranger."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.profile.selectors import EVERYWHERE
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.samplepods import SamplePods
from pytest_k8s_netem.resolve.select import pods_of, selected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_k8s_netem.model.peers import PeerSet
    from pytest_k8s_netem.profile.selectors import Atom
    from pytest_k8s_netem.profile.trafficprofile import Selection, TrafficProfile

EVERY_POD, STRANGER = "every pod", "anybody else"
"""Labels of pods that are selected as such, and of a remote that nothing names."""
NOT_DRAWN = "that was not drawn"
"""Behind the label of pods that ``count`` left out."""
FEW = 4
"""Pods of each kind that a profile selects: enough that ``count`` draws some of them and leaves others."""


@dataclass(frozen=True, slots=True)
class Party:
    """Alike remotes.

    :ivar label: as the profile names them. :ivar pods: their keys; () = they are no pods, but ``addresses``.
    :ivar selected: whether the profile touches their interfaces.
    :ivar within: label of the peers of whom these are the selected ones; "" = they are no part of another party.
    """

    label: str
    pods: tuple[str, ...]
    addresses: PeerSet
    selected: bool = False
    within: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A world with one profile, and who is in it.

    :ivar ports: by number, the name that the pods' ports go by.
    """

    index: Index
    parties: tuple[Party, ...]
    ports: Mapping[int, str]


def sample(profile: TrafficProfile) -> Sample:
    """Pods for each part of the profile's selections, on a cluster whose kernels can do everything."""
    pods = SamplePods(profile)
    for atom in _atoms(profile.pods):
        pods.add(atom, profile.pods, FEW)
    for selection in _with_exceptions([*_peers(profile), *profile.pods.exceptions]):
        for atom in _atoms(selection):
            pods.add(atom, selection, 2)
    pods.others[STRANGER] = pods.address()
    index = Index(pods.world)
    return Sample(index, tuple(_parties(index, profile, pods)), pods.ports)


def _peers(profile: TrafficProfile) -> list[Selection]:
    sides = [side for side in (profile.egress, profile.ingress) if side is not None]
    return list(dict.fromkeys(peer for side in sides for rule in side.rules for peer in rule.peers or ()))


def _with_exceptions(selections: Iterable[Selection]) -> Iterator[Selection]:
    for selection in selections:
        yield selection
        yield from _with_exceptions(selection.exceptions)


def _atoms(selection: Selection) -> Iterator[Atom]:
    yield from selection.selectors
    yield from selection.refs
    yield from () if selection.blocks == EVERYWHERE else selection.blocks  # there the stranger is


def _parties(index: Index, profile: TrafficProfile, pods: SamplePods) -> Iterator[Party]:
    chosen, drawable = selected(index, profile.name), pods_of(index, profile.pods)
    for label, keys in pods.groups.items():
        for touched in (True, False):
            part = tuple(key for key in keys if (key in chosen) is touched)
            if part:
                left = f"{'a pod' if label == EVERY_POD else label} {NOT_DRAWN}"
                told = left if not touched and part[0] in drawable else label
                yield Party(told, part, objects.pod_addresses(index.live[part[0]]), touched, pods.within.get(label, ""))
    for label, addresses in pods.others.items():
        yield Party(label, (), addresses)
