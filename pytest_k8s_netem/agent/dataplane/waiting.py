"""What waits until it is due."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Entry = tuple[int, int, Any]
    """When it is due (ns), a number that tells equals apart, and what waits."""


class Waiting:
    """Entries by due time, equals as they came.

    Most come in the order in which they are due (a constant delay, a rate), and those cost neither search nor heap.
    """

    def __init__(self) -> None:
        self._ordered: deque[Entry] = deque()
        self._others: list[Entry] = []
        self._number = 0

    def __iter__(self) -> Iterator[Entry]:
        yield from self._ordered
        yield from self._others

    def push(self, due: int, what: Any) -> None:
        """Let something wait."""
        self._number += 1
        ordered = self._ordered
        if not ordered or due >= ordered[-1][0]:
            ordered.append((due, self._number, what))
        else:
            heappush(self._others, (due, self._number, what))

    def first(self) -> int | None:
        """When the first is due, ns; None if nothing waits."""
        ordered, others = self._ordered, self._others
        if ordered and not (others and others[0] < ordered[0]):
            return int(ordered[0][0])
        return int(others[0][0]) if others else None

    def none_before(self, due: int) -> bool:
        """Whether nothing waits that goes before what is due then."""
        first = self.first()
        return first is None or due < first

    def due(self, now: int, most: int) -> Iterator[Entry]:
        """Take out, in order, what is due by ``now``, what is pushed meanwhile too; ``most`` entries at most."""
        ordered, others = self._ordered, self._others
        for _ in range(most):
            first = others if others and not (ordered and ordered[0] < others[0]) else ordered
            if not first or first[0][0] > now:
                return
            yield heappop(others) if first is others else ordered.popleft()

    def drop(self, which: Callable[[Entry], bool]) -> list[Entry]:
        """Take out all of which ``which`` says so."""
        dropped = [entry for entry in self if which(entry)]
        gone = {entry[1] for entry in dropped}
        self._ordered = deque(entry for entry in self._ordered if entry[1] not in gone)
        self._others = [entry for entry in self._others if entry[1] not in gone]
        heapify(self._others)
        return dropped
