"""All targets and the sessions that serve them: attached when first needed, attached anew when a session is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

from pytest_k8s_netem.controller.evidence import Ended
from pytest_k8s_netem.controller.leases import keep
from pytest_k8s_netem.controller.session import AgentSession
from pytest_k8s_netem.controller.tally import Past
from pytest_k8s_netem.controller.targets import Target
from pytest_k8s_netem.controller.world import leaving
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.run import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.channel import Channel, Channels
    from pytest_k8s_netem.controller.evidence import GapBook
    from pytest_k8s_netem.resolve.world import World

SERVED_WITHIN = 5.0
"""Seconds for an agent to serve a pod that exists."""

Emit = Callable[[events.Event], None]


class Fleet:
    """Targets by pod; belongs to one event loop.

    :ivar targets: by ``namespace/name``. :ivar troubles: why a pod could not be attached.
    :ivar past: by profile, what held it and does so no more.
    """

    def __init__(
        self,
        channels: Channels,
        world: World,
        gaps: GapBook,
        emit: Emit,
        *,
        identity: str,
        epoch: int,
        changed: Callable[[Target], None],
        dirty: Callable[[Iterable[str]], None],
        ended: Callable[[str], None],
    ) -> None:
        self.targets: dict[str, Target] = {}
        self.troubles: dict[str, str] = {}
        self.past = Past()
        self._channels = channels
        self._world = world
        self._gaps = gaps
        self._emit = emit
        self._identity, self._epoch = identity, epoch
        self._changed, self._dirty, self._ended = changed, dirty, ended
        self._sessions: dict[int, asyncio.Task[AgentSession]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def sessions(self) -> list[AgentSession]:
        """Those that live."""
        done = [task for task in self._sessions.values() if task.done() and not task.cancelled()]
        return [task.result() for task in done if task.exception() is None and not task.result().lost]

    async def attach(self, key: str, pod: Object) -> bool:
        """See that the pod has a target with a session; whether anything was done for that.

        :raises ImpairmentError: if it cannot have one, or not now.
        """
        target = self.targets.get(key)
        if target is not None and target.uid != pod["metadata"]["uid"]:
            self.drop(key)
            target = None
        if target is not None and target.session is not None and not target.session.lost:
            return False
        name, lease = self._channels.target(pod), self._channels.lease(pod)
        try:
            session = await self._session(await self._channels.open(pod), lease)
            facts = await session.serves(name, SERVED_WITHIN)
        except ImpairmentError as error:
            self.troubles[key] = str(error)
            raise
        self.troubles.pop(key, None)
        if target is None:
            target = self.targets[key] = Target(key, name, pod["metadata"]["uid"], self._changed, lease)
        target.session = session
        self._world.targets[key] = facts
        await self._resume(target)
        target.owed = frozenset()
        return True

    def drop(self, key: str) -> None:
        """The pod is gone, and its network with it."""
        target = self.targets.pop(key, None)
        self._world.targets.pop(key, None)
        self.troubles.pop(key, None)
        if target is None:
            return
        target.end()
        if not target.plan.empty:
            self._emit(events.PodEnded(key, tuple(sorted(target.profiles))))
        self._remember(target, target.profiles)
        for profile in target.profiles:
            self._gaps.close(profile, key, time.time())

    def give_up(self, target: Target, cause: str) -> None:
        """A target whose session is lost and does not come back: its agent has healed it, unless it was killed."""
        if target.plan.empty:
            return
        since = target.lost_at or time.time()
        for profile in target.profiles:
            if profile in self._world.profiles:
                self._gaps.open(profile, target.key, cause, since)
        owed = target.profiles | target.owed
        target.released()
        target.owed = owed

    async def release(self, target: Target) -> None:
        """End the session of a pod that holds nothing; it is attached anew when a profile selects it again."""
        session = target.session
        target.end()
        del self.targets[target.key]
        self._world.targets.pop(target.key, None)
        self.troubles.pop(target.key, None)
        if session is not None and not any(one.session is session for one in self.targets.values()):
            await session.close()
            self._sessions = {key: one for key, one in self._sessions.items() if not _over(one)}

    def left(self, target: Target, profiles: Iterable[str]) -> None:
        """These have no part in a target's plan any more, though they live: what they met there is kept."""
        for profile in profiles:
            self.past.add(profile, Ended(target.key, target.earlier.of(profile)))
            target.earlier.forget(profile)

    def recount(self, profile: str) -> None:
        """The profile says something else from now on, and what it did is counted from here."""
        for target in self.targets.values():
            target.earlier.forget(profile)
        self.past.recount(profile)

    def forget(self, profile: str) -> None:
        """The profile is gone."""
        self.recount(profile)
        self.past.forget(profile)

    @asynccontextmanager
    async def guest(self, pod: Object) -> AsyncIterator[AgentSession | Channel]:
        """A session for probes that leave the test's counters alone; the owner's where there can be no other."""
        channel = await self._channels.guest(pod)
        if channel is None:
            yield await self._session(await self._channels.open(pod), self._channels.lease(pod))
            return
        try:
            await channel.request("hello", role="guest")
            yield channel
        finally:
            await channel.close()

    async def stop(self) -> None:
        """Close all sessions."""
        for target in self.targets.values():
            target.end()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in self.sessions:
            await session.close()
        self._sessions.clear()

    async def _session(self, channel: Channel, lease: float | None) -> AgentSession:
        """The session on this channel; whoever comes first says hello for all."""
        task = self._sessions.get(id(channel))
        if task is None or _over(task):
            task = asyncio.get_running_loop().create_task(self._greet(channel, lease), name="hello to an agent")
            self._sessions = {key: one for key, one in self._sessions.items() if not _over(one)}
            self._sessions[id(channel)] = task
        return await asyncio.shield(task)

    async def _greet(self, channel: Channel, lease: float | None) -> AgentSession:
        session = AgentSession(channel, self._told, self._lost)
        await session.hello(self._identity, self._epoch)
        if lease is not None:
            self._spawn(keep(session, lease, self._emit))
        return session

    async def _resume(self, target: Target) -> None:
        """After a lost session: what is still in force goes on without a gap."""
        if target.lost_at is None:
            return
        if not await target.still_holds():
            self.give_up(target, "session")
        target.lost_at = None

    # What agents tell

    def _told(self, session: AgentSession, event: dict[str, Any]) -> None:
        name = str(event.get("target", ""))
        target = next((one for one in self.targets.values() if one.session is session and one.name == name), None)
        if target is None:
            return
        match event.get("event"):
            case "healed":
                target.counts(event.get("last"))
                self._healed(target, str(event.get("cause", "")))
            case "ended":
                target.counts(event.get("last"))
                self._over(target, str(event.get("profile", "")))
            case "target":
                self._served(session, target)
            case "overloaded":
                self._emit(events.Overloaded(target.key, str(event.get("stage", ""))))
                self._spawn(self._look(target))
            case "segment":
                self._emit(events.SegmentBegan(target.key, str(event.get("stage")), int(event.get("index") or 0)))

    def _healed(self, target: Target, cause: str) -> None:
        if target.plan.empty:
            return
        profiles = tuple(sorted(target.profiles))
        self._emit(events.Healed(target.key, profiles, cause))
        over = {profile for profile, _ in target.plan.durations} if cause == "duration" else set()
        self._remember(target, over)
        for profile in profiles:
            if profile in over:
                self._ended(profile)
            elif cause != "request" and profile in self._world.profiles and not self._leaving(target.key):
                self._gaps.open(profile, target.key, cause, time.time())
        target.released()
        self._dirty([target.key])

    def _over(self, target: Target, profile: str) -> None:
        """One profile's duration is over; what others met until then is kept beside what they meet from now on."""
        self._remember(target, [profile])
        if target.last is not None:
            target.earlier.add(target.plan, target.last)
            target.earlier.forget(profile)
            target.last = None
        self._ended(profile)

    def _remember(self, target: Target, profiles: Iterable[str]) -> None:
        for profile in profiles:
            self.past.add(profile, target.ended(profile))

    def _leaving(self, key: str) -> bool:
        """Whether its pod is being deleted: an agent in it ends as the other containers do, and heals as it goes."""
        return leaving(dict(self._world.pods.get(key) or {"metadata": {}}))

    def _served(self, session: AgentSession, target: Target) -> None:
        facts = session.facts.get(target.name)
        if facts is None:
            self.drop(target.key)
        else:
            self._world.targets[target.key] = facts
        self._dirty([target.key])

    async def _look(self, target: Target) -> None:
        try:
            await target.observe()
        except ImpairmentError as error:
            self._emit(events.Trouble(target.key, str(error)))

    def _lost(self, session: AgentSession) -> None:
        lost = [target for target in self.targets.values() if target.session is session]
        for target in lost:
            target.end()
            target.session = None
            target.lost_at = time.time()
        self._emit(events.ChannelLost(tuple(target.key for target in lost), session.lost))
        self._dirty([target.key for target in lost])

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _over(task: asyncio.Task[AgentSession]) -> bool:
    """Whether it has no session that lives, nor will."""
    return task.done() and (task.cancelled() or task.exception() is not None or bool(task.result().lost))
