"""Pods that start: found by trying while their status says nothing, told of their plan, let go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.kube import gate, sidecar
from pytest_k8s_netem.kube.ephemeral import EphemeralAgents
from pytest_k8s_netem.kube.exec import STDOUT
from pytest_k8s_netem.kube.gate import Gatekeeper, addresses
from pytest_k8s_netem.model.capabilities import Interface

LOOPBACK = Interface("lo", 1, 65536, "", True, False, ("127.0.0.1", "::1"))
UPLINK = Interface("eth0", 2, 1500, "", True, True, ("10.0.0.9", "10.0.0.10", "fe80::1", "fd00::9"))
OTHER = Interface("net1", 3, 1500, "", True, False, ("192.168.0.9",))
KEY = "default/web"


class Attending:
    """A command beside the sidecar, as pods/exec gives it.

    :ivar came: what was written to it.
    """

    def __init__(self, said: bytes) -> None:
        self.status: int | None = None
        self.came = asyncio.Event()
        self.closed = False
        self._said = said

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        if not self._said:
            return  # a container that is not there: pods/exec ends with a failure and nothing else
        for half in (self._said[:5], self._said[5:]):
            yield STDOUT, half
        await self.came.wait()
        self.status = 0

    async def send(self, _data: bytes) -> None:
        self.came.set()

    def close(self) -> None:
        self.closed = True


class Road:
    """A store, a gatekeeper over it, and what both met.

    :ivar answers: what each exec comes to. :ivar met: what happened, in order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = MemoryApi()
        self.runtime = Runtime(self.api)
        self.agents = EphemeralAgents(self.runtime, "agent")
        self.answers: list[Attending | Exception] = []
        self.met: list[Any] = []
        self.keeper = Gatekeeper(self.runtime, None, self.agents, self)  # type: ignore[arg-type]
        monkeypatch.setattr(gate.Exec, "start", self._exec)
        monkeypatch.setattr(gate, "pace", lambda _waited: 0.001)

    async def _exec(self, _sockets: Any, pod: Any, argv: list[str], **_: Any) -> Any:
        self.met.append(argv[-3] if argv[0] != "touch" else "touch")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell(self, pod: Any, found: list[str]) -> None:
        self.met.append(found)

    async def gate(self, pod: Any) -> None:
        async with asyncio.timeout(5):  # its plan can be brought, though its status knows of no container
            self.met.append(await self.agents.container(pod))

    async def pod(self, agent: dict[str, Any]) -> None:
        spec = {"nodeName": "n", "initContainers": [agent], "containers": [{"name": "main", "image": "x"}]}
        await self.api.create(PODS, {"metadata": {"name": "web"}, "spec": spec}, "default")

    async def says(self, *, started: bool = True, **state: Any) -> None:
        entry = {"name": sidecar.CONTAINER, "containerID": "c1", "started": started, "state": state}
        status = {"podIP": "10.0.0.9", "initContainerStatuses": [entry]}
        await self.api.patch(PODS, "web", {"status": status}, "default", subresource="status")

    def seen(self) -> Any:
        """The pod as all who follow pods have heard of it."""
        return self.runtime.informer(PODS).objects[KEY]

    def opening(self) -> bool:
        """Whether the pod's gate is being opened."""
        return f"gate of {KEY}" in {task.get_name() for task in asyncio.all_tasks()}

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)


def on(road: Road, scenario: Any) -> None:
    async def main() -> None:
        await road.runtime.start()
        try:
            await scenario()
        finally:
            await road.keeper.stop()
            await road.runtime.stop()
            await road.api.close()

    asyncio.run(main())


def line() -> bytes:
    told = [gate.INTERFACE.encode(one) for one in (LOOPBACK, UPLINK)]
    return json.dumps(told).encode() + b"\n"


def test_a_pod_is_found_told_of_and_let_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    road = Road(monkeypatch)

    async def scenario() -> None:
        there = Attending(line())
        road.answers = [ApiError(500, "InternalError", "container not found"), Attending(b""), there]
        await road.pod(sidecar.container("agent"))
        await road.until(lambda: there.closed)
        assert road.met == ["attend", "attend", "attend", ["10.0.0.9", "fd00::9"], sidecar.CONTAINER]
        assert there.came.is_set()
        await road.api.patch(PODS, "web", {"metadata": {"labels": {"a": "b"}}}, "default")
        await road.until(lambda: road.seen()["metadata"].get("labels"))
        assert not road.opening(), "once a start"
        await road.says(running={})
        await road.until(lambda: road.seen().get("status"))
        assert not road.opening()
        assert len(road.met) == 5

    on(road, scenario)


def test_a_sidecar_that_is_started_anew_is_let_go_on_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hook runs beside the application, and ends as soon."""
    road = Road(monkeypatch)

    async def scenario() -> None:
        first, second = Attending(line()), Attending(line())
        road.answers = [first, second]
        await road.pod(sidecar.container("agent"))
        await road.until(lambda: first.closed)
        await road.says(running={})
        await road.says(terminated={"exitCode": 137})
        await road.until(lambda: second.closed)
        assert second.came.is_set()
        assert road.met.count(sidecar.CONTAINER) == 2, "no other agent is brought into the pod"

    on(road, scenario)


def test_a_pod_that_starts_without_having_been_found_is_told(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    road = Road(monkeypatch)

    async def scenario() -> None:
        road.answers = [ApiError(0, "Unreachable", "no answer")] * 10_000
        await road.pod(sidecar.container("agent"))
        await road.until(lambda: road.met)
        await road.says(running={})
        await road.until(lambda: caplog.records)

    on(road, scenario)
    [record] = caplog.records
    assert f"pod/{KEY} starts without having been told of its plan" in record.getMessage()
    assert "no answer" in record.getMessage()


def test_a_pod_that_an_older_webhook_made_is_let_go_on_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    road = Road(monkeypatch)

    async def scenario() -> None:
        road.answers = [Attending(b"")]
        await road.pod({"name": sidecar.CONTAINER, "image": "agent", "restartPolicy": "Always", "startupProbe": {}})
        await road.says(started=False, running={})
        await road.until(lambda: "touch" in road.met)

    on(road, scenario)


@pytest.mark.parametrize(
    ("interfaces", "found"),
    [
        ([LOOPBACK, OTHER, UPLINK], ["10.0.0.9", "fd00::9"]),
        ([LOOPBACK, OTHER], ["192.168.0.9"]),
        ([LOOPBACK], []),
    ],
)
def test_addresses_are_those_that_the_status_will_say(interfaces: list[Interface], found: list[str]) -> None:
    assert addresses(interfaces) == found
