"""The traffic controller: TrafficProfiles in an api become plans in kernels, proven, and healed when they go."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from pytest_k8s_netem.controller.evidence import GapBook
from pytest_k8s_netem.controller.fleet import Fleet
from pytest_k8s_netem.controller.names import Names
from pytest_k8s_netem.controller.profiles import ProfileBook
from pytest_k8s_netem.controller.render import SETTLE, Renderer
from pytest_k8s_netem.controller.resting import Resting
from pytest_k8s_netem.controller.rounds import Rounds
from pytest_k8s_netem.controller.runtime import CONFLICTS, Runtime
from pytest_k8s_netem.controller.scripts import Scripts, is_script
from pytest_k8s_netem.controller.status import StatusWriter, failure
from pytest_k8s_netem.controller.testimony import Testimony
from pytest_k8s_netem.controller.world import WorldKeeper
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.resolve.view import View
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.channel import Channels
    from pytest_k8s_netem.controller.evidence import Evidence
    from pytest_k8s_netem.controller.fleet import Emit
    from pytest_k8s_netem.controller.profiles import ProfileState
    from pytest_k8s_netem.controller.scripts import Launch
    from pytest_k8s_netem.controller.targets import Target
    from pytest_k8s_netem.model.observed import CheckObserved
    from pytest_k8s_netem.model.plan import Check
    from pytest_k8s_netem.resolve.pairs import Pair
    from pytest_k8s_netem.run.events import Event

GATE_WITHIN = 5.0
"""Seconds that a new pod waits for its plan; then it starts, and the gap is told."""
FAREWELL_WITHIN = 1.0
"""Seconds for the last reading of a pod's counters; an agent answers within 50 ms."""
STOP_WITHIN = 5.0
"""Seconds for healing everything at the end; what is not healed then, the agents heal by themselves."""
ROUND = "round"

_log = logging.getLogger(__name__)


class TrafficController:
    """One controller identity; all its methods belong to one event loop.

    :param channels: where agents are reached. :param identity: who it is, towards agents; ``epoch`` grows with each
        takeover of the same identity.
    :param apiserver: addresses that are spared by ``exempt``. :param emit: takes the run's events.
    :param view: what of the cluster it may see and touch; None = all of it.
    :param scripts: how profiles of type Script run, and where their documents are written; None = they are refused.
    :param resting: seconds after which the session of a pod ends that nobody impairs; None = never.
    """

    def __init__(
        self,
        runtime: Runtime,
        channels: Channels,
        *,
        identity: str,
        epoch: int = 1,
        apiserver: Sequence[str] = (),
        view: View | None = None,
        emit: Emit | None = None,
        scripts: tuple[Launch, Path] | None = None,
        resting: float | None = None,
    ) -> None:
        self._emit: Emit = emit or _silent
        self._controller = runtime.controller("traffic", self._round)
        self._keeper = WorldKeeper(runtime, self.wake, apiserver)
        self._keeper.world.view = view or View()
        self._scripts = Scripts(runtime, self._keeper.world, *scripts) if scripts is not None else None
        theirs = is_script if self._scripts is not None else None
        self._gaps = GapBook(self._emit)
        self._book = ProfileBook(
            runtime, self._keeper.world, self._profile_changed, remember=self._gaps.remember, others=theirs
        )
        self._fleet = Fleet(
            channels,
            self._keeper.world,
            self._gaps,
            self._emit,
            identity=identity,
            epoch=epoch,
            changed=self._target_changed,
            dirty=self._mark,
            ended=self._ended,
        )
        self.resting = Resting(runtime, self._keeper.world, self._fleet, resting) if resting is not None else None
        self._rounds = Rounds(self._keeper, self._book, self._fleet, gaps=self._gaps, emit=self._emit, healed=self.wake)
        self._renderer = Renderer(self._rounds, self._fleet, self._gaps)
        self._testimony = Testimony(
            self._keeper,
            self._book,
            self._fleet,
            self._rounds,
            renderer=self._renderer,
            gaps=self._gaps,
            next_round=self._next_round,
        )
        self._status = StatusWriter(runtime.api, self._render, self._emit)
        self._names = Names(self._keeper.world, self.wake)
        self._tickets: list[asyncio.Future[None]] = []
        self._failures = 0
        self._failure: tuple[str, str] | None = None

    # What others ask of it

    def wake(self) -> None:
        """Have a round, soon."""
        self._controller.queue.add(ROUND)

    def see(self, view: View) -> None:
        """See and touch something else of the cluster from now on."""
        self._keeper.world.view = view
        self.wake()

    async def stop(self, *, heal: bool = True) -> None:
        """Heal everything and end all sessions; to be called when the runtime has stopped.

        :param heal: else agents keep what is in force for the controller that comes next, until their leases end.
        """
        self._names.stop()
        await self._rounds.stop()
        if self._scripts is not None:
            await self._scripts.stop()
        await self._status.stop()
        targets = [target for target in self._fleet.targets.values() if heal and not target.plan.empty]
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN):
                await asyncio.gather(*(target.heal() for target in targets), return_exceptions=True)
        await self._fleet.stop()

    async def gate(self, pod: Object) -> None:
        """Wait until a new pod's plan, empty perhaps, is in force, and other pods know its address; 5 s at most.

        Ask after the pod's network is there and before its first command.
        """
        key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        with suppress(TimeoutError):
            async with asyncio.timeout(GATE_WITHIN):
                await self._keeper.seen(pod)
                self._rounds.gated.add(pod["metadata"]["uid"])
                while True:
                    await self._next_round()
                    if key not in self._selected() or self._rounds.holds(key):
                        return

    def tell(self, pod: Object, addresses: Sequence[str]) -> None:
        """Take a new pod's addresses, the first of each family, from its agent; its status says them later."""
        self._keeper.tell(pod, addresses)

    async def farewell(self, pod: Object) -> None:
        """Read the counters of a pod for the last time; 1 s at most.

        For kubelets of ours: after the pod's last command and before its network goes.
        """
        target = self._fleet.targets.get(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
        if target is not None and target.uid == pod["metadata"]["uid"]:
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_WITHIN):
                    await target.farewell()

    async def evidence(self, profile: str) -> Evidence:
        """What is known of a profile, its pods read back just now.

        :raises NotApplied: if there is no such profile.
        """
        if self._scripts is not None and self._scripts.has(profile):
            return self._scripts.evidence(profile)
        return await self._testimony.evidence(profile)

    async def measure(self, checks: Mapping[str, Sequence[Check]]) -> dict[str, tuple[CheckObserved, ...]]:
        """Run checks in pods, beside each other: by pod, results in the checks' order.

        :raises ImpairmentError: if a pod has no agent, or it cannot probe.
        """
        return await self._testimony.measure(checks)

    async def pairs(self, profile: str) -> tuple[Pair, ...]:
        """Every pair of pods that a profile comes between, with the packet to measure it by."""
        return await self._testimony.pairs(profile)

    # Rounds

    async def _round(self, _key: str) -> float | None:
        tickets, self._tickets = self._tickets, []
        try:
            complete = await self._rounds.run()
            complete &= await self._let_go()
            self._names.follow(self._keeper.world.profiles.values())
        except Exception as error:
            if not (isinstance(error, ApiError) and error.status in CONFLICTS):
                self._tell(failure(error))
            raise
        finally:
            for ticket in tickets:
                if not ticket.done():
                    ticket.set_result(None)
        self._tell(None)
        self._failures = 0 if complete else self._failures + 1
        return self._book.again() if complete else backoff(self._failures, 0.05)

    def _tell(self, failed: tuple[str, str] | None) -> None:
        """A round has ended, by an error that nobody foresaw perhaps."""
        self._failure = failed
        for name in self._book.states:
            self._status.touch(name)

    async def _let_go(self) -> bool:
        """Profiles that are to go, and are in force nowhere, go; whether all of them could."""
        complete = True
        for state in list(self._book.states.values()):
            if not (state.deleting or state.removed) or state.orphan:
                continue
            if any(state.name in target.profiles | target.owed for target in self._fleet.targets.values()):
                continue
            try:
                await self._book.let_go(state)
            except ApiError as error:
                _log.warning("TrafficProfile %s is healed and cannot go yet: %s", state.name, error)
                complete = False
                continue
            self._status.forget(state.name)
            self._gaps.forget(state.name)
            self._fleet.forget(state.name)
        return complete

    async def _next_round(self) -> None:
        ticket = asyncio.get_running_loop().create_future()
        self._tickets.append(ticket)
        self.wake()
        await ticket

    def _selected(self) -> frozenset[str]:
        return frozenset(pod for name in self._keeper.world.profiles for pod in self._rounds.of(name))

    # What wakes it

    def _profile_changed(self, name: str) -> None:
        self.wake()
        state = self._book.states.get(name)
        if state is not None and state.effective is not None:
            asyncio.get_running_loop().call_later(SETTLE + 0.01, self._status.touch, name)

    def _target_changed(self, target: Target) -> None:
        for name in target.profiles:
            self._status.touch(name)

    def _mark(self, pods: Iterable[str]) -> None:
        self._rounds.mark(pods)
        self.wake()

    def _ended(self, name: str) -> None:
        state = self._book.states.get(name)
        if state is not None:
            state.ended = True
            self.wake()

    def _render(self, name: str) -> Object | None:
        state: ProfileState | None = self._book.states.get(name)
        if state is None or state.removed:
            return None
        try:
            return self._said(state)
        except Exception as error:
            _log.exception("status of TrafficProfile %s", name)
            return self._renderer.failed(state, failure(error))

    def _said(self, state: ProfileState) -> Object | None:
        unhandled = state.generation != state.handled
        if (unhandled or state.deleting) and self._failure:
            return self._renderer.failed(state, self._failure)
        if unhandled or (state.deleting and not self._trouble(state.name)):
            return None  # the round that comes speaks
        return self._renderer.status(state)

    def _trouble(self, name: str) -> bool:
        return any(name in target.profiles and target.trouble for target in self._fleet.targets.values())


def _silent(_event: Event) -> None:
    """Nobody wants the events."""
