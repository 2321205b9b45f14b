"""A target: one namespace, the plan that is in force there, and the one that is prepared."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8s_netem.agent import change
from pytest_k8s_netem.agent.drain import LONGEST, Drains
from pytest_k8s_netem.agent.observing import NOTHING, Counters, observe, observe_healed, reading
from pytest_k8s_netem.agent.proving import Probes
from pytest_k8s_netem.agent.schedule import Schedule
from pytest_k8s_netem.agent.validation import problems
from pytest_k8s_netem.agent.workers import Workers
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.capabilities import check
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.model.wire import OBSERVED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_k8s_netem.agent.dataplane.engine import Sink
    from pytest_k8s_netem.agent.ground import Ground
    from pytest_k8s_netem.agent.loop import Loop
    from pytest_k8s_netem.model.capabilities import Capabilities
    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.observed import CheckObserved, Observed
    from pytest_k8s_netem.model.plan import Plan


class Target:
    """What the keeper does to one namespace; nothing here waits.

    :ivar name: as frames name it. :ivar tell: given each event, to be sent to every session.
    :ivar probed: profiles of the plan in force that wait for no probe of its owner (any more).
    :ivar under_test: those that were so under the plan before it: a test's packets meet them while this one is probed.
    """

    def __init__(self, name: str, ground: Ground, loop: Loop, tell: Callable[[dict[str, Any]], None]) -> None:
        self.name = name
        self.ground = ground
        self.held: change.Held | None = None
        self.prepared: change.Held | None = None
        self.counters = Counters()
        self.checks: tuple[CheckObserved, ...] = ()
        self.probed: frozenset[str] = frozenset()
        self.under_test: frozenset[str] = frozenset()
        self.changes = 0
        self.probes = Probes(self, loop)
        self._loop = loop
        self._tell = tell
        self._drains = Drains(loop)
        self._schedule = Schedule(loop, self)
        self._workers = Workers(loop, lambda: self._end("worker"), self._overloaded)
        self._healed_by = ""
        ground.clear()

    # What a session asks for

    def prepare(self, plan: Plan, capabilities: Capabilities) -> None:
        """Build a plan beside the one in force.

        :raises ImpairmentError: with the problems; nothing has changed then; what was prepared before goes.
        """
        self.abort()
        found = problems(plan, self.name)
        if plan.stages and not found:  # carriers and spared packets need no engine
            found = tuple(problem.under("plan") for problem in check(plan, capabilities))
        if found:
            raise ImpairmentError("", found)
        try:
            self.prepared = change.build(self.ground, plan, self.held, self._schedule.current, self._discard)
        except change.Missing as missing:
            there = ", ".join(interface.name for interface in self.ground.interfaces())
            problem = Problem("plan.interface", str(missing), f"{self.name} has no such interface", f"it has {there}")
            raise ImpairmentError("", (problem,)) from None
        except OSError as error:
            raise self._refused("prepare", error) from error

    def commit(self, digest: str) -> dict[str, Any]:
        """Bring what was prepared into force; what was counted until then under the plan that it replaces.

        :raises ImpairmentError: if that is not prepared, or the kernel refuses: what was in force stays in force.
        """
        built = self.prepared
        if built is None or built.plan.digest != digest:
            seen = built.plan.digest if built else "nothing"
            raise ImpairmentError("", (Problem("digest", digest, f"prepared is {seen}", "prepare the plan first"),))
        self.prepared = None
        last = self._last() if self.held is not None else {}
        try:
            retired = self._switch(built)
        except OSError as error:
            raise self._refused("commit", error) from error
        self._in_force(built, retired)
        return last

    def when_clear(self, call: Callable[[], None]) -> None:
        """Run ``call`` once nothing is left of what was taken back or replaced, now if that is so."""
        self._drains.when_done(call)

    def abort(self) -> None:
        """Take back what was prepared."""
        if self.prepared is not None:
            self._retire(change.discarded(self.prepared), 0)
            self.prepared = None

    def renew(self, ttl: float) -> None:
        """Let the lease of what is in force end ``ttl`` seconds from now; a plan without one stays without."""
        if self._schedule.leased:
            self._schedule.renew(ttl)

    @property
    def leased(self) -> bool:
        """Whether the plan in force ends by itself if nobody renews it."""
        return self._schedule.leased

    def heal(self, cause: str, done: Callable[[], None], patience: int = LONGEST) -> None:
        """Filters off now; ``done`` once queues have drained, ``patience`` ns at most, and all devices are gone."""
        self.abort()
        if self.held is not None:
            last = self._last() if cause == "duration" else {}
            held, self.held = self.held, None
            self._healed_by = cause
            self._forget()
            change.unhook(held.sides)
            change.raise_carrier(self.ground, held)
            self._retire(held.sinks(), patience)
            if cause != "request":
                self._drains.when_done(lambda: self._say_healed(cause, last))
        self._drains.when_done(done)

    def observe(self) -> Observed:
        """Read everything back.

        :raises OSError: if the namespace cannot be read.
        """
        with self.ground.looking():
            if self.held is None:
                leaving = self._drains.busy or self.prepared is not None
                return observe_healed(self.name, self.ground, self._healed_by, leaving)
            return replace(observe(self.name, self.ground, self.held, self.counters), checks=self.checks)

    def reseed(self) -> None:
        """Let random states that a probe has drawn from start anew: netem does with each message that seeds it."""
        if self.held is not None and self.held.plan.engine == "kernel":
            for side in self.held.sides:
                for name in side.stages:
                    if self.held.plan.stage(name).seed is not None:
                        change.tell(side, name, side.holds[name])

    def proven(self, checks: tuple[CheckObserved, ...], keep: bool) -> Observed:
        """Read everything back, with the results of a probe; ``keep``: they are the plan's own, remember them.

        :raises OSError: if the namespace cannot be read.
        """
        if keep and self.held is not None:
            self.checks = checks
        return replace(self.observe(), checks=checks)

    def leave(self, done: Callable[[], None], cause: str = "request", patience: int = LONGEST) -> None:
        """Heal, then put the namespace back as it was before the agent came."""

        def gone() -> None:
            self.ground.leave()
            done()

        self.heal(cause, gone, patience)

    # What time and workers do

    def segment(self, stage_id: str, index: int, impairment: Impairment) -> None:
        """Let a stage hold its next segment."""
        sides = [side for side in (self.held.sides if self.held else ()) if stage_id in side.stages]
        if not sides:
            return
        try:
            for side in sides:
                change.tell(side, stage_id, impairment)
        except OSError:
            self._end("worker")
            raise
        self._tell({"event": "segment", "target": self.name, "stage": stage_id, "index": index})

    def profile_over(self, profile: str) -> None:
        """End one profile: what only it did ends, packets that others take too still meet those."""
        if self.held is None:
            return
        rest = without(self.held.plan, profile)
        if not any(entry.stages for entry in rest.classes) or not change.are_whole(self.held.sides):
            self._end("duration")  # what somebody took off, mostly the next run's agent, does not come back by itself
            return
        last = self._last()
        try:
            self.abort()
            built = change.build(self.ground, rest, self.held, self._schedule.current, self._discard)
            retired = self._switch(built)
        except Exception:
            self._end("duration")  # better nothing than too much
            raise
        self._in_force(built, retired, timers=False)
        self._tell({"event": "ended", "target": self.name, "profile": profile, **last})

    def lease_over(self) -> None:
        """Nobody renewed the plan in time."""
        self._end("ttl")

    def _overloaded(self, stage_id: str) -> None:
        self._tell({"event": "overloaded", "target": self.name, "stage": stage_id})

    def _end(self, cause: str) -> None:
        self.heal(cause, lambda: None)

    # Bookkeeping

    def _switch(self, built: change.Held) -> list[Sink]:
        """Bring what was built into force, and count from here; if the kernel refuses, nothing of it stays."""
        counted = reading(self.held) if self.held is not None else NOTHING
        try:
            retired = change.switch(self.ground, built, self.held, self._schedule.current)
        except BaseException:
            self._retire(change.discarded(built), 0)
            raise
        self.counters.pass_on(built.sides, self.held, counted)
        return retired

    def _in_force(self, built: change.Held, retired: list[Sink], timers: bool = True) -> None:
        self.changes += 1
        self.under_test = (self.under_test | self.probed) & built.plan.profiles
        self.probed = built.plan.profiles - {check.profile for check in built.plan.checks}
        self.held = None if built.plan.empty else built
        self._healed_by = "" if self.held else "request"
        for side in built.sides:
            side.taken = None
        self._workers.follow(self.held)
        self._retire(retired)
        if self.held is None:
            self._forget()
        elif timers:
            self.checks = ()
            self._schedule.start(built.plan)

    def _forget(self) -> None:
        self.changes += 1
        self.checks = ()
        self.probed = self.under_test = frozenset()
        self.counters.forget()
        self.probes.cancel()
        self._schedule.stop()
        self._workers.follow(None)

    def _retire(self, sinks: list[Sink], patience: int = LONGEST) -> None:
        for sink in sinks:
            self._drains.add(sink, patience)

    def _discard(self, sink: Sink) -> None:
        self._drains.add(sink, 0)

    def _say_healed(self, cause: str, last: dict[str, Any]) -> None:
        seen = OBSERVED.encode(self.observe())
        self._tell({"event": "healed", "target": self.name, "cause": cause, "observed": seen, **last})

    def _last(self) -> dict[str, Any]:
        """What was counted until now, for an event that ends the counting; nothing where it cannot be read."""
        try:
            return {"last": OBSERVED.encode(self.observe())}
        except OSError:
            return {}

    def _refused(self, step: str, error: OSError) -> ImpairmentError:
        why = f"the kernel refused to {step} the plan: {error}"
        return ImpairmentError("", (Problem(f"target {self.name}", "", why),))


def without(plan: Plan, profile: str) -> Plan:
    """The plan less one profile: its stages leave every class; a class left without any spares its packets."""
    gone = {stage.id for stage in plan.stages if stage.profile == profile}
    return replace(
        plan,
        classes=tuple(replace(c, stages=tuple(s for s in c.stages if s not in gone)) for c in plan.classes),
        stages=tuple(stage for stage in plan.stages if stage.id not in gone),
        checks=tuple(check for check in plan.checks if check.profile != profile),
        durations=tuple(pair for pair in plan.durations if pair[0] != profile),
        _digest=[],
    )
