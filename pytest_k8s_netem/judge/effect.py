"""What a profile did to the test's packets, and whether the test met it at all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.observed import Observed, StageObserved
    from pytest_k8s_netem.model.plan import Plan, Stage
    from pytest_k8s_netem.model.timeline import Timeline

DOUBT = 0.5
"""Changes that an engine cannot count are taken as made if at least so many were to be expected."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Packets that met a profile since it was verified, probes left out.

    :ivar packets: taken by its classes. :ivar bytes: likewise.
    :ivar delayed, duplicated, corrupted, reordered: as far as the engines can count them.
    :ivar expected_changes: packets that were to be lost, delayed or changed, on average.
    :ivar uncounted: those among them that the engines could not have counted.
    """

    packets: int = 0
    bytes: int = 0
    passed: int = 0
    dropped: int = 0
    delayed: int = 0
    duplicated: int = 0
    corrupted: int = 0
    reordered: int = 0
    expected_changes: float = 0.0
    uncounted: float = 0.0

    def __add__(self, other: Effect) -> Effect:
        return Effect(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def changes(self) -> int:
        """Packets known to have been lost, delayed or changed; one may count twice."""
        return self.dropped + self.delayed + self.duplicated + self.corrupted + self.reordered


class Outcome(str, Enum):
    """What a test met of a profile: nothing; packets, none of which was changed; or the impairment."""

    INERT = "inert"
    UNEXERCISED = "unexercised"
    EXERCISED = "exercised"


def effects(plan: Plan, observed: Observed) -> dict[str, Effect]:
    """The effect of each profile of a plan on its target."""
    found: dict[str, Effect] = dict.fromkeys((stage.profile for stage in plan.stages), Effect())
    seen = dict(observed.stages)
    for stage in plan.stages:
        found[stage.profile] += _taken(plan, observed, stage)
        if stage.id in seen:
            found[stage.profile] += _done(stage, seen[stage.id], _taken(plan, observed, stage).packets)
    return found


def decide(effect: Effect) -> Outcome:
    """What the test met, by a profile's effect over all its pods and directions."""
    if effect.packets == 0:
        return Outcome.INERT
    if effect.changes or effect.uncounted >= DOUBT:
        return Outcome.EXERCISED
    return Outcome.UNEXERCISED


def _taken(plan: Plan, observed: Observed, stage: Stage) -> Effect:
    seen = dict(observed.classes)
    counted = [seen[one.id] for one in plan.classes if stage.id in one.stages and one.id in seen]
    return Effect(packets=sum(one.packets for one in counted), bytes=sum(one.bytes for one in counted))


def _done(stage: Stage, seen: StageObserved, packets: int) -> Effect:
    """A stage's own counters; where all that passes is delayed, what passed was, and what still waits."""
    delayed = seen.delayed
    if delayed is None and _always_delays(stage.timeline):
        delayed = seen.passed + seen.backlog
    chances = _chances(stage.timeline)
    counts = {
        "delayed": delayed,
        "duplicated": seen.duplicated,
        "corrupted": seen.corrupted,
        "reordered": seen.reordered,
    }
    known = {name: count or 0 for name, count in counts.items()}
    blind = sum(packets * chances[name] for name, count in counts.items() if count is None)
    changed = packets * _any(chances.values())
    return Effect(passed=seen.passed, dropped=seen.dropped, expected_changes=changed, uncounted=blind, **known)


def _always_delays(timeline: Timeline) -> bool:
    return timeline.only is not None and (timeline.only.delay > timeline.only.jitter or bool(timeline.only.rate))


def _chances(timeline: Timeline) -> dict[str, float]:
    """Share of packets that each kind of change befalls, averaged over the segments by their durations."""
    weights = [(segment.duration, dict(_of(segment.impairment))) for segment in timeline.segments]
    endless = [chances for duration, chances in weights if duration is None]
    if endless:
        return endless[0]
    span = sum(duration or 0 for duration, _ in weights) or 1
    return {
        name: sum((duration or 0) * chances[name] for duration, chances in weights) / span for name in weights[0][1]
    }


def _of(impairment: Impairment) -> Iterator[tuple[str, float]]:
    held = bool(impairment.delay or impairment.jitter or impairment.rate or impairment.slot)
    yield "dropped", impairment.loss.mean
    yield "delayed", float(held)
    yield "duplicated", impairment.duplicate.mean
    yield "corrupted", impairment.corrupt.mean
    yield "reordered", impairment.reorder.mean


def _any(chances: Iterable[float]) -> float:
    none = 1.0
    for chance in chances:
        none *= 1 - min(1.0, chance)
    return 1 - none
