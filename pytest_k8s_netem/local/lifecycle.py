"""The life of one local pod: namespace, gate, containers, restarts, end. One object a pod, on the run's loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.api.refusals import tolerated
from pytest_k8s_netem.errors import ApiError, ClusterError, NetemError
from pytest_k8s_netem.local import podspec, podstatus, readiness
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_k8s_netem.api.protocol import Api, Object
    from pytest_k8s_netem.local.host import NodeHost
    from pytest_k8s_netem.local.process import Process

FIRST_PAUSE, MOST_PAUSE = 0.1, 5.0
"""Seconds before the second restart and the later ones, doubled each time; the first comes at once."""
WRITTEN_WITHIN = 30.0
"""Seconds for an API server that is away for a moment to take a status."""
STABLE_SECONDS = 10.0
"""A container that ran so long starts again without a pause."""

Gate = Callable[["Object"], Awaitable[None]]
"""Awaited between a pod's network and its first command: here the controller impairs it."""


async def open_gate(_: Object) -> None:
    """Let every pod start at once."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all pods share.

    :ivar base: environment that every container starts from. :ivar logs: directory of all logs.
    :ivar before_ready: awaited before a pod's readiness is told, so that its names are known by then.
    """

    api: Api
    host: NodeHost
    base: Mapping[str, str]
    logs: Path
    gate: Gate
    before_ready: Callable[[], Awaitable[None]]


class PodLife:
    """Runs a pod from its namespace to its end.

    :ivar pod: the object as it was bound to its node, with its addresses in the status.
    :ivar pair: its addresses as planned, v4 and v6. :ivar addresses: those that the kernel can have.
    """

    def __init__(self, around: Surroundings, pod: Object, addresses: tuple[str, str], hosts: tuple[str, str]) -> None:
        self.pod = pod
        self.key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self.pair = addresses
        self.addresses: tuple[str, ...] = addresses[: 2 if around.host.ipv6 else 1]
        self._hosts = hosts[: len(self.addresses)]
        self._around = around
        self._started = podstatus.now()
        self._specs = list(pod["spec"]["containers"])
        self._states = [podstatus.ContainerState(spec["name"], spec.get("image", "")) for spec in self._specs]
        self._processes: dict[str, Process] = {}
        self._written: Mapping[str, Any] = dict(pod.get("status") or {})
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    @property
    def ready(self) -> bool:
        """All its containers run and are ready; known a moment before the api has it."""
        return not self._ending and all(state.ready for state in self._states)

    @property
    def finished(self) -> bool:
        """It Succeeded or Failed."""
        return all(state.finished for state in self._states)

    async def begin(self) -> None:
        """Tell the addresses; the containers start behind the gate, later."""
        await self.publish()
        self._task(self._pass_gate())

    def log(self, container: str) -> Path:
        """File with everything that a container has written."""
        uid = self.pod["metadata"]["uid"][:8]
        return self._around.logs / f"{self.key.replace('/', '_')}_{uid}" / f"{container}.log"

    def program(self, container: str = "") -> podspec.Program:
        """How a container (default: the first) runs.

        :raises ClusterError: if the pod has none of that name.
        """
        for spec in self._specs:
            if container in ("", spec["name"]):
                return podspec.program(self.pod, spec, self._around.base)
        names = ", ".join(spec["name"] for spec in self._specs)
        raise ClusterError(f"pod/{self.pod['metadata']['name']} has no container {container!r}; it has {names}")

    def leave(self) -> None:
        """From now on it is not ready and nothing of it is started again."""
        self._ending = True

    async def end(self, grace: float) -> None:
        """SIGTERM, SIGKILL after ``grace`` seconds, then nothing of it runs."""
        self.leave()
        await self._signal(signal.SIGTERM)
        if self._processes and grace > 0:
            ends = [asyncio.ensure_future(process.wait()) for process in self._processes.values()]
            await asyncio.wait(ends, timeout=grace)
        await self._signal(signal.SIGKILL)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def publish(self) -> None:
        """Write the status, if it changed; one write at a time, each of the newest state.

        A lost node says nothing any more: its pods have not ended, they are out of reach.
        """
        if self._around.host.lost.is_set():
            return
        await self._around.before_ready()
        async with self._writing:
            new = podstatus.status(self._states, self.addresses, self._hosts, self._started, self._written)
            if new == self._written:
                return
            self.pod["status"] = new
            with contextlib.suppress(ApiError):  # the server is away for long: the next change tells all
                await self._write(new)
                self._written = new

    async def _write(self, status: Mapping[str, Any]) -> None:
        meta = self.pod["metadata"]
        async for attempt in attempts(WRITTEN_WITHIN, ApiError):
            with attempt, tolerated(404):  # it was deleted meanwhile
                patch = {"status": status}
                await self._around.api.patch(PODS, meta["name"], patch, meta["namespace"], subresource="status")

    async def _pass_gate(self) -> None:
        try:
            await self._around.gate(self.pod)
        except NetemError as error:
            for state in self._states:
                state.waits("CreateContainerConfigError", str(error))
            await self.publish()
            return
        for spec, state in zip(self._specs, self._states, strict=True):
            self._task(self._supervise(spec, state))

    def _task(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _signal(self, number: int) -> None:
        for process in list(self._processes.values()):
            with contextlib.suppress(ClusterError):
                await process.kill(number)

    async def _supervise(self, spec: Mapping[str, Any], state: podstatus.ContainerState) -> None:
        """Run a container again and again, as the restart policy says."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            succeeded = await self._run_once(spec, state)
            if self._ending or self._around.host.lost.is_set() or not self._again(succeeded):
                state.finished = True
                await self.publish()
                return
            failures = 0 if loop.time() - began > STABLE_SECONDS else failures + 1
            pause = min(MOST_PAUSE, FIRST_PAUSE * 2 ** (failures - 2)) if failures > 1 else 0.0
            if "waiting" not in state.state:
                state.waits("CrashLoopBackOff", f"back-off {pause:g}s restarting container {state.name}")
            await self.publish()
            await asyncio.sleep(pause)
            state.restarts += 1

    def _again(self, succeeded: bool) -> bool:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        return policy == "Always" or (policy == "OnFailure" and not succeeded)

    async def _run_once(self, spec: Mapping[str, Any], state: podstatus.ContainerState) -> bool:
        """One run of a container; whether it ended well."""
        host, program = self._around.host, podspec.program(self.pod, spec, self._around.base)
        try:
            process = await self._start(program)
        except ClusterError as error:
            state.waits("RunContainerError", str(error))
            if self.pod["spec"].get("restartPolicy", "Always") == "Never":
                state.ended(128)  # what container runtimes report for a command that does not start
                state.state["terminated"].update(reason="StartError", message=str(error))
            return False
        self._processes[program.name] = process
        state.running()
        probing = self._watch_readiness(spec, program, state)
        await self.publish()
        try:
            status = await process.wait()
        finally:
            probing.cancel()
            self._processes.pop(program.name, None)
            with contextlib.suppress(ClusterError):
                await host.end_box(self.key, program.name)
        state.ended(status)
        return status == 0

    async def _start(self, program: podspec.Program) -> Process:
        path = self.log(program.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        null = os.open(os.devnull, os.O_RDONLY)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            return await self._around.host.spawn(
                self.key,
                program.argv,
                env=program.env,
                box=program.name,
                cwd=program.cwd,
                uid=program.uid,
                gid=program.gid,
                stdio=(null, log, log),
            )
        finally:
            os.close(null)
            os.close(log)

    def _watch_readiness(
        self, spec: Mapping[str, Any], program: podspec.Program, state: podstatus.ContainerState
    ) -> asyncio.Task[None]:
        if "readinessProbe" not in spec:
            state.ready = True
            return self._task(asyncio.sleep(0))

        def tell(ready: bool) -> None:
            state.ready = ready
            self._task(self.publish())

        asked = readiness.Asked(self.pod["spec"]["nodeName"], self.key, self.addresses[0], program)
        ask = readiness.asker(self._around.host, asked, spec)
        return self._task(readiness.watch(readiness.Probe.of(spec["readinessProbe"]), ask, tell))
