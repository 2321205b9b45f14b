"""What a plan in force does by itself as time passes: segments, ends of profiles, the end of its lease."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pytest_k8s_netem.model.impairment import SECOND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from pytest_k8s_netem.agent.loop import Loop, Timer
    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.plan import Plan, Stage
    from pytest_k8s_netem.model.timeline import Timeline

    class Held(Protocol):
        """Who is told."""

        def segment(self, stage_id: str, index: int, impairment: Impairment) -> None:
            """A stage's next segment begins."""

        def profile_over(self, profile: str) -> None:
            """A profile's duration is over."""

        def lease_over(self) -> None:
            """Nobody renewed the plan in time."""


def holds(timeline: Timeline, elapsed: int) -> tuple[Impairment, int | None]:
    """:meth:`Timeline.at`, with a queue limit also where the timeline is over (netem drops all at a limit of 0)."""
    impairment, end = timeline.at(elapsed)
    if impairment.limit:
        return impairment, end
    return replace(impairment, limit=max(1, *(part.limit for part in timeline.impairments))), end


def position(timeline: Timeline, elapsed: int) -> int:
    """Index of the segment that holds ``elapsed`` ns after the start; the number of segments once all are over."""
    if timeline.repeat and all(segment.duration is not None for segment in timeline.segments):
        elapsed %= sum(segment.duration or 0 for segment in timeline.segments)
    for index, segment in enumerate(timeline.segments):
        if segment.duration is None or elapsed < segment.duration:
            return index
        elapsed -= segment.duration
    return len(timeline.segments)


class Schedule:
    """The timers of one target; :meth:`start` at each commit, :meth:`stop` when nothing is in force."""

    def __init__(self, loop: Loop, held: Held) -> None:
        self._loop = loop
        self._held = held
        self._timers: list[Timer] = []
        self._lease: Timer | None = None
        self._begun: dict[str, tuple[Timeline, int]] = {}

    def current(self, stage: Stage) -> Impairment:
        """What the stage is to hold now: at its start, unless it is in force already."""
        return holds(stage.timeline, self._elapsed(stage))[0]

    def start(self, plan: Plan) -> None:
        """Set every timer of a plan that comes into force now."""
        self._cancel()
        now = self._loop.now()
        self._begun = {stage.id: (stage.timeline, now - self._elapsed(stage)) for stage in plan.stages}
        for stage in plan.stages:
            self._plan_segment(stage)
        for profile, seconds in plan.durations:
            self._after(seconds, partial(self._held.profile_over, profile))
        self.renew(plan.ttl)

    def renew(self, ttl: float | None) -> None:
        """Let the lease end ``ttl`` seconds from now; None = never."""
        if self._lease is not None:
            self._lease.cancel()
        self._lease = None
        if ttl is not None:
            self._lease = self._loop.after(round(ttl * SECOND), self._held.lease_over)

    @property
    def leased(self) -> bool:
        """Whether a lease runs."""
        return self._lease is not None

    def stop(self) -> None:
        """Forget all timers and timelines."""
        self._cancel()
        self.renew(None)
        self._begun.clear()

    def _elapsed(self, stage: Stage) -> int:
        timeline, begun = self._begun.get(stage.id, (None, 0))
        return self._loop.now() - begun if timeline == stage.timeline else 0

    def _plan_segment(self, stage: Stage) -> None:
        _impairment, end = holds(stage.timeline, self._elapsed(stage))
        if end is not None:
            begun = self._begun[stage.id][1]
            self._timers.append(self._loop.at(begun + end, lambda: self._next_segment(stage)))

    def _next_segment(self, stage: Stage) -> None:
        self._timers = [timer for timer in self._timers if not timer.cancelled]
        elapsed = self._elapsed(stage)
        self._plan_segment(stage)  # before telling: who is told may stop everything
        self._held.segment(stage.id, position(stage.timeline, elapsed), holds(stage.timeline, elapsed)[0])

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(self._loop.after(round(seconds * SECOND), call))

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
