"""From one plan to the next without a gap: build aside, switch filters over, retire what is no longer met."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from pytest_k8s_netem.agent.loop import guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_k8s_netem.agent.dataplane.engine import Sink
    from pytest_k8s_netem.agent.ground import Ground, Hooked
    from pytest_k8s_netem.model.capabilities import Interface
    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.plan import Class, Direction, Plan, Stage

    Now = Callable[[Stage], Impairment]
    """What a stage is to hold at the moment of asking."""


class Missing(Exception):
    """The plan names an interface that the target has not; the message is the name."""


@dataclass(slots=True)
class Side:
    """One interface and direction of a plan.

    :ivar sink: None where all classes are spared. :ivar hooked: None while nothing is redirected.
    :ivar holds: what each stage was last told to hold.
    :ivar taken: the side in force whose sink this one goes on to use.
    """

    interface: Interface
    direction: Direction
    classes: tuple[Class, ...]
    sink: Sink | None = None
    hooked: Hooked | None = None
    holds: dict[str, Impairment] = field(default_factory=dict)
    taken: Side | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """Ids of the stages that its classes pass."""
        return tuple(dict.fromkeys(name for entry in self.classes for name in entry.stages))


@dataclass(slots=True)
class Held:
    """A plan and its sides; :attr:`lowered`: interfaces set down for it that were up."""

    plan: Plan
    sides: list[Side] = field(default_factory=list)
    lowered: tuple[str, ...] = ()

    def sinks(self) -> list[Sink]:
        """Its sinks."""
        return [side.sink for side in self.sides if side.sink is not None]


class Undo:
    """Steps back, taken in reverse order when a later step forward fails."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def add(self, step: Callable[[], object]) -> None:
        """Note how to take back what was just done."""
        self._steps.append(step)

    def run(self) -> None:
        """Take everything back; a step that fails does not keep the others."""
        while self._steps:
            guarded(self._steps.pop())


def build(ground: Ground, plan: Plan, held: Held | None, now: Now, discard: Callable[[Sink], object]) -> Held:
    """Make what the plan needs and the plan in force has not; no packet is redirected yet.

    :param discard: takes each sink that was made when a later step fails.
    :raises Missing: for an interface that is not there.
    :raises OSError: if the kernel refuses. Likewise ImpairmentError.
    """
    undo = Undo()
    interfaces = {interface.name: interface for interface in ground.interfaces()}
    stages = {stage.id: stage for stage in plan.stages}
    result = Held(plan)
    for name in (*plan.carrier, *(entry.interface for entry in plan.classes)):
        if name not in interfaces:
            raise Missing(name)
    try:
        for name, direction, classes in plan.sides():
            side = Side(interfaces[name], direction, classes)
            result.sides.append(side)
            ground.ready(side.interface)
            side.taken = _usable(held, side, stages, plan.engine)
            if side.taken is not None:
                side.sink = side.taken.sink
            elif side.stages:
                side.holds = {stage: now(stages[stage]) for stage in side.stages}
                side.sink = ground.engine(plan.engine).sink(side.interface, direction, classes, stages, side.holds)
                undo.add(partial(discard, side.sink))
    except BaseException:
        undo.run()
        raise
    return result


def _usable(held: Held | None, side: Side, stages: Mapping[str, Stage], engine: str) -> Side | None:
    """The side in force whose sink can hold the new side's stages as it is."""
    if held is None or held.plan.engine != engine:
        return None
    for old in held.sides:
        if (old.interface.index, old.direction) == (side.interface.index, side.direction) and old.sink is not None:
            return old if side.stages and old.sink.fits(side.classes, stages) else None
    return None


def discarded(built: Held) -> list[Sink]:
    """The sinks that :func:`build` made for what does not come into force."""
    return [side.sink for side in built.sides if side.sink is not None and side.taken is None]


def switch(ground: Ground, built: Held, held: Held | None, now: Now) -> list[Sink]:
    """Bring what was built into force in place of ``held``; return the sinks that are no longer met.

    :raises OSError: if the kernel refuses; what was in force is in force again, and what was built is as it was.
    """
    undo = Undo()
    try:
        for side in built.sides:
            _hold(side, built.plan, now, undo)
            _hook(ground, side, undo)
        built.lowered = _carrier(ground, built.plan.carrier, held.lowered if held else (), undo)
    except BaseException:
        undo.run()
        raise
    if held is None:
        return []
    unhook(side for side in held.sides if not any(side.hooked is new.hooked for new in built.sides))
    return [sink for sink in held.sinks() if not any(sink is kept for kept in built.sinks())]


def _hold(side: Side, plan: Plan, now: Now, undo: Undo) -> None:
    """Let a sink that is reused, or was built a while ago, hold what its stages are to hold now."""
    if side.taken is not None:
        side.holds = dict(side.taken.holds)
    for name in side.stages if side.sink is not None else ():
        wanted, before = now(plan.stage(name)), side.holds.get(name)
        if wanted != before:
            tell(side, name, wanted)
            if before is not None:
                undo.add(partial(tell, side, name, before))


def tell(side: Side, stage_id: str, impairment: Impairment) -> None:
    """Let a side's sink hold something else in a stage.

    :raises OSError: if the kernel refuses; it then holds what it held before.
    """
    if side.sink is not None:
        side.sink.hold(stage_id, impairment)
        side.holds[stage_id] = impairment


def _hook(ground: Ground, side: Side, undo: Undo) -> None:
    old = side.taken
    if old is not None and old.hooked is not None and old.classes == side.classes and is_whole(old.hooked):
        side.hooked = old.hooked
        return
    redirects = {entry.id: side.sink.redirect(entry.id) for entry in side.classes if entry.stages and side.sink}
    side.hooked = hooked = ground.install(side.interface, side.direction, side.classes, redirects)
    undo.add(hooked.remove)


def is_whole(hooked: Hooked) -> bool:
    """Whether the kernel holds every filter that was installed."""
    try:
        return all(seen.held for seen in hooked.read().values())
    except OSError:
        return False


def are_whole(sides: Iterable[Side]) -> bool:
    """Whether the kernel holds every filter of these sides."""
    return all(side.hooked is None or is_whole(side.hooked) for side in sides)


def _carrier(ground: Ground, wanted: Sequence[str], lowered: Sequence[str], undo: Undo) -> tuple[str, ...]:
    """Set interfaces down and up again; return those that are down because of us."""
    down = [name for name in wanted if name in lowered]
    for name in (name for name in wanted if name not in lowered):
        if ground.set_up(name, up=False):
            down.append(name)
            undo.add(partial(ground.set_up, name, up=True))
    for name in (name for name in lowered if name not in wanted):
        ground.set_up(name, up=True)
        undo.add(partial(ground.set_up, name, up=False))
    return tuple(down)


def unhook(sides: Iterable[Side]) -> None:
    """Take filters off; one that cannot be taken off is left for the next reading to report."""
    for side in sides:
        if side.hooked is not None:
            guarded(side.hooked.remove)
            side.hooked = None


def raise_carrier(ground: Ground, held: Held) -> None:
    """Set up again what was set down for the plan."""
    for name in held.lowered:
        guarded(ground.set_up, name, True)
