"""One round: from the world as it is now to plans in force, all pods of a change together or none."""

from __future__ import annotations

import time

from pytest_k8s_netem.controller.attaching import Attaching
from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.controller.evidence import LATE_BROUGHT
from pytest_k8s_netem.controller.forcing import Forcing, differs
from pytest_k8s_netem.controller.refusals import Failures, Refusals
from pytest_k8s_netem.controller.status import unforeseen
from pytest_k8s_netem.controller.takeover import Takeover
from pytest_k8s_netem.controller.world import address, leaving, running
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.resolve.affected import affected
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.resolve import Resolution, resolve
from pytest_k8s_netem.resolve.select import profiles_by_pod
from pytest_k8s_netem.resolve.world import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Set

    from pytest_k8s_netem.controller.evidence import GapBook
    from pytest_k8s_netem.controller.fleet import Emit, Fleet
    from pytest_k8s_netem.controller.profiles import ProfileBook
    from pytest_k8s_netem.controller.targets import Target
    from pytest_k8s_netem.controller.world import WorldKeeper
    from pytest_k8s_netem.model.plan import Plan
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile


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
        self._keeper, self._book, self._fleet, self._gaps = keeper, book, fleet, gaps
        self._dirty: set[str] = set()
        self._refusals = Refusals(book)
        self._attaching = Attaching(self._attach_one, healed)
        self._takeover = Takeover(keeper, book, fleet, gaps, self._attach_one)
        self._forcing = Forcing(
            keeper,
            book,
            fleet,
            gaps=gaps,
            emit=emit,
            refusals=self._refusals,
            takeover=self._takeover,
            mark=self.mark,
            healed=healed,
        )

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
            self._change()
            pods = self._take_dirty()
            try:
                complete = await self._bring(pods, failures)
            except Exception as error:
                self._interrupted(pods, unforeseen(error))
                raise
            if complete is not None:
                return complete
            self.mark(pods)

    async def _bring(self, pods: set[str], failures: Failures) -> bool | None:
        """Plans of these pods into force; whether that was all. None: a profile was refused, the round begins again."""
        self.resolutions.update({pod: resolve(pod, self.index) for pod in sorted(pods)})
        refused = self._refusals.unplannable(self.resolutions, pods)
        if refused or self._refusals.blame(failures, self.index, attaching=True):
            return None
        pushed = await self._forcing.push(self._planned(pods), self.index)
        if pushed is None:
            return None
        failures |= {pod: error for pod, error in pushed.items() if self.expected(pod)}
        self._settle(pods, failures)
        unheld = any(state.unheld for state in self._book.states.values())
        return not failures and not unheld and not self._book.orphans()

    # The world

    def _take_dirty(self) -> set[str]:
        dirty, self._dirty = self._dirty, set()
        return dirty

    def _change(self) -> None:
        """Take the world in, and mark the pods that its change affects."""
        index = Index(self._keeper.world)
        self.mark(affected(self.index, index))
        self.index = index
        for key in [key for key in self._fleet.targets if key not in self.index.world.pods]:
            self._fleet.drop(key)
        for key in [key for key in self.resolutions if key not in self.index.world.pods]:
            del self.resolutions[key]
        self.gated &= {pod["metadata"].get("uid") for pod in self.index.world.pods.values()}

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

    def _planned(self, pods: Set[str]) -> list[tuple[Target, Plan]]:
        """Those that can be told their plans now."""
        reached = sorted(pods - self._attaching.late)
        return [(target, self.resolutions[pod].plan) for pod in reached if (target := self._fleet.targets.get(pod))]

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

    def _interrupted(self, pods: set[str], why: str) -> None:
        """The round ends here by an error that nobody foresaw: the next one has the same to do."""
        self.mark(pods)
        selected = profiles_by_pod(self.index)
        for pod in pods & selected.keys():
            if self.expected(pod) and not self.holds(pod):
                self._fleet.troubles[pod] = why
                self._fail(pod, why, allowed=LATE_BROUGHT)

    def _fail(self, pod: str, why: str, *, allowed: float | None = None) -> None:
        """Open a gap for profiles in force; with ``allowed``, only once the pod has run so many seconds without."""
        for profile in profiles_by_pod(self.index).get(pod, ()):
            state = self._book.states.get(profile.name)
            if state is not None and state.started is not None:
                since = max(state.started, self._keeper.running_since.get(pod, time.time()))
                target = self._fleet.targets.get(pod)
                without = target is None or profile.name not in target.profiles
                if without and (allowed is None or time.time() - since > allowed):
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
        return target is not None and resolution is not None and not differs(target, resolution.plan)
