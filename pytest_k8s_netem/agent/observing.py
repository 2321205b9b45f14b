"""A target's Observed: read from the kernel, less what was counted before the plan was verified."""

from __future__ import annotations

from dataclasses import fields, replace

from pytest_k8s_netem.model.observed import ClassObserved, Observed, StageObserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_k8s_netem.agent.change import Held, Side
    from pytest_k8s_netem.agent.ground import Ground

Reading = tuple["dict[str, ClassObserved]", "dict[tuple[int, str], StageObserved]"]
"""Raw counters at one moment: of classes, and of stages by the sink that holds them."""
NOTHING: Reading = ({}, {})
"""Before there is a plan."""

_COUNTERS = ("passed", "dropped", "delayed", "duplicated", "corrupted", "reordered", "lagged", "lost")


class Counters:
    """Raw readings of the plan in force, and the readings to take off them."""

    def __init__(self) -> None:
        self._classes: dict[str, ClassObserved] = {}
        self._stages: dict[tuple[int, str], StageObserved] = {}

    def classes(self, held: Held) -> dict[str, ClassObserved]:
        """Each class since the last :meth:`restart`; one whose filters cannot be read is not held.

        Never below nothing: filters that were installed anew count from 0.
        """
        return {name: _since(seen, self._classes.get(name)) for name, seen in raw_classes(held).items()}

    def stages(self, held: Held) -> dict[str, StageObserved]:
        """Each stage since the last :meth:`restart`, over all sides that hold it."""
        found: dict[str, StageObserved] = {}
        for side in held.sides:
            for name, seen in _read_sink(side).items():
                less = _less(seen, self._stages.get((id(side.sink), name)))
                found[name] = _joined(found[name], less) if name in found else less
        return found

    def restart(self, held: Held, under_test: frozenset[str]) -> frozenset[str]:
        """Count anew from here, but for profiles that are :attr:`Target.under_test`; the classes that do."""
        classes, stages = reading(held)
        profiles = {stage.id: stage.profile for stage in held.plan.stages}
        tested = {entry.id for entry in held.plan.classes if under_test & {profiles[name] for name in entry.stages}}
        self._classes |= {name: seen for name, seen in classes.items() if name not in tested}
        self._stages |= {key: seen for key, seen in stages.items() if profiles.get(key[1]) not in under_test}
        return frozenset(classes.keys() - tested)

    def spare(self, name: str, packets: int, octets: int) -> None:
        """Leave out some more of a class's packets, probes that were sent since."""
        before = self._classes.get(name, ClassObserved())
        self._classes[name] = replace(before, packets=before.packets + packets, bytes=before.bytes + octets)

    def forget(self) -> None:
        """Nothing is in force any more."""
        self._classes.clear()
        self._stages.clear()

    def pass_on(self, sides: list[Side], old: Held | None, counted: Reading) -> None:
        """Count for the next plan what comes after ``counted``; filters and sinks that ``old`` had not count from 0."""
        classes, stages = counted
        kept = {
            entry.id
            for side in sides
            for entry in side.classes
            if old is not None and any(side.hooked is before.hooked for before in old.sides)
        }
        sinks = {id(side.sink) for side in sides}
        self._classes = {name: seen for name, seen in classes.items() if name in kept}
        self._stages = {key: seen for key, seen in stages.items() if key[0] in sinks}


def reading(held: Held) -> Reading:
    """Everything that counts, now."""
    stages = {(id(side.sink), name): seen for side in held.sides for name, seen in _read_sink(side).items()}
    return raw_classes(held), stages


def raw_classes(held: Held) -> dict[str, ClassObserved]:
    """Each class as the kernel holds it; not held where it cannot be read."""
    found = {entry.id: ClassObserved() for entry in held.plan.classes}
    for side in held.sides:
        if side.hooked is not None:
            try:
                found |= side.hooked.read()
            except OSError:
                continue
    return found


def _read_sink(side: Side) -> dict[str, StageObserved]:
    """A side's stages; none where its sink cannot be read."""
    try:
        return side.sink.read() if side.sink is not None else {}
    except OSError:
        return {}


def _since(seen: ClassObserved, before: ClassObserved | None) -> ClassObserved:
    if before is None or before.packets > seen.packets:
        return seen
    return replace(seen, packets=seen.packets - before.packets, bytes=max(seen.bytes - before.bytes, 0))


def _less(seen: StageObserved, before: StageObserved | None) -> StageObserved:
    if before is None:
        return seen
    counted: dict[str, Any] = {name: (getattr(seen, name), getattr(before, name)) for name in _COUNTERS}
    return replace(
        seen, **{name: max(now - (then or 0), 0) for name, (now, then) in counted.items() if now is not None}
    )


def _joined(one: StageObserved, other: StageObserved) -> StageObserved:
    """A stage that two sides hold: counters add up, the worse lateness counts."""
    sums: dict[str, Any] = {
        f.name: (getattr(one, f.name) or 0) + (getattr(other, f.name) or 0)
        for f in fields(StageObserved)
        if f.name in {*_COUNTERS, "backlog"} and getattr(one, f.name) is not None
    }
    late = max((late for late in (one.late_p99, other.late_p99) if late is not None), default=None)
    return replace(one, **sums, late_p99=late)


def observe(target: str, ground: Ground, held: Held, counters: Counters) -> Observed:
    """Read a plan in force back.

    :raises OSError: if the namespace cannot be read at all.
    """
    touched = {*held.plan.carrier, *(entry.interface for entry in held.plan.classes)}
    return Observed(
        target,
        plan=held.plan.digest,
        engine=held.plan.engine,
        baseline=not ground.ours(),
        interfaces=tuple(link.name for link in ground.interfaces() if link.up and link.name in touched),
        classes=tuple(counters.classes(held).items()),
        stages=tuple(counters.stages(held).items()),
        foreign=ground.foreign(),
    )


def observe_healed(target: str, ground: Ground, healed_by: str, leaving: bool) -> Observed:
    """Read back that nothing is in force.

    :param leaving: whether sinks of an earlier plan are still on their way out; else what is there is residue.
    :raises OSError: if the namespace cannot be read at all.
    """
    ours = ground.ours()
    return Observed(
        target,
        baseline=not ours,
        foreign=ground.foreign(),
        healed_by=healed_by,
        residue=() if leaving else ours,
    )
