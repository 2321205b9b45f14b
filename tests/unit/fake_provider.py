"""A provider in memory, and what reports are made of."""

from __future__ import annotations

from typing import Any

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import EVENTS, NAMESPACES, PODS, TRAFFICPROFILES
from pytest_k8s_netem.controller.evidence import Evidence, Gap
from pytest_k8s_netem.run.identity import CALLED, RUN
from pytest_k8s_netem.run.snapshot import HeldSeen


def pod(name: str, *, ready: bool = True, restarts: int = 0, **state: Any) -> dict[str, Any]:
    status = {
        "name": "main",
        "ready": ready,
        "restartCount": restarts,
        "state": state or {"running": {}},
        "lastState": {"terminated": {"exitCode": 7}} if restarts else {},
    }
    condition = {"type": "Ready", "status": str(ready)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [condition],
            "containerStatuses": [status],
        },
    }


def profile(status: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata = {"name": "netem-1", "labels": {RUN: "run"}, "annotations": {CALLED: "netem"}}
    made = {"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "metadata": metadata, "spec": {}}
    return {**made, **({"status": status} if status else {})}


class Witness:
    def __init__(self) -> None:
        self.found = Evidence(gaps=(Gap("shop/web", 1.0, 3.0, "session"),), notes=("a note",))

    async def evidence(self, _: str) -> Evidence:
        return self.found

    async def pairs(self, _: str) -> tuple[Any, ...]:
        return ()


class Attachments:
    """Containers: one that runs, whose Pod object is in the store, and one that does not."""

    def __init__(self) -> None:
        self.known: list[Any] = []

    def attached(self) -> tuple[Any, ...]:
        return tuple(self.known)

    async def logs(self, name: str, lines: int) -> str:
        return f"{name} of Docker, {lines} lines"


class Provider:
    """Answers from a memory store."""

    name, home = "fake", "default"

    def __init__(self) -> None:
        self.api: Any = MemoryApi()
        self.attachments: Any = Attachments()
        self.witness: Any = Witness()
        self.said: dict[str, str] = {}
        self.gone = ""

    async def fill(self) -> None:
        await self.api.create(NAMESPACES, {"metadata": {"name": "shop"}})
        for obj in (pod("web"), pod("db", ready=False, restarts=2)):
            await self.api.create(PODS, obj, "shop")
            await self.api.patch(PODS, obj["metadata"]["name"], {"status": obj["status"]}, "shop", "status")
        await self.api.create(TRAFFICPROFILES, profile())
        await self.api.create(EVENTS, {"metadata": {"name": "e"}, "type": "Warning", "reason": "BackOff"}, "shop")

    def lost(self) -> str:
        return self.gone

    async def logs(self, pod: Any, container: str = "", *, lines: int = 0, previous: bool = False) -> str:
        assert lines > 0
        return f"{pod['metadata']['name']}/{container}{' before' if previous else ''}\n"

    async def part_logs(self, lines: int) -> dict[str, str]:
        return {"agent": "agent says\n"}


async def filled() -> Provider:
    provider = Provider()
    await provider.fill()
    return provider


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason or kind, "message": message}


CONDITIONS = [condition("Accepted"), condition("Applied"), condition("Verified")]
STATUS = {
    "impairment": "delay 10ms, egress of app=web",
    "conditions": CONDITIONS,
    "pods": {"expected": 1, "verified": 1},
}
HELD = HeldSeen("userspace", {"packets": 3, "dropped": 1, "delayed": 2}, (), {"plan": {}, "observed": {}})
