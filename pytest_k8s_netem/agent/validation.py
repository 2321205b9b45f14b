"""Whether a decoded plan makes sense by itself, before any kernel is asked."""

from __future__ import annotations

import math

from pytest_k8s_netem.model.impairment import MILLISECOND, SECOND
from pytest_k8s_netem.model.plan import MAX_CLASSES
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_k8s_netem.model.plan import Check, Plan, Stage

SHORTEST_SEGMENT = MILLISECOND
"""ns; shorter ones could not be held in time."""


def problems(plan: Plan, target: str) -> tuple[Problem, ...]:
    """What is wrong with a plan for this target; empty = nothing."""
    return (*_names(plan, target), *_classes(plan), *_stages(plan), *_times(plan), *check_problems(plan.checks))


def _names(plan: Plan, target: str) -> Iterator[Problem]:
    if plan.target != target:
        yield Problem("plan.target", plan.target, f"sent to {target}")
    for what, ids in (("classes", (c.id for c in plan.classes)), ("stages", (s.id for s in plan.stages))):
        for repeated in _repeated(ids):
            yield Problem(f"plan.{what}", repeated, "two have this id")


def _repeated(ids: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            yield name
        seen.add(name)


def _classes(plan: Plan) -> Iterator[Problem]:
    stages = {stage.id: stage for stage in plan.stages}
    for interface, direction, classes in plan.sides():
        if len(classes) > MAX_CLASSES:
            path = f"plan.classes[{interface},{direction.value}]"
            yield Problem(path, str(len(classes)), f"more than {MAX_CLASSES} classes", "let fewer profiles overlap")
    for at, entry in enumerate(plan.classes):
        for name in entry.stages:
            if name not in stages:
                yield Problem(f"plan.classes[{at}].stages", name, "no such stage in the plan")
            elif stages[name].direction != entry.direction:
                yield Problem(f"plan.classes[{at}].stages", name, f"this stage is for {stages[name].direction.value}")


def _stages(plan: Plan) -> Iterator[Problem]:
    for stage in plan.stages:
        yield from (problem.under(f"plan.stages[{stage.id}].timeline") for problem in _timeline(stage))


def _timeline(stage: Stage) -> Iterator[Problem]:
    segments = stage.timeline.segments
    if not segments:
        yield Problem("segments", "", "none", "give at least one")
    for at, segment in enumerate(segments):
        if segment.duration is not None and segment.duration < SHORTEST_SEGMENT:
            yield Problem(f"segments[{at}].duration", str(segment.duration), "shorter than 1 ms")
        if segment.impairment.limit <= 0:
            yield Problem(f"segments[{at}].impairment.limit", str(segment.impairment.limit), "must be above 0")


def _times(plan: Plan) -> Iterator[Problem]:
    named = [("plan.ttl", plan.ttl), *((f"plan.durations[{name}]", value) for name, value in plan.durations)]
    for path, seconds in named:
        if seconds is not None and not is_time(seconds):
            yield Problem(path, str(seconds), "must be above 0 and at most a year, in seconds")


MOST_PROBES, LARGEST_PROBE, LONGEST_PROBE = 10_000, 65_000, 60 * SECOND
"""Packets, bytes of payload and ns of a single check."""


def check_problems(checks: Iterable[Check]) -> Iterator[Problem]:
    """What is wrong with checks, a plan's or a probe's own; a result is found by its check's id."""
    checks = tuple(checks)
    for repeated in _repeated(check.id for check in checks):
        yield Problem("checks", repeated, "two have this id")
    for check in checks:
        bounds = (
            ("kind", check.kind, check.kind in ("icmp", "tcp", "read-back"), "no such kind"),
            ("count", check.count, 0 <= check.count <= MOST_PROBES, f"must be 0..{MOST_PROBES}"),
            ("size", check.size, 0 <= check.size <= LARGEST_PROBE, f"must be 0..{LARGEST_PROBE}"),
            ("port", check.port, 0 <= check.port <= 65535, "must be 0..65535"),
            ("interval", check.interval, 0 <= check.interval * check.count <= LONGEST_PROBE, "takes over a minute"),
            ("timeout", check.timeout, 0 <= check.timeout <= LONGEST_PROBE, "over a minute"),
        )
        for name, value, right, why in bounds:
            if not right:
                yield Problem(f"checks[{check.id}].{name}", str(value), why)


def is_time(seconds: float) -> bool:
    """Whether it can be a ttl or duration: seconds, finite, above 0, at most a year."""
    return math.isfinite(seconds) and 0 < seconds <= 366 * 86400
