"""From overlapping regions to an ordered list of classes, the first of which that takes a packet says all.

Each region gives two sets: what its profile takes, and what of that it spares. A class is the intersection of some
of these sets, listed from the largest number of sets to the smallest; so the first class that takes a packet is the
one that names exactly the sets which the packet is in.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.plan import MAX_CLASSES, Class, Direction
from pytest_k8s_netem.resolve.rules import merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_k8s_netem.model.match import Match
    from pytest_k8s_netem.resolve.regions import Region

    Matches = tuple[Match, ...]
    Key = frozenset[Match]

MAX_INTERSECTIONS = 16 * MAX_CLASSES
"""Most intersections looked at before it is called too many: those that decide nothing are taken out afterwards."""


class TooManyOverlaps(Exception):
    """More classes than a direction of an interface may have."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """An intersection: positions of the regions that take its packets, and of those that spare them."""

    takes: frozenset[int]
    spares: frozenset[int]
    matches: Matches

    @property
    def rank(self) -> tuple[int, list[int], list[int]]:
        """Most sets first, then in the order of the regions."""
        return (-len(self.takes) - len(self.spares), sorted(self.takes), sorted(self.spares))

    def merged(self, other: _Cell) -> _Cell:
        """The same packets, known to be in more sets."""
        return _Cell(self.takes | other.takes, self.spares | other.spares, self.matches)


def stage_id(profile: str, direction: Direction) -> str:
    """A stage's name: one stage a profile and direction, whichever class a packet came by."""
    return f"{profile}/{direction.value}"


def compose(regions: Sequence[Region], interface: str, direction: Direction) -> tuple[Class, ...]:
    """The ordered classes of one side; regions in the order in which their profiles are met.

    :raises TooManyOverlaps: if there are more than :data:`MAX_CLASSES`.
    """
    cells = sorted(_cells(regions), key=lambda cell: cell.rank)
    classes = _necessary([_class(cell, regions, interface, direction) for cell in cells])
    if len(classes) > MAX_CLASSES:
        raise TooManyOverlaps
    return tuple(classes)


def _cells(regions: Sequence[Region]) -> Iterable[_Cell]:
    """All non-empty intersections; equal sets of packets are one cell, which keeps equal regions from multiplying."""
    found: dict[Key, _Cell] = {}
    for new in _sets(regions):
        fresh = [
            _Cell(new.takes | old.takes, new.spares | old.spares, _meet(old.matches, new.matches))
            for old in found.values()
        ]
        for cell in (new, *fresh):
            if cell.matches:
                key = frozenset(cell.matches)
                found[key] = found[key].merged(cell) if key in found else cell
        if len(found) > MAX_INTERSECTIONS:
            raise TooManyOverlaps
    return {(cell.takes, cell.spares): cell for cell in found.values()}.values()


def _sets(regions: Sequence[Region]) -> Iterator[_Cell]:
    """What each region takes, and what of that it spares."""
    for at, region in enumerate(regions):
        takes = _widest(region.takes)
        yield _Cell(frozenset({at}), frozenset(), takes)
        yield _Cell(frozenset({at}), frozenset({at}), intersection(takes, region.spares))


def _meet(a: Matches, b: Matches) -> Matches:
    """The intersection, in the form of whichever lies within the other, so that equal sets look equal."""
    table = [[x & y for y in b] for x in a]
    if all(x in row for x, row in zip(a, table, strict=True)):
        return a
    if all(any(row[at] == y for row in table) for at, y in enumerate(b)):
        return b
    return _united(both for row in table for both in row)


def _class(cell: _Cell, regions: Sequence[Region], interface: str, direction: Direction) -> Class:
    """Named after its sets: the profiles that take it, and after ``!`` those that spare it."""
    taking = [regions[at].profile for at in sorted(cell.takes)]
    sparing = [regions[at].profile for at in sorted(cell.spares)]
    name = "+".join(taking) + "".join(f"!{profile}" for profile in sparing)
    stages = tuple(stage_id(profile, direction) for profile in taking if profile not in sparing)
    return Class(f"{interface}/{direction.value}/{name}", interface, direction, cell.matches, stages)


def _necessary(classes: list[Class]) -> list[Class]:
    """Without classes whose packets would meet the same stages if the class were not there; from the last upwards."""
    kept: list[Class] = []
    for one in reversed(classes):
        if not _redundant(one, kept):
            kept.insert(0, one)
    return kept


def _redundant(one: Class, later: list[Class]) -> bool:
    for other in later:
        if other.stages == one.stages:
            if contained(one.matches, other.matches):
                return True
        elif overlap(one.matches, other.matches):
            return False
    return not one.stages


def intersection(a: Matches, b: Matches) -> Matches:
    """The packets in both unions, without matches that say nothing new."""
    return _united(x & y for x in a for y in b)


def _united(matches: Iterable[Match]) -> Matches:
    return _widest(merged(dict.fromkeys(match for match in matches if not match.empty)))


def overlap(a: Matches, b: Matches) -> bool:
    """Whether a packet can be in both unions."""
    return any(not (x & y).empty for x in a for y in b)


def _widest(matches: Matches) -> Matches:
    """The same packets without empty matches and those that lie within another."""
    kept: list[Match] = []
    for match in matches:
        if not match.empty and not any(match & other == match for other in kept):
            kept = [other for other in kept if other & match != other] + [match]
    return tuple(kept)


def contained(a: Matches, b: Matches) -> bool:
    """Whether each match of ``a`` lies within one of ``b``; False may only mean that it takes several."""
    return all(any(x & y == x for y in b) for x in a)
