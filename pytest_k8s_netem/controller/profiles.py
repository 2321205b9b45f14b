"""The profiles as declared, and how far the controller has come with each."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES, Object
from pytest_k8s_netem.controller import inheritance, nothing
from pytest_k8s_netem.errors import ApiError, ConfigError
from pytest_k8s_netem.profile.parse import parse
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.select import choose
from pytest_k8s_netem.run.identity import PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api
    from pytest_k8s_netem.controller.evidence import Gap
    from pytest_k8s_netem.controller.inheritance import Inheritance
    from pytest_k8s_netem.controller.runtime import Runtime
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile
    from pytest_k8s_netem.resolve.world import World

FINALIZER = f"{PREFIX}heal"


@dataclass(slots=True)
class ProfileState:
    """One TrafficProfile object.

    :ivar declared: what its present generation says; None = nothing that can be meant, see ``refusal``.
    :ivar good: the last that was applied. :ivar refusal: (condition, reason, message) against ``declared``, or None.
    :ivar retry: monotonic time at which the refusal is to be forgotten; None = with other words only.
    :ivar tries: how often what it says now was refused.
    :ivar vain: what is declared touches nothing yet, so what was applied before stays in force.
    :ivar unheld: why our finalizer could not be written, so that nothing new is applied for it; "" = nothing of that.
    :ivar removed: the object is gone. :ivar ended: its duration is over.
    :ivar published: generation and profile that the last round works with. :ivar handled: generation that one has ended
        for; a status speaks of no other.
    :ivar started: unix time at which it was first in force; None = not yet. :ivar skew: s between pods, last change.
    :ivar inherited: it was in force before this controller led.
    :ivar orphan: it was deleted while nobody led; its pods are not known to be healed yet.
    """

    name: str
    uid: str
    obj: Object = field(repr=False)
    generation: int = 0
    declared: TrafficProfile | None = None
    good: TrafficProfile | None = None
    refusal: tuple[str, str, str] | None = None
    retry: float | None = None
    tries: int = 0
    vain: bool = False
    unheld: str = ""
    deleting: bool = False
    removed: bool = False
    ended: bool = False
    seen: float = field(default_factory=time.time)
    started: float | None = None
    skew: float = 0.0
    inherited: bool = False
    orphan: bool = False
    published: tuple[int, TrafficProfile | None] = (0, None)
    handled: int = 0

    @property
    def effective(self) -> TrafficProfile | None:
        """What shall be in force now: what is declared, else what was applied before; None = nothing."""
        if self.deleting or self.removed or self.ended:
            return None
        doubtful = self.refusal is not None or self.vain or bool(self.unheld)
        return self.declared if self.declared is not None and not doubtful else self.good

    @property
    def fresh(self) -> bool:
        """Whether what is declared is to be applied and has not been yet: all of its pods together, or none."""
        return self.effective is not None and self.effective is not self.good

    def inherit(self, past: Inheritance) -> None:
        """Go on where an earlier controller ended; to be called after :meth:`read`."""
        self.started, self.inherited = past.started, past.started is not None
        if self.generation == past.generation:
            self.good = self.declared
        elif past.spec is not None:
            with suppress(ConfigError):  # written by a version that knew other words
                self.good = _parsed({**self.obj, "spec": past.spec})
        self.ended = self.generation == past.ended

    def read(self, obj: Object) -> None:
        """Take a generation in."""
        self.obj, self.generation = obj, int(obj["metadata"].get("generation", 0))
        self.seen, self.declared, self.vain = time.time(), None, False
        self.refusal, self.retry, self.tries = None, None, 0
        try:
            declared = _parsed(obj)
        except ConfigError as error:
            self.refusal = ("Accepted", "Invalid", str(error))
            return
        if declared.script is not None:
            why = (
                "a profile of type Script runs an executable beside the controller, on the embedded cluster only: "
                "allow it with --netem-allow-script, or write spec.impairment instead"
            )
            self.refusal = ("Accepted", "ScriptNotSupported", why)
            return
        self.declared = self.good if declared == self.good else declared


def _parsed(obj: Object) -> TrafficProfile:
    """Equal for all generations that say the same."""
    return parse({**obj, "metadata": {**obj["metadata"], "generation": 0}})


def _nobodys(_: Object) -> bool:
    return False


class ProfileBook:
    """All profiles, kept by an informer; what changes nothing but status or finalizers wakes nobody.

    :param remember: takes the gaps that an earlier controller saw of a profile.
    :param others: tells profiles that somebody else cares for.
    """

    def __init__(
        self,
        runtime: Runtime,
        world: World,
        wake: Callable[[str], None],
        remember: Callable[[str, tuple[Gap, ...]], None],
        others: Callable[[Object], bool] | None = None,
    ) -> None:
        self.states: dict[str, ProfileState] = {}
        self._api: Api = runtime.api
        self._world = world
        self._wake = wake
        self._others = others or _nobodys
        self._remember = remember
        runtime.informer(TRAFFICPROFILES).subscribe(self._changed)

    def reconsider(self) -> None:
        """Let what could not be done be tried anew; to be called as a round begins, before anything is looked at."""
        for state in self.states.values():
            state.unheld = ""
            if state.retry is not None and time.monotonic() >= state.retry:
                state.refusal = state.retry = None

    def again(self) -> float | None:
        """Seconds until there is something to reconsider; None = there is nothing."""
        times = [state.retry for state in self.states.values() if state.retry is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def publish(self) -> None:
        """Put what shall be in force into the world, and the pods that are chosen once."""
        self._world.profiles.clear()
        for state in self.states.values():
            self._weigh(state)
            profile = state.effective
            state.published = (state.generation, profile)
            if profile is None:
                self._world.chosen.pop(state.uid, None)
                continue
            self._world.profiles[state.name] = profile
            if profile.follow == "start" and (state.fresh or state.uid not in self._world.chosen):
                self._choose(state, profile)

    def _weigh(self, state: ProfileState) -> None:
        """A change that would touch nothing takes nothing away; it is in force as soon as it touches something."""
        changed = state.declared is not None and state.declared is not state.good and state.refusal is None
        if state.declared is not None and (changed or state.vain):
            state.vain = state.good is not None and nothing.vain(state.declared, Index.of(self._world))

    async def hold(self) -> None:
        """Add our finalizer to profiles that are about to be applied; where that fails, a later round tries again."""
        for state in list(self.states.values()):
            finalizers = state.obj["metadata"].get("finalizers") or []
            if state.effective is not None and FINALIZER not in finalizers:
                try:
                    await self._write_finalizers(state, [*finalizers, FINALIZER])
                except ApiError as error:
                    state.unheld = f"its finalizer cannot be written: {error}"

    def orphans(self) -> list[ProfileState]:
        """Profiles that were deleted while nobody led, and whose pods may still hold them."""
        return [state for state in self.states.values() if state.orphan]

    async def let_go(self, state: ProfileState) -> None:
        """The profile is healed everywhere: its object may go.

        :raises ApiError: if our finalizer cannot be taken away.
        """
        finalizers = state.obj["metadata"].get("finalizers") or []
        if not state.removed and FINALIZER in finalizers:
            await self._write_finalizers(state, [name for name in finalizers if name != FINALIZER])
        if self.states.get(state.name) is state:
            del self.states[state.name]

    def _choose(self, state: ProfileState, profile: TrafficProfile) -> None:
        old = state.good
        if old is None or (old.pods, old.count, old.seed, old.follow) != (
            profile.pods,
            profile.count,
            profile.seed,
            profile.follow,
        ):
            self._world.chosen[state.uid] = choose(profile, self._world)

    async def _write_finalizers(self, state: ProfileState, finalizers: list[str]) -> None:
        version = state.obj["metadata"]["resourceVersion"]
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": version}}
        for _ in range(5):
            try:
                state.obj = await self._api.patch(TRAFFICPROFILES, state.name, patch)
                return
            except ApiError as error:
                if error.status == 404:
                    state.removed = True
                    return
                if error.status not in (409, 422):
                    raise
                last = error
            if not await self._again(state, patch):
                return
        raise last

    async def _again(self, state: ProfileState, patch: Object) -> bool:
        """After a conflict: whether the same change still has to be made, on the object as it is now."""
        try:
            now = await self._api.get(TRAFFICPROFILES, state.name)
        except ApiError as error:
            if error.status != 404:
                raise
            state.removed = True
            return False
        wanted = FINALIZER in patch["metadata"]["finalizers"]
        finalizers = [name for name in now["metadata"].get("finalizers") or () if name != FINALIZER]
        if now["metadata"]["uid"] != state.uid or (wanted and "deletionTimestamp" in now["metadata"]):
            return False
        patch["metadata"] = {
            "finalizers": [*finalizers, FINALIZER] if wanted else finalizers,
            "resourceVersion": now["metadata"]["resourceVersion"],
        }
        return True

    def _met(self, name: str, obj: Object) -> ProfileState:
        """A profile that this controller sees for the first time."""
        state = ProfileState(name, str(obj["metadata"].get("uid", "")), obj)
        past = inheritance.read(obj)
        if past is not inheritance.NOTHING:
            state.read(obj)
            state.inherit(past)
            state.orphan = "deletionTimestamp" in obj["metadata"]
            state.generation = 0  # it has not been looked at
            self._remember(name, past.gaps)
            if past.chosen is not None and state.good is not None:
                self._world.chosen[state.uid] = past.chosen
        return state

    def _changed(self, name: str, _old: Object | None, new: Object | None) -> None:
        if name not in self.states and (new is None or self._others(new)):
            return
        state = self.states.get(name)
        if new is None:
            if state is not None and not state.removed:
                state.removed = True
                self._wake(name)
            return
        meta = new["metadata"]
        if state is None or state.uid != meta.get("uid"):
            if "deletionTimestamp" in meta and FINALIZER not in (meta.get("finalizers") or ()):
                return  # let go already, or never ours
            state = self.states[name] = self._met(name, new)
        before = (state.generation, state.deleting)
        if "deletionTimestamp" in meta:
            state.deleting, state.obj = True, new
            state.generation = int(meta.get("generation", 0))
        elif state.generation != int(meta.get("generation", 0)):
            state.read(new)
        else:
            state.obj = new
        if before != (state.generation, state.deleting):
            self._wake(name)
