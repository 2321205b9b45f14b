"""Sets of integers as sorted, disjoint, inclusive ranges.

Addresses, ports, protocols and ether types are all sets of integers: one algebra serves them, and a sorted list of
ranges is what a binary search in a filter program needs.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Ranges:
    """A set of non-negative integers; build it with :meth:`of`, which normalises.

    :ivar pairs: (first, last), inclusive, ascending, neither overlapping nor touching.
    """

    pairs: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, *items: int | tuple[int, int]) -> Ranges:
        """From single numbers and inclusive (first, last) pairs in any order, overlaps allowed."""
        return cls.joined((item, item) if isinstance(item, int) else item for item in items)

    @classmethod
    def joined(cls, pairs: Iterable[tuple[int, int]]) -> Ranges:
        """From inclusive pairs in any order, overlaps allowed.

        :raises ValueError: if a pair's first is above its last, or negative.
        """
        merged: list[tuple[int, int]] = []
        for first, last in sorted(pairs):
            if not 0 <= first <= last:
                raise ValueError(f"not a range: {first}-{last}")
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return cls(tuple(merged))

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        """How many ranges, not how many numbers."""
        return len(self.pairs)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.pairs, (number, float("inf"))) - 1
        return at >= 0 and number <= self.pairs[at][1]

    def __or__(self, other: Ranges) -> Ranges:
        return Ranges.joined((*self.pairs, *other.pairs))

    def __and__(self, other: Ranges) -> Ranges:
        found: list[tuple[int, int]] = []
        i = j = 0
        while i < len(self.pairs) and j < len(other.pairs):
            first = max(self.pairs[i][0], other.pairs[j][0])
            last = min(self.pairs[i][1], other.pairs[j][1])
            if first <= last:
                found.append((first, last))
            if self.pairs[i][1] < other.pairs[j][1]:
                i += 1
            else:
                j += 1
        return Ranges(tuple(found))

    def __sub__(self, other: Ranges) -> Ranges:
        left: list[tuple[int, int]] = []
        holes = other.pairs
        for first, last in self.pairs:
            at = max(bisect_right(holes, (first, -1)) - 1, 0)
            start = first
            while at < len(holes) and holes[at][0] <= last:
                if holes[at][1] >= start:
                    if holes[at][0] > start:
                        left.append((start, holes[at][0] - 1))
                    start = holes[at][1] + 1
                at += 1
            if start <= last:
                left.append((start, last))
        return Ranges(tuple(left))
