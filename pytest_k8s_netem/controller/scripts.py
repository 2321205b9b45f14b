"""Profiles of type Script, where the user allows them: an executable for each pod, told by a JSON document what to do.

The contract is k8s-netem's: the executable is started once per interface, in the pod's network, with one argument, the
path of the document, and is to read it again whenever that is modified:
``{"interface": "eth0", "flows": [{"metadata": .., "filter": .., "parameters": ..}]}``. ``metadata`` is the profile's,
``parameters`` are its ``spec.parameters`` as they stand. ``filter`` says which packets, resolved: per direction a list
of ``{"remote": [CIDR ..], "protocols": [[first, last] ..], "remotePorts": .., "localPorts": ..}``; null = any.
What a script does is neither read back nor probed; it has to undo it on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from pathlib import Path
from typing import Protocol

from pytest_k8s_netem.api.protocol import PODS, TRAFFICPROFILES
from pytest_k8s_netem.controller import nothing
from pytest_k8s_netem.controller.evidence import Evidence, Gap
from pytest_k8s_netem.controller.profiles import FINALIZER
from pytest_k8s_netem.controller.status import condition
from pytest_k8s_netem.controller.world import running
from pytest_k8s_netem.errors import ApiError, ConfigError, NetemError
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.profile.parse import parse
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.rules import own_ports, taken
from pytest_k8s_netem.resolve.select import selected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime
    from pytest_k8s_netem.model.match import Match
    from pytest_k8s_netem.model.peers import PeerSet
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile
    from pytest_k8s_netem.resolve.world import World

EXECUTABLE = "tc-script"
"""What runs, from PATH; ``spec.parameters.executable`` names another, by name or path."""
INTERFACE = "eth0"
GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL at the end of a profile."""


class Running(Protocol):
    """A script that was started."""

    async def wait(self) -> int:
        """Its exit status."""

    async def kill(self, signal: int) -> None:
        """Send a signal to it and to what it started."""

    def output(self) -> str:
        """What it has written."""


Launch = Callable[["Object", list[str]], Awaitable[Running]]
"""Start a command in a pod's network, as its root, with the files of this machine."""


@dataclass(slots=True)
class _Script:
    """One process and its document."""

    document: Path
    process: Running
    watch: asyncio.Task[None] | None = None
    failure: str = ""
    failed_at: float = 0.0


@dataclass(slots=True)
class _State:
    scripts: dict[str, _Script] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    since: float = field(default_factory=time.time)


class Scripts:
    """Keeps a script running for each pod that a profile of type Script selects.

    :param world: what profiles select from. :param directory: takes the documents.
    """

    def __init__(self, runtime: Runtime, world: World, launch: Launch, directory: Path) -> None:
        self._api, self._world, self._launch, self._directory = runtime.api, world, launch, directory
        self._states: dict[str, _State] = {}
        self._profiles = runtime.informer(TRAFFICPROFILES)
        self._controller = runtime.controller("scripts", self._reconcile)
        self._profiles.subscribe(self._changed)
        runtime.informer(PODS).subscribe(lambda *_: self._wake())

    def has(self, profile: str) -> bool:
        """Whether this profile is one of them."""
        return profile in self._states

    def evidence(self, profile: str) -> Evidence:
        """No read-back; a script that ended by itself is a gap that lasts."""
        scripts = self._states[profile].scripts
        gaps = [Gap(pod, one.failed_at, None, one.failure) for pod, one in scripts.items() if one.failure]
        return Evidence({}, gaps=tuple(gaps))

    async def stop(self) -> None:
        """End all."""
        await asyncio.gather(*(self._end(state, pod) for state in self._states.values() for pod in list(state.scripts)))

    def _changed(self, name: str, old: Object | None, new: Object | None) -> None:
        if is_script(new or old or {}):
            self._controller.queue.add(name)

    def _wake(self) -> None:
        for name in self._states:
            self._controller.queue.add(name)

    async def _reconcile(self, name: str) -> float | None:
        obj = self._profiles.objects.get(name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            await self._gone(name, obj)
            return None
        state = self._states.setdefault(name, _State())
        if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
            await self._api.patch(TRAFFICPROFILES, name, {"metadata": {"finalizers": [FINALIZER]}})
        try:
            profile = replace(parse(obj), name=name)
        except ConfigError as error:
            await self._tell(obj, ("Accepted", "Invalid", str(error)))
            return None
        index = Index(replace(self._world, profiles={name: profile}))
        wanted = {pod for pod in selected(index, name) if running(dict(index.live[pod]))}
        await self._keep(state, wanted, profile, obj, index)
        await self._tell(obj, self._refusal(state, profile, index))
        return None if wanted else 1.1  # nothing selected is final after a moment

    async def _keep(self, state: _State, wanted: set[str], profile: TrafficProfile, obj: Object, index: Index) -> None:
        """Bring processes and documents to what is wanted."""
        await asyncio.gather(*(self._end(state, pod) for pod in list(state.scripts) if pod not in wanted))
        state.broken = {}
        for pod in sorted(wanted):
            text = json.dumps(document(profile, obj, index, pod), indent=1)
            try:
                if pod not in state.scripts:
                    await self._begin(state, profile, pod, text)
                rewrite(state.scripts[pod].document, text)
            except NetemError as error:
                state.broken[pod] = str(error)

    async def _begin(self, state: _State, profile: TrafficProfile, pod: str, text: str) -> None:
        path = self._directory / profile.name / f"{pod.replace('/', '_')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        parameters = profile.script.parameters if profile.script is not None else {}
        argv = [str(parameters.get("executable", EXECUTABLE)), str(path)]
        process = await self._launch(dict(self._world.pods[pod]), argv)
        script = _Script(path, process)
        script.watch = asyncio.get_running_loop().create_task(self._watch(profile.name, script, argv[0]))
        state.scripts[pod] = script

    async def _watch(self, profile: str, script: _Script, executable: str) -> None:
        status = await script.process.wait()
        said = "".join(f"\n  | {line}" for line in script.process.output().strip().splitlines()[-5:])
        script.failed_at = time.time()
        script.failure = f"its script {executable} ended by itself, with status {status}{said}"
        self._controller.queue.add(profile)

    async def _end(self, state: _State, pod: str) -> None:
        script = state.scripts.pop(pod)
        if script.watch is not None:
            script.watch.cancel()
        if not script.failure:
            await script.process.kill(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(script.process.wait(), GRACE)
        with suppress(NetemError, TimeoutError):
            await script.process.kill(signal.SIGKILL)
            await asyncio.wait_for(script.process.wait(), GRACE)  # what is killed goes a moment later
        script.document.unlink(missing_ok=True)

    async def _gone(self, name: str, obj: Object | None) -> None:
        if state := self._states.pop(name, None):
            await asyncio.gather(*(self._end(state, pod) for pod in list(state.scripts)))
        if obj is not None and FINALIZER in (obj["metadata"].get("finalizers") or ()):
            kept = [one for one in obj["metadata"]["finalizers"] if one != FINALIZER]
            with suppress(ApiError):  # 404: gone
                await self._api.patch(TRAFFICPROFILES, name, {"metadata": {"finalizers": kept}})

    def _refusal(self, state: _State, profile: TrafficProfile, index: Index) -> tuple[str, str, str] | None:
        """(condition, reason, message) of what is wrong."""
        if state.broken:
            pod, why = next(iter(state.broken.items()))
            return ("Applied", "ScriptFailed", f"pod/{pod}: {why}")
        failed = [f"pod/{pod}: {one.failure}" for pod, one in state.scripts.items() if one.failure]
        if failed:
            return ("Applied", "ScriptFailed", failed[0])
        if not state.scripts:
            return ("Applied", "NothingSelected", nothing.no_pod(profile, index))
        return None

    async def _tell(self, obj: Object, refusal: tuple[str, str, str] | None) -> None:
        """Write the conditions; what a script does cannot be read back, and Verified says so."""
        state, generation = self._states[obj["metadata"]["name"]], int(obj["metadata"].get("generation", 0))
        if refusal and refusal[1] == "NothingSelected" and time.time() - state.since < 1:
            return
        good = {"Accepted": "Accepted", "Applied": "ScriptRuns", "Verified": "NotProvable"}
        conditions = []
        for kind, reason in good.items():
            if refusal and refusal[0] == kind:
                conditions.append(condition(kind, False, generation, *refusal[1:]))
                break
            conditions.append(condition(kind, True, generation, reason))
        status = {"observedGeneration": generation, "conditions": conditions}
        if (obj.get("status") or {}) != status:
            await self._api.patch(TRAFFICPROFILES, obj["metadata"]["name"], {"status": status}, subresource="status")


def is_script(obj: Object) -> bool:
    """Whether a TrafficProfile is of type Script."""
    spec = obj.get("spec")
    return isinstance(spec, dict) and spec.get("type") == "Script"


def document(profile: TrafficProfile, obj: Object, index: Index, pod: str) -> dict[str, Any]:
    """What a script is told for one pod."""
    metadata = {key: obj["metadata"][key] for key in ("name", "uid", "labels", "annotations") if key in obj["metadata"]}
    found = {}
    for way in Direction:
        own = own_ports(index, profile.name, way, pod)
        found[way.value] = [_match(one) for one in taken(index, profile.name, way, own)]
    flow = {"metadata": metadata, "filter": found, "parameters": obj["spec"].get("parameters") or {}}
    return {"interface": INTERFACE, "flows": [flow]}


def _match(match: Match) -> dict[str, Any]:
    parts = {"protocols": match.protocols, "remotePorts": match.remote_ports, "localPorts": match.local_ports}
    ranges = {name: None if part is None else [list(one) for one in part] for name, part in parts.items()}
    return {"remote": None if match.remote is None else list(_networks(match.remote)), **ranges}


def _networks(addresses: PeerSet) -> Iterator[str]:
    """CIDRs."""
    for family, kind in ((4, IPv4Address), (6, IPv6Address)):
        for first, last in addresses.family(family):
            yield from map(str, summarize_address_range(kind(first), kind(last)))


def rewrite(path: Path, text: str) -> None:
    """Put other text in a file by one write, padded so that a reader never finds half of it or none."""
    old = path.read_text()
    if old.rstrip() == text.rstrip():
        return
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, text.ljust(len(old)).encode(), 0)
    finally:
        os.close(fd)
