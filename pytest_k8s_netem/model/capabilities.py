"""What an agent's kernel can do, and whether that is enough for a plan."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.plan import Plan


@dataclass(frozen=True, slots=True)
class EngineCapability:
    """One engine on one kernel.

    :ivar available: whether it can be used at all; else ``missing`` says what lacks and what to do about it.
    :ivar refuses: what it cannot do: names of :attr:`Impairment.changed_fields`, ``loss.EveryNth``, ``seed``.
    """

    name: str
    available: bool
    missing: str = ""
    refuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
        return (Problem("engine", plan.engine, f"not available on {plan.target} (Linux {capabilities.kernel}): {why}"),)
    problems = []
    for stage in plan.stages:
        for impairment in stage.timeline.impairments:
            asked = {*impairment.changed_fields(), f"loss.{type(impairment.loss).__name__}"}
            problems += [
                Problem(
                    name,
                    "",
                    f"the {engine.name} engine cannot do this on Linux {capabilities.kernel}",
                    "leave it out, or choose another engine with --netem-engine",
                ).under(stage.profile)
                for name in engine.refuses
                if name in asked
            ]
    return tuple(dict.fromkeys(problems))
