"""Plans into force: all pods of a change are prepared, then committed together; pods without a plan are healed."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.controller.evidence import LATE, LATE_BROUGHT
from pytest_k8s_netem.controller.targets import digest
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.run import events
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.controller.evidence import GapBook
    from pytest_k8s_netem.controller.fleet import Emit, Fleet
    from pytest_k8s_netem.controller.profiles import ProfileBook
    from pytest_k8s_netem.controller.refusals import Failures, Refusals
    from pytest_k8s_netem.controller.takeover import Takeover
    from pytest_k8s_netem.controller.targets import Target
    from pytest_k8s_netem.controller.world import WorldKeeper
    from pytest_k8s_netem.model.plan import Plan
    from pytest_k8s_netem.resolve.index import Index

REPLACED_WITHIN = 2.0
"""Seconds for an agent that was killed to be replaced by one that clears what it left; it takes 0.1."""


class Forcing:
    """Tells agents their plans; one push at a time, healings go on beside it.

    :param mark: has pods looked at in the next round. :param healed: called when a healing has ended.
    """

    def __init__(
        self,
        keeper: WorldKeeper,
        book: ProfileBook,
        fleet: Fleet,
        *,
        gaps: GapBook,
        emit: Emit,
        refusals: Refusals,
        takeover: Takeover,
        mark: Callable[[Iterable[str]], None],
        healed: Callable[[], None],
    ) -> None:
        self._keeper, self._book, self._fleet, self._gaps, self._emit = keeper, book, fleet, gaps, emit
        self._refusals, self._takeover, self._mark, self._healed = refusals, takeover, mark, healed
        self._away: set[tuple[str, str]] = set()

    async def push(self, plans: Iterable[tuple[Target, Plan]], index: Index) -> Failures | None:
        """Prepare all, commit together; None: a profile was refused and the round begins again.

        :param index: of the world that the plans were made for.
        """
        declared = list(plans)
        wanted = [(target, self._timed(target, plan)) for target, plan in declared]
        for target, plan in wanted:
            target.leases |= self._leases(plan)
        await self._takeover.adopt(wanted)
        heals = [(target, self._left(target, plan)) for target, plan in wanted if plan.empty and _to_heal(target)]
        changed = {target.key for target, plan in declared if not plan.empty and differs(target, plan)}
        pushes = [(target, plan) for target, plan in wanted if target.key in changed]
        failures = await _each((target, target.prepare(plan)) for target, plan in pushes)
        if self._refusals.blame(failures, index):
            await self._abort(pushes)
            return None
        ready = [(target, plan) for target, plan in pushes if target.key not in failures]
        for target, left in heals:
            if target.healing is None:
                healing = self._heal(target, left)
                target.healing = asyncio.get_running_loop().create_task(healing, name=f"heal {target.key}")
        failed = await self._commit(ready, {target.key: dict(plan.durations) for target, plan in declared})
        if self._refusals.blame(failed, index):
            return None
        for target, _ in ready:
            target.prove()
        return failures | failed

    async def _commit(self, ready: list[tuple[Target, Plan]], durations: Mapping[str, dict[str, float]]) -> Failures:
        before = {target.key: _held(target, plan) for target, plan in ready}
        times: list[float] = []

        async def commit(target: Target, plan: Plan) -> None:
            left = self._left(target, plan)
            times.append(await target.commit(plan))
            target.durations = durations[target.key]
            self._fleet.left(target, left)

        failures = await _each((target, commit(target, plan)) for target, plan in ready)
        done = [(target, plan) for target, plan in ready if target.key not in failures]
        if done:
            self._committed(done, before, max(times) - min(times))
        return failures

    def _committed(self, done: list[tuple[Target, Plan]], before: Mapping[str, frozenset[str]], skew: float) -> None:
        now = time.time()
        profiles = sorted({profile for _, plan in done for profile in plan.profiles})
        for state in (self._book.states[name] for name in profiles if name in self._book.states):
            state.skew = skew
            state.started = state.started or now
        for target, plan in done:
            for name in plan.profiles:
                self._joined(name, target, name in before[target.key], now)
        self._emit(events.Committed(tuple(target.key for target, _ in done), tuple(profiles), skew))

    def _joined(self, name: str, target: Target, held: bool, now: float) -> None:
        state = self._book.states.get(name)
        held = held or (name, target.uid) in self._away  # it has been rightly without it
        self._away.discard((name, target.uid))
        if state is not None and not state.fresh and not held and state.started is not None and not state.ended:
            since = max(state.started, self._keeper.running_since.get(target.key, now))
            if not any(gap.pod == target.key for gap in self._gaps.of(name)):
                allowed = LATE if target.lease is None else LATE_BROUGHT
                self._gaps.late(name, target.key, since, now, allowed=allowed)
        self._gaps.close(name, target.key, now)

    async def _abort(self, pushes: Iterable[tuple[Target, Plan]]) -> None:
        targets = [target for target, _ in pushes]
        await asyncio.gather(*(target.abort() for target in targets))
        for target in targets:
            target.prove()

    def _left(self, target: Target, plan: Plan) -> frozenset[str]:
        """Profiles that the target is to hold no more although they say what they said: their peers have gone, say."""
        states = (self._book.states.get(name) for name in target.profiles - plan.profiles)
        left = frozenset(
            state.name
            for state in states
            if state is not None and state.effective is not None and state.published[0] == state.handled
        )
        self._away = {(name, uid) for name, uid in self._away if name in self._book.states}
        self._away |= {(name, target.uid) for name in left}
        return left

    async def _heal(self, target: Target, left: frozenset[str]) -> None:
        """Take everything back; what the profiles met that have ``left`` it is kept."""
        if left:
            await target.farewell()
        ended = {name: target.ended(name) for name in left}
        try:
            await target.heal()
        except ChannelClosed:
            await self._heal_anew(target)
        except ImpairmentError as error:
            target.trouble = str(error)
            self._emit(events.Trouble(target.key, target.trouble))
            if target.session is None or target.name not in target.session.facts:
                target.released()  # the pod's network is gone
            else:
                self._mark([target.key])
        finally:
            target.healing = None
            self._healed()
        if target.plan.empty and self._fleet.targets.get(target.key) is target:
            for name, one in ended.items():
                self._fleet.past.add(name, one)

    async def _heal_anew(self, target: Target) -> None:
        """After a lost session: a new agent clears the pod, or the old one is asked again, or its lease ends it."""
        last = time.monotonic() + (REPLACED_WITHIN if target.lease is None else target.lease + 5)
        for number in itertools.count(1):
            try:
                if (pod := self._keeper.pod(target.key)) is not None:
                    await self._fleet.attach(target.key, pod)
                    await target.heal()
                break
            except ImpairmentError as error:
                if time.monotonic() > last:
                    self._emit(events.Trouble(target.key, str(error)))
                    break
                await asyncio.sleep(backoff(number, 0.05))
        target.released()

    def _timed(self, target: Target, plan: Plan) -> Plan:
        """With the time that it and its profiles have left."""
        now = time.time()
        left = [(name, seconds - self._since(name, now)) for name, seconds in plan.durations]
        return replace(plan, ttl=target.lease, durations=tuple((name, max(seconds, 0.001)) for name, seconds in left))

    def _leases(self, plan: Plan) -> frozenset[str]:
        profiles = (self._keeper.world.profiles.get(name) for name in plan.profiles)
        return frozenset(profile.lease for profile in profiles if profile is not None and profile.lease)

    def _since(self, name: str, now: float) -> float:
        state = self._book.states.get(name)
        return now - state.started if state is not None and state.started is not None else 0.0


def differs(target: Target, plan: Plan) -> bool:
    """Whether a target is yet to be told this plan, with durations as declared: no kernel holds those."""
    if plan.empty or target.plan.empty:
        return plan.empty != target.plan.empty
    return dict(plan.durations) != target.durations or digest(plan, target.name) != digest(target.plan, target.name)


def _held(target: Target, plan: Plan) -> frozenset[str]:
    """Profiles that a target held before it is to hold this plan, as an earlier controller told it or this one."""
    return target.profiles | {stage.profile for stage in plan.stages if stage.id in target.found}


def _to_heal(target: Target) -> bool:
    return not target.plan.empty or bool(target.owed)


async def _each(work: Iterable[tuple[Target, object]]) -> Failures:
    """Do it for all targets beside each other; failures by pod."""
    pairs = list(work)
    results = await asyncio.gather(*(one for _, one in pairs), return_exceptions=True)  # type: ignore[call-overload]
    failures: Failures = {}
    for (target, _), result in zip(pairs, results, strict=True):
        if isinstance(result, ImpairmentError):
            failures[target.key] = result
        elif isinstance(result, BaseException):
            raise result
    return failures
