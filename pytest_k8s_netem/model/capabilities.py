"""What an agent's kernel can do, and whether that is enough for a plan."""

from __future__ import annotations

from pytest_k8s_netem.model.frozen import frozen
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.plan import Plan


ENGINE = "engine"
"""Path of the problem that the engine as a whole is not available: a missing need, not a wrong word."""
BRANCHES = "branches"
"""Of a plan: packets part ways behind a stage, some go on to a further one."""


@frozen
class EngineCapability:
    """One engine on one kernel.

    :ivar available: whether it can be used at all; else ``missing`` says what lacks and what to do about it.
    :ivar refuses: what it cannot do: names of :attr:`Impairment.changed_fields`, ``loss.EveryNth``, :data:`BRANCHES`.
    :ivar unpromised: what it takes, and cannot promise the whole effect of: such names too, and ``seed``. Every plan
        has a seed, asked for or drawn, so one that is not repeated is no reason to refuse.
    """

    name: str
    available: bool
    missing: str = ""
    refuses: tuple[str, ...] = ()
    unpromised: tuple[str, ...] = ()


@frozen
class Interface:
    """A network interface of a target.

    :ivar default: the route to everywhere goes out of it. :ivar addresses: textual, without prefix length.
    """

    name: str
    index: int
    mtu: int
    mac: str
    up: bool
    default: bool
    addresses: tuple[str, ...] = ()


@frozen
class Capabilities:
    """An agent's kernel: engines in order of preference, classifiers that load, privileges held."""

    kernel: str
    engines: tuple[EngineCapability, ...]
    classifiers: tuple[str, ...] = ()
    privileges: tuple[str, ...] = ()

    def engine(self, name: str) -> EngineCapability | None:
        """The engine of that name, or None if this agent knows none."""
        return next((engine for engine in self.engines if engine.name == name), None)

    @property
    def preferred(self) -> str:
        """The first engine that can be used; "" if none can."""
        return next((engine.name for engine in self.engines if engine.available), "")


def check(plan: Plan, capabilities: Capabilities) -> tuple[Problem, ...]:
    """What of the plan this kernel cannot do; empty = everything can be done."""
    engine = capabilities.engine(plan.engine)
    if plan.empty:
        return ()
    if engine is None or not engine.available:
        why = engine.missing if engine else "no such engine"
        return (Problem(ENGINE, plan.engine, f"not available on {plan.target} (Linux {capabilities.kernel}): {why}"),)
    problems = [
        _refusal(name, engine, capabilities).under(stage.profile)
        for stage in plan.stages
        for impairment in stage.timeline.impairments
        for name in asked(impairment)
        if name in engine.refuses
    ]
    if BRANCHES in engine.refuses:
        problems += [_refusal(BRANCHES, engine, capabilities).under(name) for name in _branching(plan)]
    return tuple(dict.fromkeys(problems))


def _refusal(name: str, engine: EngineCapability, capabilities: Capabilities) -> Problem:
    why = f"the {engine.name} engine cannot do this on Linux {capabilities.kernel}"
    return Problem(name, "", why, "leave it out, or choose another engine with --netem-engine")


def asked(impairment: Impairment) -> tuple[str, ...]:
    """What it wants of an engine, by the names of :attr:`EngineCapability.refuses`."""
    return (*impairment.changed_fields(), f"loss.{type(impairment.loss).__name__}")


def _branching(plan: Plan) -> Iterator[str]:
    """Profiles behind whose stages packets part ways."""
    for _, _, classes in plan.sides():
        ways: dict[tuple[str, ...], set[str]] = {}
        for entry in classes:
            for depth in range(1, len(entry.stages) + 1):
                ways.setdefault(entry.stages[:depth], set()).add("".join(entry.stages[depth : depth + 1]))
        yield from (plan.stage(chain[-1]).profile for chain, then in ways.items() if len(then) > 1)
