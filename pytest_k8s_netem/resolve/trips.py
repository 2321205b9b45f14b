"""What each kind of conversation gets of a profile, seen in its :mod:`sample`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

from pytest_k8s_netem.model.match import ICMP, IP
from pytest_k8s_netem.profile.protocols import protocol_name
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.checks import DISCARD
from pytest_k8s_netem.resolve.expected import EPHEMERAL, Expected, addresses, path, request
from pytest_k8s_netem.resolve.layout import layout
from pytest_k8s_netem.resolve.outcome import Outcome
from pytest_k8s_netem.resolve.sample import EVERY_POD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_k8s_netem.model.match import Match
    from pytest_k8s_netem.model.ranges import Ranges
    from pytest_k8s_netem.resolve.index import Index
    from pytest_k8s_netem.resolve.sample import Party, Sample

NOT_NAMED = 253
"""A protocol for experiments (RFC 3692): taken by rules that take every protocol."""


class Packets(NamedTuple):
    """Packets that a rule tells apart, and one of them; ``label`` "" = all that no rule names.

    :ivar theirs: whether a port that it names is the other end's.
    """

    label: str
    protocol: int = NOT_NAMED
    port: int = DISCARD
    client_port: int = EPHEMERAL
    theirs: bool = True


@dataclass(frozen=True, slots=True)
class Trip:
    """A round trip that something happens to.

    :ivar ones: impaired parties. :ivar others: whom their pods talk to; equal = pods of one party among themselves.
    :ivar packets: labels of them; () = whatever they talk.
    """

    ones: tuple[Party, ...]
    others: tuple[Party, ...]
    packets: tuple[str, ...]
    seen: Expected

    @property
    def alike(self) -> tuple[Outcome, Outcome]:
        """What other round trips must get to be told together with this one."""
        return (self.seen.there, self.seen.back)


def trips(found: Sample) -> tuple[list[Trip], bool]:
    """(every round trip of impaired parties that something happens to, whether nothing happens to some)."""
    every = [trip for one, other in _pairs(found.parties) for trip in _between(found, one, other)]
    touched = [trip for trip in every if trip.seen.round_trip != Outcome()]
    needed = [trip for trip in touched if not _told(trip, touched)]
    by_one = _merged(needed, lambda trip: (trip.ones, trip.ones == trip.others))
    return _merged(by_one, lambda trip: (trip.others, trip.ones == trip.others)), len(touched) < len(every)


def _told(trip: Trip, touched: list[Trip]) -> bool:
    """Whether it says nothing new, since peers that are selected too are peers, and are selected."""
    (one,), (other,) = trip.ones, trip.others
    if one is not other and (one.within or not other.within):
        return bool(one.within)
    if not other.within:
        return False
    same = [a for a in touched if (a.packets, a.alike) == (trip.packets, trip.alike)]
    if one is other:
        return any(a.others == trip.others and not a.ones[0].within for a in same)
    return any(a.ones == trip.ones and a.others[0].label == other.within for a in same)


def _merged(several: list[Trip], key: Callable[[Trip], object]) -> list[Trip]:
    told: dict[object, Trip] = {}
    for trip in several:
        at = (key(trip), trip.packets, trip.alike)
        before = told.get(at, trip)
        ones, others = (*before.ones, *trip.ones), (*before.others, *trip.others)
        told[at] = replace(before, ones=tuple(dict.fromkeys(ones)), others=tuple(dict.fromkeys(others)))
    return list(told.values())


def _pairs(parties: tuple[Party, ...]) -> Iterator[tuple[Party, Party]]:
    """Each two of them once, the impaired one first; a party with itself if it has two pods."""
    for at, one in enumerate(parties):
        for other in parties[at:]:
            if one is other and len(one.pods) < 2:
                continue
            if one.selected:
                yield one, other
            elif other.selected:
                yield other, one


def _between(found: Sample, one: Party, other: Party) -> Iterator[Trip]:
    """By packets, those together that get the same; between equals it is all one who begins."""
    pod, remote = one.pods[0], other.pods[-1] if other.pods else ""
    groups: dict[tuple[Outcome, Outcome], tuple[Expected, list[Packets]]] = {}
    for kind in [*dict.fromkeys(_kinds(found, pod, remote)), Packets("")]:
        seen = _seen(found.index, pod, remote, other, kind)
        mirrored = (seen.back, seen.there)
        key = mirrored if one is other and mirrored in groups else (seen.there, seen.back)
        groups.setdefault(key, (seen, []))[1].append(kind)
    everywhere = Counter(label for _, kinds in groups.values() for label in {kind.label for kind in kinds})
    for seen, kinds in groups.values():
        whose = [
            kind.label if everywhere[kind.label] == 1 else f"{kind.label} of {_named(other if kind.theirs else one)}"
            for kind in kinds
        ]
        labels = ("",) if "" in whose else tuple(dict.fromkeys(whose))
        yield Trip((one,), (other,), () if len(groups) == 1 else labels, seen)


def _named(party: Party) -> str:
    return "these pods" if party.label == EVERY_POD else party.label


def _seen(index: Index, pod: str, remote: str, other: Party, kind: Packets) -> Expected:
    """By the first family of addresses in which something happens."""
    theirs = objects.pod_addresses(index.live[remote]) if remote else other.addresses
    found = [
        path(index, pod, remote, mine, request(family, address, kind.protocol, kind.port, kind.client_port))
        for family, mine, address in addresses(objects.pod_addresses(index.live[pod]), theirs)
    ]
    return next((one for one in found if one.round_trip != Outcome()), found[0] if found else Expected())


def _kinds(found: Sample, pod: str, remote: str) -> Iterator[Packets]:
    """What the classes of both ends tell apart, as the first one sends it."""
    for key, swapped in ((pod, False), (remote, True)):
        for one in layout(found.index, key).plan.classes if key else ():
            for match in one.matches if one.stages else ():
                yield from _of_match(match, swapped, found.ports)


def _of_match(match: Match, swapped: bool, names: Mapping[int, str]) -> Iterator[Packets]:
    if match.protocols is None or (match.ether_types is not None and not match.ether_types & IP):
        return
    numbers = match.remote_ports or match.local_ports
    first = numbers.pairs[0][0] if numbers else DISCARD
    own = match.remote_ports is None and match.local_ports is not None
    ends = (EPHEMERAL, first, False) if own is not swapped else (first, EPHEMERAL, True)
    for low, high in match.protocols:
        for protocol in range(low, high + 1):
            name = "icmp" if protocol == ICMP else protocol_name(protocol)
            yield Packets(f"{name}/{_spans(numbers, names)}" if numbers else name, protocol, *ends)


def _spans(numbers: Ranges, names: Mapping[int, str]) -> str:
    spans = ((names.get(first, str(first)), names.get(last, str(last))) for first, last in numbers)
    return ",".join(first if first == last else f"{first}-{last}" for first, last in spans)
