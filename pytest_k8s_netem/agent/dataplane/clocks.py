"""The wall clock, by which the kernel stamps what arrives, and the clock by which packets wait."""

from __future__ import annotations

import time


class Clocks:
    """How far apart they are. No two clocks are read at once, and a process may be kept from running in between.

    A look only proves bounds, then. What an earlier look said is kept while it lies within them: else packets that
    were read after an interrupted look would be due before those that came first. Both clocks are slewed alike, so
    the distance changes only when somebody sets the wall clock.
    """

    def __init__(self) -> None:
        self._distance: int | None = None

    def look(self) -> tuple[int, int]:
        """Now, and what is to be added to a time of the wall clock: ns of CLOCK_MONOTONIC.

        It is never more than it should be, and so, unless the clock is set, never less than the last time.
        """
        before = time.monotonic_ns()
        wall = time.time_ns()
        now = time.monotonic_ns()
        least, most = before - wall, now - wall
        earlier = self._distance
        kept = least if earlier is None or earlier > most else max(earlier, least)  # above most: the clock was set
        self._distance = kept
        return now, kept
