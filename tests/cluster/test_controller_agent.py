"""The controller over the embedded cluster's real agent: objects become delays that a ping sees, kills become gaps."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from embedded_lab import to_its_end

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import PODS, TRAFFICPROFILES
from pytest_k8s_netem.controller import waiting
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.controller.traffic import TrafficController
from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.local.embedded import EmbeddedCluster
from pytest_k8s_netem.run import events

pytestmark = [pytest.mark.needs("netns"), pytest.mark.needs("ping")]


class Lab:
    """An embedded cluster under a controller."""

    def __init__(self, directory: Path) -> None:
        self.api = MemoryApi()
        self.runtime = Runtime(self.api)
        self.log = events.EventLog()
        self.cluster = EmbeddedCluster(self.runtime, directory, nodes=2, gate=self._gate)
        self.controller = TrafficController(self.runtime, self.cluster.channels, identity="test", emit=self.log)

    async def _gate(self, pod: dict[str, Any]) -> None:
        await self.controller.gate(pod)

    async def start(self) -> None:
        await self.cluster.start()
        await self.cluster.channels.start()
        await self.runtime.start()

    async def stop(self) -> None:
        await self.runtime.stop()
        await self.controller.stop()
        await self.cluster.stop()

    async def pod(self, name: str) -> dict[str, Any]:
        container = {"name": "main", "image": "none", "command": ["sleep", "1000"]}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
        meta = {"name": name, "labels": {"app": name.partition("-")[0]}}
        await self.api.create(PODS, {"metadata": meta, "spec": spec}, "default")
        await until(lambda: self._running(name))
        return await self.api.get(PODS, name, "default")

    async def _running(self, name: str) -> bool:
        return (await self.api.get(PODS, name, "default")).get("status", {}).get("phase") == "Running"

    async def impair(self, name: str = "slow", **impairment: Any) -> None:
        spec = {"podSelector": {"matchLabels": {"app": "web"}}, "egress": [{}], "impairment": impairment}
        made = await self.api.create(TRAFFICPROFILES, {"metadata": {"name": name}, "spec": spec})
        await waiting.verified(self.api, name, made["metadata"]["generation"], 20)

    async def heal(self, name: str = "slow") -> None:
        await self.api.delete(TRAFFICPROFILES, name)
        await waiting.gone(self.api, name, 20)

    async def rtt(self, pod: str, to: str) -> float:
        """Least round trip of three pings, ms."""
        address = (await self.api.get(PODS, to, "default"))["status"]["podIP"]
        source = await self.api.get(PODS, pod, "default")
        argv = ["ping", "-c3", "-i0.05", "-W5", address]
        done = await to_its_end(lambda stdio: self.cluster.spawn(source, argv, stdio), timeout=30)
        return min(float(text) for text in re.findall(r"time=([\d.]+)", done.stdout.decode()))

    def seen(self, kind: type[events.Event]) -> list[Any]:
        return [event for event in self.log if isinstance(event, kind)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.005)


def with_lab(directory: Path, scenario: Callable[[Lab], Awaitable[None]]) -> None:
    async def main() -> None:
        lab = Lab(directory)
        try:
            await lab.start()
            async with asyncio.timeout(60):
                await scenario(lab)
        finally:
            await lab.stop()

    asyncio.run(main())


def test_an_object_is_a_delay_and_its_end_is_none(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.pod("web-0")
        await lab.pod("db-0")
        await lab.impair(delay="40ms")
        assert await lab.rtt("web-0", "db-0") >= 40
        changed = await lab.api.patch(TRAFFICPROFILES, "slow", {"spec": {"impairment": {"delay": "15ms"}}})
        await waiting.verified(lab.api, "slow", changed["metadata"]["generation"], 20)
        assert 15 <= await lab.rtt("web-0", "db-0") < 40
        evidence = await lab.controller.evidence("slow")
        (pod,) = evidence.pods.values()
        assert pod.verdicts["slow"].verified
        assert evidence.gaps == ()
        await lab.heal()
        assert await lab.rtt("web-0", "db-0") < 15

    with_lab(tmp_path, scenario)


def test_a_new_pod_is_slow_from_its_first_packet(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.pod("web-0")
        await lab.pod("db-0")
        await lab.impair(delay="40ms")
        await lab.pod("web-1")
        assert await lab.rtt("web-1", "db-0") >= 40
        evidence = await lab.controller.evidence("slow")
        assert set(evidence.pods) == {"default/web-0", "default/web-1"}
        assert evidence.gaps == ()
        await lab.heal()

    with_lab(tmp_path, scenario)


def test_a_killed_agent_is_replaced_and_told_as_a_gap(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.pod("web-0")
        await lab.pod("db-0")
        await lab.impair(delay="40ms")
        agent = lab.cluster.channels.agent
        assert agent is not None
        await agent.kill(signal.SIGKILL)

        async def closed() -> bool:
            return bool(lab.seen(events.GapClosed))

        await until(closed)
        assert await lab.rtt("web-0", "db-0") >= 40
        (gap,) = (await lab.controller.evidence("slow")).gaps
        assert (gap.pod, gap.cause) == ("default/web-0", "session")
        await lab.heal()
        assert await lab.rtt("web-0", "db-0") < 40

    with_lab(tmp_path, scenario)


def test_a_plan_that_no_kernel_here_can_hold_changes_nothing(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.pod("web-0")
        await lab.pod("db-0")
        spec = {
            "podSelector": {"matchLabels": {"app": "web"}},
            "egress": [{}],
            "impairment": {"delay": "40ms"},
            "interfaceFilter": "wlan",
        }
        await lab.api.create(TRAFFICPROFILES, {"metadata": {"name": "slow"}, "spec": spec})
        with pytest.raises(ConfigError, match="wlan"):
            await waiting.verified(lab.api, "slow", 1, 20)
        assert await lab.rtt("web-0", "db-0") < 40
        await lab.heal()

    with_lab(tmp_path, scenario)
