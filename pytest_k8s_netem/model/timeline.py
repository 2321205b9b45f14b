"""Impairments in time; a constant impairment is a timeline of one endless segment."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.impairment import NONE, Impairment


@dataclass(frozen=True, slots=True)
class Segment:
    """One impairment for ``duration`` ns; None = for ever."""

    duration: int | None
    impairment: Impairment


@dataclass(frozen=True, slots=True)
class Timeline:
    """Segments in order; after the last timed one it starts again (``repeat``) or the path is healthy."""

    segments: tuple[Segment, ...]
    repeat: bool = False

    @classmethod
    def constant(cls, impairment: Impairment) -> Timeline:
        """The same impairment for ever."""
        return cls((Segment(None, impairment),))

    @property
    def only(self) -> Impairment | None:
        """The impairment, if there is just one for ever."""
        return self.segments[0].impairment if len(self.segments) == 1 and self.segments[0].duration is None else None

    @property
    def impairments(self) -> tuple[Impairment, ...]:
        """Every impairment that occurs, in order."""
        return tuple(segment.impairment for segment in self.segments)

    def at(self, elapsed: int) -> tuple[Impairment, int | None]:
        """What holds ``elapsed`` ns after the start, and the elapsed time at which that ends (None = never)."""
        base = 0
        period = sum(segment.duration or 0 for segment in self.segments)
        endless = any(segment.duration is None for segment in self.segments)
        if self.repeat and not endless and period:
            base = elapsed // period * period
        for segment in self.segments:
            if segment.duration is None:
                return segment.impairment, None
            if elapsed < base + segment.duration:
                return segment.impairment, base + segment.duration
            base += segment.duration
        return NONE, None
