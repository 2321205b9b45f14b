"""What the controller can say and measure for those who ask about a profile: its pods are read back when they do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.controller.evidence import Evidence, Gap, PodEvidence
from pytest_k8s_netem.errors import ImpairmentError, NotApplied
from pytest_k8s_netem.judge.verdict import judge
from pytest_k8s_netem.resolve.pairs import pairs
from pytest_k8s_netem.resolve.select import left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_k8s_netem.controller.evidence import GapBook
    from pytest_k8s_netem.controller.fleet import Fleet
    from pytest_k8s_netem.controller.profiles import ProfileBook, ProfileState
    from pytest_k8s_netem.controller.render import Renderer
    from pytest_k8s_netem.controller.rounds import Rounds
    from pytest_k8s_netem.controller.targets import Target
    from pytest_k8s_netem.controller.world import WorldKeeper
    from pytest_k8s_netem.model.observed import CheckObserved, Observed
    from pytest_k8s_netem.model.plan import Check
    from pytest_k8s_netem.resolve.pairs import Pair

REACHED_WITHIN = 15.0
"""Seconds for a pod whose session is lost to be reached again when it is to be read back."""
DRAINED_WITHIN = 3.0
"""Seconds until an end is known for one that was meant, once queues have drained for one at most."""
MEANT = ("duration", "request")
"""Causes of healings that are no loss, if it was this controller who asked."""
ASKED_AGAIN = 0.05
"""Seconds between two looks at whether it is."""


class Testimony:
    """Implements :class:`pytest_k8s_netem.controller.witness.Witness`; belongs to the controller's event loop.

    :param next_round: waits until a round that begins now has ended.
    """

    def __init__(
        self,
        keeper: WorldKeeper,
        book: ProfileBook,
        fleet: Fleet,
        rounds: Rounds,
        *,
        renderer: Renderer,
        gaps: GapBook,
        next_round: Callable[[], Awaitable[None]],
    ) -> None:
        self._keeper, self._book, self._fleet, self._rounds = keeper, book, fleet, rounds
        self._renderer, self._gaps, self._next_round = renderer, gaps, next_round

    async def evidence(self, profile: str) -> Evidence:
        """See :meth:`Witness.evidence`."""
        state = await self._caught_up(profile)
        targets = [target for target in self._fleet.targets.values() if profile in target.profiles]
        found = await asyncio.gather(*(self._pod_evidence(target, profile) for target in targets))
        silent = [target for target, one in zip(targets, found, strict=True) if one is None]
        return Evidence(
            {target.key: one for target, one in zip(targets, found, strict=True) if one is not None},
            self._fleet.past.of(profile),
            (*self._gaps.of(profile), *self._unread(profile, silent)),
            tuple(self._renderer.spared(profile)),
            self._excluded(profile),
            (*self._renderer.notes(profile), *self._gaps.notes(profile)),
            partial=state.inherited,
        )

    async def measure(self, checks: Mapping[str, Sequence[Check]]) -> dict[str, tuple[CheckObserved, ...]]:
        """See :meth:`Witness.measure`."""
        results = await asyncio.gather(*(self._measure(pod, several) for pod, several in checks.items()))
        return dict(zip(checks, results, strict=True))

    async def pairs(self, profile: str) -> tuple[Pair, ...]:
        """See :meth:`Witness.pairs`."""
        return pairs(self._rounds.index, profile)

    async def _caught_up(self, profile: str) -> ProfileState:
        """Wait until this controller has asked the pods of a profile that an earlier one brought into force.

        :raises NotApplied: if there is none, or it goes meanwhile.
        """
        while (state := self._book.states.get(profile)) is not None and state.inherited and not state.handled:
            await self._next_round()
        if state is None:
            raise NotApplied(f"there is no TrafficProfile {profile}")
        return state

    async def _pod_evidence(self, target: Target, profile: str) -> PodEvidence | None:
        observed = await self._read_back(target)
        if observed is not None and observed.healed_by in MEANT and await self._told_so(target):
            return None
        if observed is not None:
            plan = target.plan
            return PodEvidence(plan, observed, judge(plan, observed), target.earlier.of(profile))
        return None

    def _unread(self, profile: str, silent: Sequence[Target]) -> Iterator[Gap]:
        """A pod that is there and cannot be read back may hold anything, as far as who asks now can know.

        The book does not hear of it: a later question may find that all was held.
        """
        known = {gap.pod for gap in self._gaps.of(profile) if gap.end is None}
        for target in silent:
            there = self._fleet.targets.get(target.key) is target and self._rounds.expected(target.key)
            if there and profile in target.profiles and target.key not in known:
                yield Gap(target.key, target.lost_at or time.time(), None, "session")

    async def _read_back(self, target: Target) -> Observed | None:
        """What a pod holds now; None = it cannot be asked.

        A lost session is waited for: a new one may find all as it was.
        """
        with suppress(TimeoutError, ImpairmentError):
            async with asyncio.timeout(REACHED_WITHIN):
                while True:
                    try:
                        return await target.observe()
                    except ChannelClosed:
                        if target.plan.empty or self._fleet.targets.get(target.key) is not target:
                            raise
                        await self._next_round()  # it attaches anew, or gives up, or goes on to try
                        await asyncio.sleep(ASKED_AGAIN)
        return None

    async def _told_so(self, target: Target) -> bool:
        """Whether what was taken back was to end, which is known when its queues have drained."""
        last = time.monotonic() + DRAINED_WITHIN
        while not target.plan.empty and time.monotonic() < last:
            await asyncio.sleep(ASKED_AGAIN)
        return target.plan.empty

    def _excluded(self, name: str) -> dict[str, str]:
        index = self._rounds.index
        profile = index.world.profiles.get(name)
        return left_out(index, profile.pods) if profile is not None else {}

    async def _measure(self, pod: str, checks: Sequence[Check]) -> tuple[CheckObserved, ...]:
        target, obj = self._fleet.targets.get(pod), self._keeper.pod(pod)
        if target is None or obj is None:
            raise ImpairmentError(f"pod/{pod} has no agent to probe from")
        async with self._fleet.guest(obj) as session:
            return await target.measure(session, checks)
