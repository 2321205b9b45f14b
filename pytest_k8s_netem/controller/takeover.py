"""A controller that takes the place of another: what is in force stays so, what was deleted meanwhile is healed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.controller.targets import digest
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.select import pods_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.controller.evidence import GapBook
    from pytest_k8s_netem.controller.fleet import Fleet
    from pytest_k8s_netem.controller.profiles import ProfileBook, ProfileState
    from pytest_k8s_netem.controller.targets import Target
    from pytest_k8s_netem.controller.world import WorldKeeper
    from pytest_k8s_netem.model.plan import Plan

Attach = Callable[[str], Awaitable[bool]]


class Takeover:
    """Asks agents what they hold before they are told anything; where plans end with their session there is nothing.

    :param attach: gives a pod a session; raises ImpairmentError.
    """

    def __init__(self, keeper: WorldKeeper, book: ProfileBook, fleet: Fleet, gaps: GapBook, attach: Attach) -> None:
        self._keeper, self._book, self._fleet, self._gaps = keeper, book, fleet, gaps
        self._attach = attach

    async def orphans(self) -> set[str]:
        """Attach pods of profiles that were deleted while nobody led; those pods, to be looked at."""
        found: set[str] = set()
        for state in self._book.orphans():
            found |= await self._attached(state)
        return found

    async def adopt(self, wanted: Iterable[tuple[Target, Plan]]) -> None:
        """See what each target holds that this controller has never asked, and keep what is as it shall be.

        :raises ImpairmentError: never; who cannot be asked cannot be told either, and that is told.
        """
        asked = [(target, plan) for target, plan in wanted if target.lease is not None and not target.known]
        await asyncio.gather(*(self._adopt(target, plan) for target, plan in asked))

    async def _adopt(self, target: Target, plan: Plan) -> None:
        try:
            found = await target.look()
        except ImpairmentError:
            return
        if not found.plan:
            target.owed = frozenset()
            self._missed(target, plan, found.healed_by)
        elif found.plan == digest(plan, target.name):
            target.durations = self._durations(plan)
            target.adopt(plan, found)
        else:
            target.found = frozenset(name for name, _ in found.stages)

    def _durations(self, plan: Plan) -> dict[str, float]:
        """Those that the agent was told, as far as the profiles' statuses know: they may have been changed since."""
        states = (self._book.states.get(name) for name in plan.profiles)
        known = {state.name: state.good.duration for state in states if state is not None and state.good is not None}
        return {name: float(seconds) for name, seconds in known.items() if seconds is not None}

    def _missed(self, target: Target, plan: Plan, cause: str) -> None:
        """The agent holds nothing although an earlier controller's status says that it did."""
        for name in {stage.profile for stage in plan.stages}:
            state = self._book.states.get(name)
            if state is not None and state.inherited and state.started is not None:
                since = max(state.started, self._keeper.running_since.get(target.key, state.started))
                self._gaps.open(name, target.key, cause or "its agent was started anew", since)

    async def _attached(self, state: ProfileState) -> set[str]:
        profile = state.good or state.declared
        pods = pods_of(Index(self._keeper.world), profile.pods) if profile is not None else frozenset()
        there = sorted(pod for pod in pods if pod in self._keeper.running_since)
        results = await asyncio.gather(*(self._attach(pod) for pod in there), return_exceptions=True)
        missing = [result for result in results if isinstance(result, ImpairmentError)]
        reached = {pod for pod in there if (target := self._fleet.targets.get(pod)) and target.session is not None}
        for pod in reached:
            self._fleet.targets[pod].owed |= {state.name}
        state.orphan = bool(missing) and time.time() < state.seen + LEASE  # then its plans have ended by themselves
        return reached
