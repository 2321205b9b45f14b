"""Probes of one target, one after the other, so that each sees its own growth of the counters."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from pytest_k8s_netem.agent.loop import guarded
from pytest_k8s_netem.agent.observing import raw_classes
from pytest_k8s_netem.agent.probe.child import Prober
from pytest_k8s_netem.agent.probe.legs import other_leg
from pytest_k8s_netem.model.observed import CheckObserved
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_k8s_netem.agent.loop import Loop
    from pytest_k8s_netem.agent.targets import Target
    from pytest_k8s_netem.model.observed import ClassObserved
    from pytest_k8s_netem.model.plan import Check

    Done = Callable[[tuple[CheckObserved, ...] | Problem], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    checks: tuple[Check, ...]
    owner: bool
    done: Done


class Probes:
    """The probe that runs and those that wait for it."""

    def __init__(self, target: Target, loop: Loop, prober: Callable[..., Prober] = Prober) -> None:
        self._target = target
        self._loop = loop
        self._make = prober
        self._running: Prober | None = None
        self._waiting: deque[_Asked] = deque()

    def ask(self, checks: tuple[Check, ...], owner: bool, done: Done) -> None:
        """Run checks when it is their turn; ``done`` gets the results, or why there are none.

        An owner's probe lets counters start anew, but for profiles that a test is meeting already; of those, as of a
        guest's probe, only its own packets are left out.
        """
        self._waiting.append(_Asked(checks, owner, done))
        self._next()

    def cancel(self) -> None:
        """End the probe that runs, without results; those that wait go on."""
        if self._running is not None:
            self._running.cancel()

    def _next(self) -> None:
        if self._running is not None or not self._waiting:
            return
        asked = self._waiting.popleft()
        before, change = self._read(), self._target.changes
        sent = tuple(check for check in asked.checks if check.count and check.kind != "read-back")

        def finished(results: tuple[CheckObserved, ...] | None) -> None:
            self._running = None
            self._finish(asked, results, before, change)
            self._next()

        if not sent:
            finished(())
            return
        try:
            self._running = self._make(self._loop, self._target.ground.fd, sent, finished)
        except OSError as error:
            asked.done(Problem("checks", "", f"the probe could not be started: {error}"))
            self._next()

    def _finish(
        self,
        asked: _Asked,
        results: tuple[CheckObserved, ...] | None,
        before: dict[str, ClassObserved],
        change: int,
    ) -> None:
        if results is None or change != self._target.changes:
            asked.done(Problem("checks", "", "the plan changed, or the prober died, while probing", "probe again"))
            return
        after = self._read()
        grown = {name: max(seen.packets - before[name].packets, 0) for name, seen in after.items() if name in before}
        seen = with_met(asked.checks, results, grown, self._ingress())
        self._leave_out(asked, before, after, seen)
        asked.done(seen)

    def _leave_out(
        self,
        asked: _Asked,
        before: dict[str, ClassObserved],
        after: dict[str, ClassObserved],
        seen: tuple[CheckObserved, ...],
    ) -> None:
        held, counters = self._target.held, self._target.counters
        if held is None:
            return
        anew: frozenset[str] = frozenset()
        if asked.owner:
            guarded(self._target.reseed)
            anew = counters.restart(held, self._target.under_test)
            self._target.probed = held.plan.profiles
        for entry, result in zip(asked.checks, seen, strict=True):
            other, direction = other_leg(held.plan, entry)
            back = result.answered if direction is Direction.INGRESS else result.sent
            for name, packets in ((entry.class_id, result.met), (other, back)):
                if name in after and name in before and name not in anew:
                    grown = after[name].packets - before[name].packets
                    octets = after[name].bytes - before[name].bytes
                    counters.spare(name, min(packets, grown), octets * min(packets, grown) // grown if grown > 0 else 0)

    def _read(self) -> dict[str, ClassObserved]:
        return raw_classes(self._target.held) if self._target.held else {}

    def _ingress(self) -> frozenset[str]:
        classes = self._target.held.plan.classes if self._target.held else ()
        return frozenset(entry.id for entry in classes if entry.direction is Direction.INGRESS)


def with_met(
    checks: tuple[Check, ...], results: tuple[CheckObserved, ...], grown: dict[str, int], ingress: frozenset[str]
) -> tuple[CheckObserved, ...]:
    """Results in the checks' order, each with the fewest packets of its own that went through its class.

    Where several checks share a class, of its growth all is taken off that the others can have caused for sure:
    what they sent, on the way out; what they were answered, on the way in.
    """
    found = {result.id: result for result in results}
    seen = []
    for check in checks:
        result = found.get(check.id, CheckObserved(check.id))
        others = [found[c.id] for c in checks if c.class_id == check.class_id and c.id != check.id and c.id in found]
        theirs = sum(other.answered if check.class_id in ingress else other.sent for other in others)
        seen.append(replace(result, met=min(max(grown.get(check.class_id, 0) - theirs, 0), result.sent)))
    return tuple(seen)
