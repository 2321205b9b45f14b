"""One pod's end of the road: the plan it holds, its channel, and the steps from plan to proof."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.controller.evidence import Ended
from pytest_k8s_netem.controller.tally import Tally
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.judge import verdict
from pytest_k8s_netem.judge.effect import Effect, effects
from pytest_k8s_netem.model.codec import WireError, many
from pytest_k8s_netem.model.plan import Plan
from pytest_k8s_netem.model.wire import CHECK, OBSERVED, plan_codec
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pytest_k8s_netem.controller.session import AgentSession
    from pytest_k8s_netem.judge.verdict import Verdict
    from pytest_k8s_netem.model.observed import CheckObserved, Observed
    from pytest_k8s_netem.model.peers import PeerSet
    from pytest_k8s_netem.model.plan import Check

DRAIN_WITHIN = 10.0
"""Seconds for an answer to ``heal``, which waits for queues to drain (1 s at most)."""
TRIES = 3
"""Probes in a row that may fail before a profile is said not to be verified; after that it is tried more slowly."""


class Target:
    """A pod as its agent's target.

    :ivar key: ``namespace/name`` of the pod. :ivar name: what its agent calls it. :ivar uid: of the pod.
    :ivar lease: seconds that its plans live without a renewal; None = as long as the session.
    :ivar plan: in force, as far as the controller knows. :ivar verdicts: by profile, of that plan.
    :ivar durations: by profile, seconds from its first start after which that plan lets it end, as its object says.
    :ivar observed: last read back. :ivar tried: probes of this plan that did not verify it.
    :ivar lost_at: when the session was lost (unix time), None while it is there.
    :ivar earlier: what was counted by plans that were replaced since the pod was last healed.
    :ivar last: counters of the plan in force, read when it was about to end; None = never.
    :ivar owed: profiles of a plan whose agent is gone; a killed one leaves filters, until the next one clears the pod.
    :ivar trouble: why it does not hold what it should, "" = it does.
    :ivar known: whether its agent was told something, or asked what it holds, since there is this target.
    :ivar found: stages that it held when it was asked first, of a plan that is no longer wanted.
    :ivar leases: named by profiles that it was ever to hold. :ivar idle_since: monotonic time at which it held a plan
        last, or was made.
    """

    def __init__(
        self, key: str, name: str, uid: str, changed: Callable[[Target], None], lease: float | None = None
    ) -> None:
        self.key = key
        self.name = name
        self.uid = uid
        self.lease = lease
        self.session: AgentSession | None = None
        self.plan = Plan(key)
        self.durations: dict[str, float] = {}
        self.observed: Observed | None = None
        self.verdicts: dict[str, Verdict] = {}
        self.tried = 0
        self.lost_at: float | None = None
        self.earlier = Tally()
        self.last: Observed | None = None
        self.owed: frozenset[str] = frozenset()
        self.trouble = ""
        self.known = False
        self.found: frozenset[str] = frozenset()
        self.leases: frozenset[str] = frozenset()
        self.idle_since = time.monotonic()
        self.healing: asyncio.Task[None] | None = None
        self._changed = changed
        self._proving: asyncio.Task[None] | None = None

    @property
    def profiles(self) -> frozenset[str]:
        """Profiles of the plan in force."""
        return self.plan.profiles

    @property
    def idle(self) -> bool:
        """Whether its session lives, and there is nothing in force nor to be done."""
        if self.session is None or self.session.lost or self.healing is not None:
            return False
        return self.plan.empty and not self.owed and not self.found

    async def prepare(self, plan: Plan) -> None:
        """Have the plan built; nothing changes yet. Waits for a healing under way.

        :raises ImpairmentError: if this kernel cannot.
        """
        if self.healing is not None:
            await asyncio.wait([self.healing])
        self._stop_proving()
        sets: dict[str, PeerSet] = {}
        encoded = plan_codec(sets).encode(replace(plan, target=self.name))
        await self._session.tell_peers(sets)
        await self._session.request("prepare", target=self.name, plan=encoded)

    async def commit(self, plan: Plan) -> float:
        """Bring what was prepared into force; the monotonic time at which the agent said so.

        :raises ImpairmentError: if the kernel refuses; what was in force stays in force.
        """
        answer = await self._session.request("commit", target=self.name, digest=digest(plan, self.name))
        done = time.monotonic()
        with suppress(ImpairmentError):  # it is in force, whatever is known of the one before
            if "last" in answer:
                self.earlier.add(self.plan, self._read({"observed": answer["last"]}))
        self._holds(plan, self._read(answer))
        return done

    async def look(self) -> Observed:
        """What the agent holds, whoever told it.

        :raises ImpairmentError: if it cannot be asked.
        """
        observed = self._read(await self._session.request("observe", target=self.name))
        self.known = True
        return observed

    def adopt(self, plan: Plan, observed: Observed) -> None:
        """Take a plan over that is in force already; its proof, if it was proven, goes on."""
        self._holds(plan, observed)
        self._judged(observed)
        if not all(one.verified for one in self.verdicts.values()):
            self.prove()

    async def abort(self) -> None:
        """Take back what was prepared; never fails, since the end of the session does the same."""
        with suppress(ImpairmentError):
            await self._session.request("abort", target=self.name)

    async def heal(self) -> None:
        """Filters off, queues drained, devices gone.

        :raises ImpairmentError: if something is left.
        """
        self._stop_proving()
        observed = self._read(await self._session.request("heal", DRAIN_WITHIN, target=self.name))
        if left := verdict.healed(observed):
            raise ImpairmentError(f"pod/{self.key} is not healed", left)
        self.released()

    def released(self) -> None:
        """Nothing is in force any more, by whatever cause."""
        self._stop_proving()
        self.plan = Plan(self.key)
        self.observed, self.last, self.verdicts, self.tried = None, None, {}, 0
        self.earlier.clear()
        self.owed = frozenset()
        self.idle_since = time.monotonic()

    def prove(self) -> None:
        """Begin to probe what is in force, until it is verified or replaced."""
        self._stop_proving()
        if self.plan.empty:
            return
        if not self.plan.checks and self.observed is not None:
            self._judged(self.observed)
            return
        self._proving = asyncio.get_running_loop().create_task(self._prove(), name=f"proof of {self.key}")

    async def observe(self) -> Observed:
        """Read back now, and judge; not before a first proof has ended, with which the counters start anew.

        Whoever was told earlier that a profile is verified would send packets that nobody counts.

        :raises ImpairmentError: if the agent cannot.
        """
        observed = self._read(await self._session.request("observe", target=self.name))
        if self.verdicts or self.tried or self._proving is None or self._proving.done():
            self._judged(observed)
        return observed

    async def farewell(self) -> None:
        """Read the counters of a pod that is about to end; never fails."""
        with suppress(ImpairmentError):
            if not self.plan.empty:
                self.last = self._read(await self._session.request("observe", target=self.name))

    def counts(self, last: Any) -> None:
        """Take what an agent says that it counted last; anything else is no such thing."""
        with suppress(ImpairmentError):
            self.last = self._read({"observed": last})

    def ended(self, profile: str) -> Ended:
        """What is known of a profile on this pod if what is in force ends now."""
        now = effects(self.plan, self.last) if self.last is not None else {}
        return Ended(self.key, self.earlier.of(profile) + now.get(profile, Effect()), self.last is not None)

    async def measure(self, session: Any, checks: Sequence[Check]) -> tuple[CheckObserved, ...]:
        """Run checks of a caller's choice over ``session``, a guest's where the test's counters are to go on."""
        encoded = many(CHECK).encode(checks)
        longest = max((check.count * check.interval + check.timeout for check in checks), default=0) / 1e9
        async with asyncio.timeout(longest + 20):
            answer = await session.request("probe", target=self.name, checks=encoded)
        return self._read(answer).checks

    async def still_holds(self) -> bool:
        """Whether a new session finds the plan as the old one left it."""
        with suppress(ImpairmentError):
            observed = self._read(await self._session.request("observe", target=self.name))
            return not self.plan.empty and observed.plan == digest(self.plan, self.name)
        return False

    def end(self) -> None:
        """Stop what goes on."""
        self._stop_proving()

    @property
    def _session(self) -> AgentSession:
        if self.session is None or self.session.lost:
            raise ChannelClosed(f"no session with the agent of pod/{self.key}")
        return self.session

    async def _prove(self) -> None:
        plan = self.plan
        longest = max(check.count * check.interval + check.timeout for check in plan.checks) / 1e9
        while True:
            try:
                answer = await self._session.request("probe", longest + 10, target=self.name)
                self._judged(self._read(answer))
            except ChannelClosed:
                return
            except ImpairmentError as error:
                self.trouble = str(error)
            if self.verdicts and all(one.verified for one in self.verdicts.values()):
                self.trouble = ""
                self._changed(self)
                return
            self.tried += 1
            self._changed(self)
            await asyncio.sleep(backoff(self.tried, 0.1))

    def _stop_proving(self) -> None:
        if self._proving is not None and self._proving is not asyncio.current_task():
            self._proving.cancel()
        self._proving = None

    def _holds(self, plan: Plan, observed: Observed) -> None:
        self.plan, self.observed = plan, observed
        self.known, self.found, self.owed = True, frozenset(), frozenset()
        self.verdicts, self.tried, self.trouble, self.lost_at = {}, 0, "", None

    def _judged(self, observed: Observed) -> None:
        self.observed = observed
        self.verdicts = verdict.judge(replace(self.plan, target=self.name, _digest=[]), observed)
        self._changed(self)

    def _read(self, answer: dict[str, Any]) -> Observed:
        try:
            observed: Observed = OBSERVED.decode(answer.get("observed"), "observed")
        except WireError as error:
            raise ImpairmentError(f"the agent of pod/{self.key} answers in another language: {error}") from None
        return observed


def digest(plan: Plan, name: str) -> str:
    """The plan's digest under the name that the agent knows the target by."""
    return plan.digest if plan.target == name else replace(plan, target=name, _digest=[]).digest
