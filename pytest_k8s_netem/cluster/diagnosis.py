"""What this machine can do for the project, found by trying, and what to do about what it cannot."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.errors import NetemError
from pytest_k8s_netem.local.host import NodeHost
from pytest_k8s_netem.model.greeting import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_k8s_netem.model.capabilities import Capabilities


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was tried.

    :ivar ok: whether it works here. :ivar detail: what was found; what is missing and the fix, where it does not.
    """

    what: str
    ok: bool
    detail: str


async def diagnose(directory: Path) -> list[Diagnosis]:
    """Start a node host and its agent, ask what the kernel can do, and end them.

    :param directory: for their logs.
    """
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    found = [Diagnosis("system", True, system)]
    host = NodeHost(directory / "node-host.log")
    try:
        await host.start()
        who = "in a user namespace of your own" if host.nested else "as root"
        family = "IPv4 and IPv6" if host.ipv6 else "IPv4 only"
        found.append(Diagnosis("embedded cluster", True, f"{who}, {family}"))
        found += _kernel(await _capabilities(host, directory))
    except NetemError as error:
        found.append(Diagnosis("embedded cluster", False, str(error)))
    finally:
        await host.close()
    return found


async def _capabilities(host: NodeHost, directory: Path) -> Capabilities:
    await host.start_agent(directory / "agent.log")
    channel = await StreamChannel.over(await host.session())
    try:
        hello = await channel.request("hello", role="guest")
    finally:
        await channel.close()
    capabilities: Capabilities = CAPABILITIES.decode(hello["capabilities"])
    return capabilities


def _kernel(capabilities: Capabilities) -> Iterator[Diagnosis]:
    for engine in capabilities.engines:
        able = f"everything but {', '.join(engine.refuses)}" if engine.refuses else "everything"
        able += f"; not guaranteed: {', '.join(engine.unpromised)}" if engine.unpromised else ""
        preferred = "preferred; " if engine.name == capabilities.preferred else ""
        yield Diagnosis(f"engine {engine.name}", engine.available, engine.missing or preferred + able)
    yield Diagnosis("classifiers", bool(capabilities.classifiers), ", ".join(capabilities.classifiers) or "none")
    yield Diagnosis("privileges", bool(capabilities.privileges), ", ".join(capabilities.privileges) or "none")
