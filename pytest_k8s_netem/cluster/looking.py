"""Takes a snapshot of a cluster: in a bounded time, whatever state it is in; what cannot be had is named in it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.protocol import EVENTS, PODS, TRAFFICPROFILES
from pytest_k8s_netem.errors import NetemError
from pytest_k8s_netem.judge.effect import Effect, effects
from pytest_k8s_netem.model.wire import OBSERVED, plan_codec
from pytest_k8s_netem.resolve.objects import CONTAINERS
from pytest_k8s_netem.run.events import CAUSES
from pytest_k8s_netem.run.identity import CALLED, RUN
from pytest_k8s_netem.run.snapshot import HeldSeen, PodSeen, ProfileSeen, Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.cluster.provider import Provider
    from pytest_k8s_netem.controller.evidence import Evidence, Gap, PodEvidence
    from pytest_k8s_netem.run.events import Event

LOOK_WITHIN = 2.0
"""Seconds for all that a snapshot asks for; a failing test must not wait for what does not answer."""
MOST_PODS = 20
"""Pods whose logs a snapshot has; those that an impairment touches first."""
MOST_LINES = 1000
"""Last lines of each log that a snapshot has."""
MOST_EVENTS = 200
"""Kubernetes events that a snapshot has, the newest."""


async def look(
    provider: Provider, run: str, namespaces: Sequence[str], began: float, happened: Iterable[Event]
) -> Snapshot:
    """A snapshot, now.

    :param run: whose profiles belong to it, by their label. :param namespaces: the test's.
    """
    looking = _Looking(provider, run, namespaces)
    await looking.all()
    return Snapshot(
        time.time(),
        began,
        provider.lost(),
        tuple(looking.profiles.values()),
        tuple(looking.pods),
        tuple(sorted(looking.events, key=when)[-MOST_EVENTS:]),
        looking.logs,
        tuple(happened),
        tuple(looking.missing),
    )


def when(event: Object) -> str:
    """The time of a Kubernetes event, sortable; old and new ones have it in different fields."""
    named = (event.get(name) for name in ("lastTimestamp", "eventTime", "firstTimestamp"))
    return str(next((time for time in named if time), event["metadata"].get("creationTimestamp") or ""))


def profile_seen(obj: Object, evidence: Evidence | None = None, note: str = "") -> ProfileSeen:
    """A TrafficProfile and what is known of it; ``note``: why there is no evidence."""
    key = str(obj["metadata"]["name"])
    name = (obj["metadata"].get("annotations") or {}).get(CALLED) or key
    if evidence is None:
        return ProfileSeen(name, obj, notes=(note,) if note else ())
    return ProfileSeen(name, obj, _held(key, evidence), _gaps(evidence), evidence.notes)


class _Looking:
    """What has been had so far; every part is had on its own, so that none keeps the others waiting."""

    def __init__(self, provider: Provider, run: str, namespaces: Sequence[str]) -> None:
        self._provider, self._run, self._namespaces = provider, run, namespaces
        self._roles: dict[str, str] = {}
        self.profiles: dict[str, ProfileSeen] = {}
        self.pods: list[PodSeen] = []
        self.events: list[Object] = []
        self.logs: dict[str, str] = {}
        self.missing: list[str] = []

    async def all(self) -> None:
        parts = {
            "TrafficProfiles and pods": self._profiles_and_pods(),
            "logs of the provider's parts": self._part_logs(),
            **{f"events of namespace {name}": self._events(name) for name in self._namespaces},
        }
        await self._together(parts, LOOK_WITHIN)

    async def _together(self, parts: Mapping[str, Awaitable[None]], within: float) -> None:
        """Do all at the same time; note which of them failed or did not end in time."""
        if not parts:
            return
        tasks = {asyncio.ensure_future(part): what for what, part in parts.items()}
        try:
            await asyncio.wait(tasks, timeout=within)
        finally:
            late = [task for task in tasks if not task.done()]
            for task in late:
                task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task, what in tasks.items():
            if task in late:
                self.missing.append(f"{what}: no answer within {within:g} s")
            elif error := task.exception():
                self.missing.append(f"{what}: {error or type(error).__name__}")

    async def _profiles_and_pods(self) -> None:
        listing = await self._provider.api.list(TRAFFICPROFILES, selector=f"{RUN}={self._run}")
        for obj in listing.items:
            self.profiles[obj["metadata"]["name"]] = profile_seen(obj)
        # Half the time, so that pods are seen even if an agent does not answer.
        held = {f"what the pods hold of {key}": self._held(key) for key in self.profiles}
        await self._together(held, LOOK_WITHIN / 2)
        await self._pods()

    async def _held(self, key: str) -> None:
        witness = self._provider.witness
        evidence = await witness.evidence(key)
        self._roles |= dict.fromkeys(evidence.pods, "impaired")
        for pair in await witness.pairs(key) if len(evidence.pods) <= MOST_PODS else ():
            self._roles.setdefault(pair.remote, "peer")
        self.profiles[key] = profile_seen(self.profiles[key].object, evidence)

    async def _pods(self) -> None:
        elsewhere = {key.partition("/")[0] for key in self._roles}
        stopped = _stopped(self._provider)
        attached = [CONTAINERS] if stopped is not None else []
        names = list(dict.fromkeys([*self._namespaces, *attached, *sorted(elsewhere)]))
        listings = await asyncio.gather(*(self._provider.api.list(PODS, name) for name in names))
        found = {**(stopped or {}), **{_key(pod): pod for listing in listings for pod in listing.items}}
        chosen = sorted(found, key=lambda key: self._rank(key, found[key], names))
        if len(chosen) > MOST_PODS:
            self.missing.append(f"{len(chosen) - MOST_PODS} more pods")
        logs: dict[str, dict[str, str]] = {key: {} for key in chosen[:MOST_PODS]}
        self.pods = [PodSeen(key, found[key], self._roles.get(key, ""), logs[key]) for key in logs]
        await asyncio.gather(*(self._logs(seen.object, logs[seen.key]) for seen in self.pods))

    def _rank(self, key: str, pod: Object, namespaces: list[str]) -> tuple[int, bool, int, str]:
        role = {"impaired": 0, "peer": 1}.get(self._roles.get(key, ""), 2)
        return role, is_ready(pod), namespaces.index(key.partition("/")[0]), key

    async def _logs(self, pod: Object, logs: dict[str, str]) -> None:
        now, former = _containers(pod)
        await asyncio.gather(*(self._log(pod, container, logs) for container in now))
        await asyncio.gather(*(self._log(pod, f"{container}.previous", logs) for container in former))

    async def _log(self, pod: Object, container: str, logs: dict[str, str]) -> None:
        name, _, previous = container.partition(".")
        try:
            text = await self._text(pod, name, previous=bool(previous))
        except (NetemError, OSError) as error:
            if not previous:
                self.missing.append(f"log of {name} in pod/{_key(pod)}: {error}")
            return
        if text and (not previous or text != logs.get(name)):  # what waits to start again has written nothing yet
            logs[container] = text

    async def _text(self, pod: Object, name: str, *, previous: bool) -> str:
        if pod["metadata"]["namespace"] == CONTAINERS:
            return await self._provider.attachments.logs(pod["metadata"]["name"], MOST_LINES)
        return await self._provider.logs(pod, name, lines=MOST_LINES, previous=previous)

    async def _events(self, namespace: str) -> None:
        self.events += (await self._provider.api.list(EVENTS, namespace)).items

    async def _part_logs(self) -> None:
        self.logs |= await self._provider.part_logs(MOST_LINES)


def _held(key: str, evidence: Evidence) -> dict[str, HeldSeen]:
    return {pod: _holds(key, part) for pod, part in sorted(evidence.pods.items())}


def _holds(key: str, part: PodEvidence) -> HeldSeen:
    effect = part.earlier + effects(part.plan, part.observed).get(key, Effect())
    verdict = part.verdicts.get(key)
    problems = tuple(map(str, verdict.problems)) if verdict is not None else ("it was not judged",)
    raw = {"plan": plan_codec({}).encode(part.plan), "observed": OBSERVED.encode(part.observed)}
    return HeldSeen(part.plan.engine, asdict(effect), problems, raw)


def _gaps(evidence: Evidence) -> tuple[tuple[str, str], ...]:
    return tuple((gap.pod, f"not impaired {_span(gap)}: {CAUSES.get(gap.cause, gap.cause)}") for gap in evidence.gaps)


def _span(gap: Gap) -> str:
    return "until now" if gap.end is None else f"for {gap.end - gap.start:.1f} s"


def _key(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _containers(pod: Object) -> tuple[list[str], list[str]]:
    """Every container that has begun, agents among them; those of them that had a life before."""
    status = pod.get("status") or {}
    fields = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    entries = [entry for field in fields for entry in status.get(field) or ()]
    former = [str(entry["name"]) for entry in entries if entry.get("restartCount")]
    now = [str(entry["name"]) for entry in entries if "waiting" not in (entry.get("state") or {})]
    return list(dict.fromkeys([*now, *former])), former


def _stopped(provider: Provider) -> dict[str, Object] | None:
    """Attached containers that do not run, as pods; None = no container is attached."""
    try:
        attached = provider.attachments.attached()
    except NetemError:  # this provider has none
        return None
    stopped = (one.name for one in attached if one.now is None)
    return {f"{CONTAINERS}/{name}": _stopped_pod(name) for name in stopped} if attached else None


def _stopped_pod(name: str) -> Object:
    statuses = [{"name": name, "state": {"terminated": {}}}]
    return {
        "metadata": {"name": name, "namespace": CONTAINERS},
        "spec": {},
        "status": {"phase": "Stopped", "containerStatuses": statuses},
    }
