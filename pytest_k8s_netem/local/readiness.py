"""Readiness probes of local containers: asked from the node, or by a command in the container."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pytest_k8s_netem.errors import ClusterError
from pytest_k8s_netem.local.podspec import Program, port_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_k8s_netem.local.host import NodeHost

EAGER_SECONDS = 0.1
"""Pause between probes until the first success, if they take no longer: a test need not wait a whole period."""

Ask = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Probe:
    """How often to ask; seconds, with Kubernetes' defaults."""

    delay: float
    period: float
    successes: int
    failures: int

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Probe:
        """Read a readinessProbe."""
        return cls(
            delay=spec.get("initialDelaySeconds") or 0,
            period=spec.get("periodSeconds") or 10,
            successes=spec.get("successThreshold") or 1,
            failures=spec.get("failureThreshold") or 3,
        )


async def watch(probe: Probe, ask: Ask, tell: Callable[[bool], None]) -> None:
    """Ask for ever and tell each change of the answer; unready is what counts before the first success."""
    await asyncio.sleep(probe.delay)
    clock = asyncio.get_running_loop().time
    ready, streak = False, 0
    while True:
        asked = clock()
        good = await ask()
        took = clock() - asked
        streak = 0 if good == ready else streak + 1
        if streak >= (probe.failures if ready else probe.successes):
            ready, streak = good, 0
            tell(ready)
        # Half of the time at most: on a slow machine a command that asks must not starve what it waits for.
        await asyncio.sleep(probe.period if ready else min(max(EAGER_SECONDS, took), probe.period))


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose readiness it is: the pod's node, key and first address, and how its container runs."""

    node: str
    pod: str
    address: str
    program: Program


def asker(host: NodeHost, asked: Asked, container: Mapping[str, Any]) -> Ask:
    """What a container's readinessProbe asks."""
    spec = container["readinessProbe"]
    timeout = float(spec.get("timeoutSeconds") or 1)
    if http := spec.get("httpGet"):
        headers = {entry["name"]: entry["value"] for entry in http.get("httpHeaders") or ()}
        port, path = port_number(container, http["port"]), http.get("path") or "/"
        where = http.get("host") or asked.address
        return lambda: host.probe_http(asked.node, where, port, path, timeout=timeout, headers=headers)
    if tcp := spec.get("tcpSocket"):
        return lambda: host.probe_tcp(
            asked.node, tcp.get("host") or asked.address, port_number(container, tcp["port"]), timeout
        )
    return lambda: _by_command(host, asked, spec["exec"]["command"], timeout)


async def _by_command(host: NodeHost, asked: Asked, argv: list[str], timeout: float) -> bool:
    program = asked.program
    null = os.open(os.devnull, os.O_RDWR)
    try:
        process = await host.spawn(
            asked.pod,
            argv,
            env=program.env,
            box=program.name,
            cwd=program.cwd,
            uid=program.uid,
            gid=program.gid,
            stdio=(null, null, null),
        )
    except ClusterError:
        return False
    finally:
        os.close(null)
    try:
        return await asyncio.wait_for(process.wait(), timeout) == 0
    except TimeoutError:
        await process.kill()
        return False
