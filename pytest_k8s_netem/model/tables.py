"""Delay distributions as netem takes them: inverse cumulative tables of 16-bit numbers."""

from __future__ import annotations

from dataclasses import dataclass

SCALE = 8192
"""NETEM_DIST_SCALE of linux/pkt_sched.h: a table value of 8192 is one sigma (one jitter)."""
MAX_SIZE = 16384
"""NETEM_DIST_MAX of linux/pkt_sched.h."""


@dataclass(frozen=True, slots=True)
class Table:
    """A distribution: a draw is ``delay + jitter * values[random index] / SCALE``.

    :ivar name: ``normal``, ``pareto``, ``paretonormal``, or the user's name for it.
    :ivar values: -32768..32767, at most 16384.
    """

    name: str
    values: tuple[int, ...]
