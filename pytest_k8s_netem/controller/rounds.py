"""One round: from the world as it is now to plans in force, all pods of a change together or none."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import replace

from pytest_k8s_netem.controller.attaching import Attaching
from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.controller.evidence import LATE, LATE_BROUGHT
from pytest_k8s_netem.controller.refusals import Failures, Refusals
from pytest_k8s_netem.controller.takeover import Takeover
from pytest_k8s_netem.controller.targets import Target, digest, profiles_of
from pytest_k8s_netem.controller.world import address, leaving, running
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.plan import Plan
from pytest_k8s_netem.resolve.affected import affected
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.resolve import Resolution, resolve
from pytest_k8s_netem.resolve.select import profiles_by_pod
from pytest_k8s_netem.resolve.world import World
from pytest_k8s_netem.run import events
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Set

    from pytest_k8s_netem.controller.evidence import GapBook
    from pytest_k8s_netem.controller.fleet import Emit, Fleet
    from pytest_k8s_netem.controller.profiles import ProfileBook
    from pytest_k8s_netem.controller.world import WorldKeeper
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile

REPLACED_WITHIN = 2.0
"""Seconds for an agent that was killed to be replaced by one that clears what it left; it takes 0.1."""


class Rounds:
    """Brings plans into force; one round at a time.

    :ivar index: the world that the last round worked from. :ivar resolutions: by pod, the last.
    :ivar gated: uids of pods whose containers wait for their plan.
    """

    def __init__(
        self,
        keeper: WorldKeeper,
        book: ProfileBook,
        fleet: Fleet,
        *,
        gaps: GapBook,
        emit: Emit,
        healed: Callable[[], None],
    ) -> None:
        self.index = Index(World())
        self.resolutions: dict[str, Resolution] = {}
        self.gated: set[str] = set()
        self._keeper, self._book, self._fleet, self._gaps, self._emit = keeper, book, fleet, gaps, emit
        self._healed = healed
        self._dirty: set[str] = set()
        self._refusals = Refusals(book)
        self._attaching = Attaching(self._attach_one, healed)
        self._takeover = Takeover(keeper, book, fleet, gaps, self._attach_one)

    async def stop(self) -> None:
        """End what goes on beside rounds; to be called when none runs."""
        await self._attaching.stop()

    def mark(self, pods: Iterable[str]) -> None:
        """These pods are to be looked at in the next round, whatever the world says."""
        self._dirty.update(pods)

    async def run(self) -> bool:
        """One round; whether everything that could be applied was."""
        self._book.reconsider()
        self._refusals.reconsider(self._keeper.world)
        while True:
            self._book.publish()
            if self._refusals.beyond(self._keeper.world):
                continue
            await self._book.hold()
            self._book.publish()
            failures = await self._attach()
            self.mark(await self._takeover.orphans())
            pods = self._take_dirty() | self._change()
            self.resolutions.update({pod: resolve(pod, self.index) for pod in sorted(pods)})
            refused = self._refusals.unplannable(self.resolutions, pods)
            if refused or self._refusals.blame(failures, self.index, attaching=True):
                self.mark(pods)
                continue
            pushed = await self._push(pods)
            if pushed is None:
                self.mark(pods)
                continue
            failures |= {pod: error for pod, error in pushed.items() if self.expected(pod)}
            self._settle(pods, failures)
            unheld = any(state.unheld for state in self._book.states.values())
            return not failures and not unheld and not self._book.orphans()

    # The world

    def _take_dirty(self) -> set[str]:
        dirty, self._dirty = self._dirty, set()
        return dirty

    def _change(self) -> set[str]:
        before, self.index = self.index, Index(self._keeper.world)
        for key in [key for key in self._fleet.targets if key not in self.index.world.pods]:
            self._fleet.drop(key)
        for key in [key for key in self.resolutions if key not in self.index.world.pods]:
            del self.resolutions[key]
        self.gated &= {pod["metadata"].get("uid") for pod in self.index.world.pods.values()}
        return set(affected(before, self.index))

    def expected(self, key: str) -> bool:
        """Whether a selected pod has to hold its plan: it runs and stays, or waits for just that."""
        pod = self._keeper.pod(key)
        if pod is None or leaving(pod):
            return False
        return running(pod) or pod["metadata"].get("uid") in self.gated

    async def _attach(self) -> Failures:
        """Attach all pods that a profile selects; failures only of those that are expected."""
        selected = profiles_by_pod(Index(self._keeper.world))
        wanted = {key: self._uid(key) for key in selected if self._reachable(key)}
        self._attaching.begin(wanted)
        results = await self._attaching.ended({key for key in wanted if self._needed(key, selected[key])})
        failures: Failures = {}
        for key in filter(self.expected, self._attaching.late):
            failures[key] = ChannelClosed(f"the agent of pod/{key} is being reached again")
        for key, result in results.items():
            if isinstance(result, ImpairmentError):
                if self.expected(key):
                    failures[key] = result
            elif isinstance(result, BaseException):
                raise result
            elif result:
                self.mark([key])
        return failures

    def _needed(self, key: str, profiles: Iterable[TrafficProfile]) -> bool:
        """Whether a round cannot do without this pod: it is new, or a fresh profile is to be in force on all or none.

        What others held they hold, or their leases end it: nobody else need wait for that.
        """
        target = self._fleet.targets.get(key)
        if target is None or target.uid != self._uid(key):
            return True
        states = (self._book.states.get(profile.name) for profile in profiles)
        return any(state is not None and state.fresh for state in states)

    def _uid(self, key: str) -> str:
        pod = self._keeper.pod(key)
        return str(pod["metadata"]["uid"]) if pod is not None else ""

    async def _attach_one(self, key: str) -> bool:
        pod = self._keeper.pod(key)
        try:
            return pod is not None and await self._fleet.attach(key, pod)
        except ImpairmentError:
            if (target := self._fleet.targets.get(key)) is not None:
                self._fleet.give_up(target, "session")
            raise

    def _reachable(self, key: str) -> bool:
        pod = self._keeper.pod(key)
        return pod is not None and bool(address(pod)) and not leaving(pod)

    # Plans into force

    async def _push(self, pods: Set[str]) -> Failures | None:
        """Prepare all, commit together; None: a profile was refused and the round begins again."""
        reached = sorted(pods - self._attaching.late)
        wanted = [(target, self._wanted(target)) for pod in reached if (target := self._fleet.targets.get(pod))]
        for target, plan in wanted:
            target.leases |= self._leases(plan)
        await self._takeover.adopt(wanted)
        heals = [target for target, plan in wanted if plan.empty and _to_heal(target) and _free(target)]
        pushes = [(t, plan) for t, plan in wanted if not plan.empty and _differs(t, plan)]
        failures = await _each((target, target.prepare(plan)) for target, plan in pushes)
        if self._refusals.blame(failures, self.index):
            await self._abort(pushes)
            return None
        ready = [(target, plan) for target, plan in pushes if target.key not in failures]
        for target in heals:
            target.healing = asyncio.get_running_loop().create_task(self._heal(target), name=f"heal {target.key}")
        failed = await self._commit(ready)
        if self._refusals.blame(failed, self.index):
            return None
        for target, _ in ready:
            target.prove()
        return failures | failed

    async def _commit(self, ready: list[tuple[Target, Plan]]) -> Failures:
        before = {target.key: _held(target, plan) for target, plan in ready}
        times: list[float] = []

        async def commit(target: Target, plan: Plan) -> None:
            times.append(await target.commit(plan))

        failures = await _each((target, commit(target, plan)) for target, plan in ready)
        done = [(target, plan) for target, plan in ready if target.key not in failures]
        if done:
            self._committed(done, before, max(times) - min(times))
        return failures

    def _committed(self, done: list[tuple[Target, Plan]], before: Mapping[str, frozenset[str]], skew: float) -> None:
        now = time.time()
        profiles = sorted({profile for _, plan in done for profile in profiles_of(plan)})
        for state in (self._book.states[name] for name in profiles if name in self._book.states):
            state.skew = skew
            state.started = state.started or now
        for target, plan in done:
            for name in profiles_of(plan):
                self._joined(name, target, name in before[target.key], now)
        self._emit(events.Committed(tuple(target.key for target, _ in done), tuple(profiles), skew))

    def _joined(self, name: str, target: Target, held: bool, now: float) -> None:
        state = self._book.states.get(name)
        if state is not None and not state.fresh and not held and state.started is not None:
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

    async def _heal(self, target: Target) -> None:
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
                self.mark([target.key])
        finally:
            target.healing = None
            self._healed()

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

    def _wanted(self, target: Target) -> Plan:
        plan = self.resolutions[target.key].plan
        now = time.time()
        left = [(name, seconds - self._since(name, now)) for name, seconds in plan.durations]
        return replace(plan, ttl=target.lease, durations=tuple((name, max(seconds, 0.001)) for name, seconds in left))

    def _leases(self, plan: Plan) -> frozenset[str]:
        profiles = (self._keeper.world.profiles.get(name) for name in profiles_of(plan))
        return frozenset(profile.lease for profile in profiles if profile is not None and profile.lease)

    def _since(self, name: str, now: float) -> float:
        state = self._book.states.get(name)
        return now - state.started if state is not None and state.started is not None else 0.0

    # Afterwards

    def _settle(self, pods: set[str], failures: Failures) -> None:
        """Note what holds and what does not."""
        for pod, error in failures.items():
            self._fleet.troubles[pod] = str(error)
            self._fail(pod, str(error))
        for pod in pods - failures.keys():
            if pod in self._fleet.targets:
                self._fleet.troubles.pop(pod, None)
        self.mark(failures.keys() | self._attaching.late)
        for state in self._book.states.values():
            generation, profile = state.published
            if generation != state.handled:
                state.handled = generation
                self._fleet.recount(state.name)
            if profile is not None and not failures.keys() & self.of(state.name) and self.holding(state.name):
                state.good = profile

    def _fail(self, pod: str, why: str) -> None:
        for profile in profiles_by_pod(self.index).get(pod, ()):
            state = self._book.states.get(profile.name)
            if state is not None and state.started is not None:
                since = max(state.started, self._keeper.running_since.get(pod, time.time()))
                target = self._fleet.targets.get(pod)
                if target is None or profile.name not in target.profiles:
                    self._gaps.open(profile.name, pod, why, since)

    def of(self, name: str) -> frozenset[str]:
        """Pods that a profile selects now."""
        return frozenset(
            pod for pod, several in profiles_by_pod(self.index).items() if any(one.name == name for one in several)
        )

    def holding(self, name: str) -> frozenset[str]:
        """Pods of a profile that hold just the plan that they should."""
        return frozenset(pod for pod in self.of(name) if self.holds(pod))

    def holds(self, pod: str) -> bool:
        """Whether a pod holds just the plan that it should."""
        target, resolution = self._fleet.targets.get(pod), self.resolutions.get(pod)
        return target is not None and resolution is not None and not _differs(target, resolution.plan)


def _differs(target: Target, plan: Plan) -> bool:
    if plan.empty or target.plan.empty:
        return plan.empty != target.plan.empty
    return digest(plan, target.name) != digest(target.plan, target.name)


def _held(target: Target, plan: Plan) -> frozenset[str]:
    """Profiles that a target held before it is to hold this plan, as an earlier controller told it or this one."""
    return target.profiles | {stage.profile for stage in plan.stages if stage.id in target.found}


def _to_heal(target: Target) -> bool:
    return not target.plan.empty or bool(target.owed)


def _free(target: Target) -> bool:
    return target.healing is None


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
