"""What one pod's kernel shall hold: engine, interface, stages and classes; probes are planned on top of it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace

from pytest_k8s_netem.model.capabilities import check
from pytest_k8s_netem.model.plan import MAX_CLASSES, Class, Direction, Plan, Stage
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.model.sizing import sized
from pytest_k8s_netem.model.timeline import Timeline
from pytest_k8s_netem.resolve.classes import TooManyOverlaps, compose, stage_id
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.regions import region
from pytest_k8s_netem.resolve.rules import side_of
from pytest_k8s_netem.resolve.select import profiles_by_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.model.capabilities import Capabilities, Interface
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile
    from pytest_k8s_netem.resolve.regions import Region
    from pytest_k8s_netem.resolve.world import TargetFacts

    Sides = dict[tuple[str, Direction], tuple[Class, ...]]

AUTO = "auto"
TOO_MANY_OVERLAPS = "TooManyOverlaps"
"""Reason of the condition Accepted=False; the path of the problem."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A plan without checks, and what could not be part of it.

    :ivar interfaces: by profile, the interface it is on. :ivar sides: the plan's classes by interface and direction.
    :ivar problems: (profile, problem).
    """

    plan: Plan
    interfaces: dict[str, str] = field(default_factory=dict)
    sides: dict[tuple[str, Direction], tuple[Class, ...]] = field(default_factory=dict)
    problems: tuple[tuple[str, Problem], ...] = ()

    def side(self, interface: str, direction: Direction) -> tuple[Class, ...]:
        """The classes of one side, in order; the same object on pods that share them."""
        return self.sides.get((interface, direction), ())


@once
def layout(index: Index, pod_key: str) -> Layout:
    """What the pod's kernel shall hold; profiles with problems are left out, the others stay."""
    facts = index.world.targets.get(pod_key)
    profiles = profiles_by_pod(index).get(pod_key, ())
    if facts is None or not profiles:
        return Layout(Plan(pod_key))
    problems: list[tuple[str, Problem]] = []
    placed = _placed(profiles, facts, problems)
    engine = _engine(placed, pod_key, facts.capabilities, problems)
    able = _able(placed, pod_key, engine, facts.capabilities, problems)
    sides = _sides(index, pod_key, able, problems)
    classes = tuple(one for side in sides.values() for one in side)
    met = {stage for one in classes for stage in one.stages}
    durations = tuple((profile.name, float(profile.duration)) for profile, _ in able if profile.duration is not None)
    plan = Plan(
        pod_key,
        engine,
        classes,
        tuple(stage for stage in _stages(able, pod_key) if stage.id in met),
        durations=tuple(entry for entry in durations if any(stage.startswith(f"{entry[0]}/") for stage in met)),
    )
    return Layout(plan, {profile.name: name for profile, name in able}, sides, tuple(problems))


Placed = list["tuple[TrafficProfile, str]"]
"""Profiles in the order in which packets meet them, each with its interface."""


def _placed(profiles: Iterable[TrafficProfile], facts: TargetFacts, problems: list[tuple[str, Problem]]) -> Placed:
    found: Placed = []
    for profile in profiles:
        place = interface_of(profile.interface, facts.interfaces)
        if isinstance(place, Problem):
            problems.append((profile.name, place))
        else:
            found.append((profile, place))
    return found


def interface_of(pattern: str, interfaces: tuple[Interface, ...]) -> str | Problem:
    """The interface that a profile means: the first by name that the expression takes, or the default route's."""
    names = sorted(interface.name for interface in interfaces)
    if not pattern:
        defaults = sorted(interface.name for interface in interfaces if interface.default)
        outside = [name for name in names if name != "lo"]
        if defaults or len(outside) == 1:
            return (defaults or outside)[0]
        return Problem("interface", "", "no interface has the default route", f"name one of {', '.join(names)}")
    try:
        taken = [name for name in names if re.match(pattern, name)]
    except re.error as error:
        return Problem("interface", pattern, f"not a regular expression: {error}", "write a name, as eth0")
    return taken[0] if taken else Problem("interface", pattern, "takes none of the pod's", f"{', '.join(names)} exist")


def _engine(placed: Placed, pod_key: str, capabilities: Capabilities, problems: list[tuple[str, Problem]]) -> str:
    """One engine a pod: the one that is asked for, else the first that can do all, else the preferred one."""
    asked = [(profile.engine, profile.name) for profile, _ in placed if profile.engine != AUTO]
    for engine, name in asked:
        if engine != asked[0][0]:
            why = f"profile {asked[0][1]} already asks for engine {asked[0][0]} on this pod, which can have one only"
            problems.append((name, Problem("engine", engine, why, "ask for the same engine, or for auto")))
    if asked:
        return asked[0][0]
    stages = tuple(_stages(placed, pod_key))
    for one in capabilities.engines:
        if one.available and not check(_trial(pod_key, one.name, stages), capabilities):
            return one.name
    return capabilities.preferred or Plan(pod_key).engine


def _able(
    placed: Placed, pod_key: str, engine: str, capabilities: Capabilities, problems: list[tuple[str, Problem]]
) -> Placed:
    """The profiles that the engine can do."""
    refused = {name for name, _ in problems}
    found: Placed = []
    for profile, interface in placed:
        stages = tuple(_stages([(profile, interface)], pod_key))
        faults = check(_trial(pod_key, engine, stages), capabilities)
        problems += [(profile.name, fault) for fault in faults]
        if not faults and profile.name not in refused:
            found.append((profile, interface))
    return found


def _trial(pod_key: str, engine: str, stages: tuple[Stage, ...]) -> Plan:
    """A plan to ask an engine's capabilities about; a class makes it one that wants something."""
    return Plan(pod_key, engine, (Class("", "", Direction.EGRESS, ()),) if stages else (), stages)


def _stages(placed: Placed, pod_key: str) -> Iterable[Stage]:
    for profile, _ in placed:
        for direction in Direction:
            if side := side_of(profile, direction):
                seed = _seed(profile.seed, pod_key, direction)
                yield Stage(stage_id(profile.name, direction), profile.name, direction, _sized(side.timeline), seed)


def _sized(timeline: Timeline) -> Timeline:
    segments = tuple(replace(segment, impairment=sized(segment.impairment)) for segment in timeline.segments)
    return replace(timeline, segments=segments)


def _seed(seed: int | None, pod_key: str, direction: Direction) -> int | None:
    """Another 63 bits for each pod and direction; by the pod's name alone, as namespaces are made anew for each run."""
    if seed is None:
        return None
    text = f"{seed}/{pod_key.partition('/')[2]}/{direction.value}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _sides(index: Index, pod_key: str, placed: Placed, problems: list[tuple[str, Problem]]) -> Sides:
    """Both directions of every interface; the profile that makes it too many overlaps is taken out."""
    while True:
        try:
            return _composed(index, pod_key, placed)
        except TooManyOverlaps:
            profile, _ = placed.pop()
            why = f"with the profiles before it, more than {MAX_CLASSES} sets of packets on one interface and direction"
            fix = "give overlapping profiles the same peers and ports, or fewer of them"
            problems.append((profile.name, Problem(TOO_MANY_OVERLAPS, "", why, fix)))


def _composed(index: Index, pod_key: str, placed: Placed) -> Sides:
    found: Sides = {}
    for interface in dict.fromkeys(name for _, name in placed):
        here = [profile for profile, name in placed if name == interface]
        for direction in Direction:
            regions = [region(index, pod_key, profile, direction) for profile in here if side_of(profile, direction)]
            found[interface, direction] = _side(index, tuple(regions), interface, direction)
    return found


@once
def _side(_: Index, regions: tuple[Region, ...], interface: str, direction: Direction) -> tuple[Class, ...]:
    """Pods whose regions are equal share the work; the index is only where it is remembered."""
    return compose(regions, interface, direction)
