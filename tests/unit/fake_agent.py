"""An agent without a kernel: keeps plans and answers as if the kernel held them; can be told to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.capabilities import Capabilities, EngineCapability, Interface
from pytest_k8s_netem.model.codec import many
from pytest_k8s_netem.model.greeting import CAPABILITIES, INTERFACE
from pytest_k8s_netem.model.observed import CheckObserved, ClassObserved, Observed, StageObserved
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Check, Plan
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.model.wire import CHECK, OBSERVED, plan_codec

CAPABLE = Capabilities("6.18", (EngineCapability("kernel", True), EngineCapability("userspace", True)), ("cls_bpf",))


class FakeAgent:
    """State of one agent; channels to it come and go.

    :ivar fail: by op, or (op, target), the error to answer. :ivar lie: makes what is observed differ from the plan.
    :ivar healed_by: by pod, the cause that a read-back tells; else a request.
    :ivar ops: (op, target) of all requests but hello.
    """

    def __init__(self) -> None:
        self.interfaces: dict[str, tuple[Interface, ...]] = {}
        self.plans: dict[str, Plan] = {}
        self.prepared: dict[str, Plan] = {}
        self.checks: dict[str, tuple[CheckObserved, ...]] = {}
        self.fail: dict[Any, str] = {}
        self.lie = False
        self.answers = True
        self.ops: list[tuple[str, str]] = []
        self.channels: list[FakeChannel] = []
        self.hold: dict[str, asyncio.Event] = {}
        self.renewed: list[float] = []
        self.healed_by: dict[str, str] = {}

    def add(self, name: str, address: str) -> None:
        link = Interface("eth0", 2, 1500, "02:00:00:00:00:01", True, True, (address,))
        self.interfaces[name] = (link,)
        self.tell(event="target", target=name, interfaces=many(INTERFACE).encode((link,)))

    def remove(self, name: str) -> None:
        self.interfaces.pop(name, None)
        self.plans.pop(name, None)
        self.tell(event="target", target=name, interfaces=[])

    def tell(self, **event: Any) -> None:
        for channel in self.channels:
            channel.queue.put_nowait(event)

    def break_worker(self, name: str) -> None:
        self.plans.pop(name)
        self.tell(event="healed", target=name, cause="worker")

    def cut(self, *, heals: bool) -> None:
        """End all streams; ``heals``: the agent has taken everything back by then."""
        if heals:
            self.plans.clear()
        for channel in self.channels.copy():
            channel.end()

    def observed(self, name: str) -> Observed:
        plan = self.plans.get(name)
        if plan is None:
            return Observed(name, healed_by=self.healed_by.get(name, "request"))
        stages = tuple(
            (stage.id, StageObserved(stage.timeline.impairments[0], passed=7, delayed=7)) for stage in plan.stages
        )
        if self.lie:
            stages = tuple((key, replace(seen, held=replace(seen.held, delay=1))) for key, seen in stages)
        return Observed(
            name,
            plan.digest,
            plan.engine,
            baseline=False,
            interfaces=tuple({entry.interface for entry in plan.classes}),
            classes=tuple((entry.id, ClassObserved(True, 7, 700)) for entry in plan.classes),
            stages=stages,
            checks=self.checks.get(name, ()),
        )

    def probe(self, checks: tuple[Check, ...]) -> tuple[CheckObserved, ...]:
        answer = [
            CheckObserved(
                check.id,
                check.count,
                check.answers_max if self.answers else 0,
                (check.rtt_min,) * check.answers_max if self.answers else (),
                check.met_min,
            )
            for check in checks
        ]
        return tuple(answer)


class FakeChannel:
    """Implements Channel in process."""

    def __init__(self, agent: FakeAgent) -> None:
        self.agent = agent
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.known: dict[str, PeerSet] = {}
        self.closed = False
        agent.channels.append(self)

    async def request(self, op: str, *, target: str = "", **fields: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.closed:
            raise ChannelClosed("the stream of the fake agent ended")
        agent = self.agent
        if op != "hello":
            agent.ops.append((op, target))
        if op in agent.hold:
            await agent.hold[op].wait()
        for key in (op, (op, target)):
            if key in agent.fail:
                raise ImpairmentError("", [Problem("qdisc", "", agent.fail[key])])
        if target and target not in agent.interfaces:
            raise ImpairmentError("", [Problem("target", target, "no such target")])
        answer: dict[str, Any] = getattr(self, f"_{op}")(target, **fields)
        return answer

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        while (event := await self.queue.get()) is not None:
            yield event

    async def unanswered(self) -> None:
        """It cannot be ended from here."""

    async def abandon(self) -> None:
        self.end()

    async def close(self) -> None:
        self.end()

    def end(self) -> None:
        self.closed = True
        if self in self.agent.channels:
            self.agent.channels.remove(self)
        self.queue.put_nowait(None)

    def _hello(self, _: str, role: str, identity: str = "", epoch: int = 0) -> dict[str, Any]:
        targets = {name: many(INTERFACE).encode(links) for name, links in self.agent.interfaces.items()}
        return {"agent": "fake", "capabilities": CAPABILITIES.encode(CAPABLE), "targets": targets}

    def _peers(self, _: str, sets: dict[str, Any]) -> dict[str, Any]:
        for digest, data in sets.items():
            peers = self.known[data["base"]].patched(data) if "base" in data else PeerSet.from_wire(data)
            assert peers.digest == digest
            self.known[digest] = peers
        return {}

    def _prepare(self, target: str, plan: dict[str, Any]) -> dict[str, Any]:
        self.agent.prepared[target] = plan_codec(self.known).decode(plan)
        return {"prepared": self.agent.prepared[target].digest}

    def _commit(self, target: str, digest: str) -> dict[str, Any]:
        plan = self.agent.prepared.pop(target)
        assert plan.digest == digest
        last = {"last": self._observe(target)["observed"]} if target in self.agent.plans else {}
        self.agent.plans[target] = plan
        self.agent.checks.pop(target, None)
        return self._observe(target) | last

    def _abort(self, target: str) -> dict[str, Any]:
        self.agent.prepared.pop(target, None)
        return {}

    def _renew(self, _: str, ttl: float) -> dict[str, Any]:
        self.agent.renewed.append(ttl)
        return {}

    def _heal(self, target: str) -> dict[str, Any]:
        self.agent.plans.pop(target, None)
        return self._observe(target)

    def _probe(self, target: str, checks: list[Any] | None = None) -> dict[str, Any]:
        asked = many(CHECK).decode(checks) if checks is not None else self.agent.plans[target].checks
        seen = self.agent.probe(asked)
        if checks is None:
            self.agent.checks[target] = seen
            return self._observe(target)
        return {"observed": OBSERVED.encode(replace(self.agent.observed(target), checks=seen))}

    def _observe(self, target: str) -> dict[str, Any]:
        return {"observed": OBSERVED.encode(self.agent.observed(target))}


class FakeChannels:
    """Implements Channels: one agent for all pods."""

    def __init__(self, agent: FakeAgent, lease: float | None = None) -> None:
        self.agent = agent
        self.refuse = ""
        self._lease = lease
        self._channel: FakeChannel | None = None

    async def open(self, pod: dict[str, Any]) -> FakeChannel:
        if self.refuse:
            raise ImpairmentError(self.refuse)
        if self._channel is None or self._channel.closed:
            self._channel = FakeChannel(self.agent)
        return self._channel

    async def guest(self, pod: dict[str, Any]) -> FakeChannel:
        return FakeChannel(self.agent)

    def target(self, pod: dict[str, Any]) -> str:
        return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"

    def lease(self, pod: dict[str, Any]) -> float | None:
        return self._lease
