"""A namespace in memory, for faults that no kernel can be made to show: it refuses on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_k8s_netem.agent.keeper import Keeper
from pytest_k8s_netem.agent.loop import Loop
from pytest_k8s_netem.model.capabilities import Capabilities, EngineCapability, Interface
from pytest_k8s_netem.model.impairment import MILLISECOND, Impairment
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.observed import ClassObserved, StageObserved
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction, Plan, Stage
from pytest_k8s_netem.model.timeline import Timeline
from pytest_k8s_netem.model.wire import plan_codec

CAPABILITIES = Capabilities("6.0", (EngineCapability("kernel", True), EngineCapability("userspace", False, "no")))


class ManualLoop(Loop):
    """A loop whose time passes when told."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_000_000_000

    def now(self) -> int:
        return self.time

    def pass_time(self, seconds: float) -> None:
        end = self.time + round(seconds * 1e9)
        while (due := self.next_due()) is not None and due <= end:
            self.time = max(self.time, due)
            self.run_due()
        self.time = end

    def watch(self, fd: int, call, events: int = 1) -> None:  # type: ignore[no-untyped-def]
        self.watched = {**getattr(self, "watched", {}), fd: call}

    def forget(self, fd: int) -> None:
        self.watched.pop(fd, None)


@dataclass
class FakeKernel:
    """Everything that is there; ``refuse`` counts down to the operation that fails."""

    filters: dict[int, FakeHooked] = field(default_factory=dict)
    devices: dict[int, FakeSink] = field(default_factory=dict)
    up: dict[str, bool] = field(default_factory=lambda: {"eth0": True, "eth1": True})
    clsact: set[str] = field(default_factory=set)
    left: bool = False
    refuse: int = 0
    serial: int = 100

    def step(self, what: str) -> int:
        self.refuse -= 1
        if self.refuse == 0:
            raise OSError(12, f"no memory for {what}")
        self.serial += 1
        return self.serial

    @property
    def state(self) -> tuple[object, ...]:
        """What a reader would compare: filters by class, redirect and hook; devices and what they hold; links."""
        return (
            sorted((h.interface, h.direction.value, h.ids, tuple(h.redirects.items())) for h in self.filters.values()),
            sorted((number, tuple(sink.holds.items())) for number, sink in self.devices.items()),
            dict(self.up),
        )

    @property
    def clean(self) -> bool:
        return not self.filters and not self.devices and all(self.up.values())


@dataclass(eq=False)
class FakeHooked:
    kernel: FakeKernel
    number: int
    interface: str
    direction: Direction
    ids: tuple[str, ...]
    redirects: dict[str, int]
    packets: int = 0

    def read(self) -> dict[str, ClassObserved]:
        held = self.number in self.kernel.filters
        return {name: ClassObserved(held, self.packets, self.packets * 100) for name in self.ids}

    def remove(self) -> None:
        self.kernel.filters.pop(self.number, None)


@dataclass(eq=False)
class FakeSink:
    kernel: FakeKernel
    number: int
    classes: tuple[Class, ...]
    holds: dict[str, Impairment]
    queue: int = 0
    packets: int = 0
    hung: bool = False
    overloaded: bool = False

    def redirect(self, class_id: str) -> int:
        return self.number

    def hold(self, stage_id: str, impairment: Impairment) -> None:
        assert self.number in self.kernel.devices, "hold on a sink that is closed"
        self.kernel.step("hold")
        self.holds[stage_id] = impairment

    def fits(self, classes: Sequence[Class], stages: Mapping[str, Stage]) -> bool:
        shape = [(entry.id, entry.stages) for entry in self.classes]
        return [(entry.id, entry.stages) for entry in classes] == shape

    def read(self) -> dict[str, StageObserved]:
        if self.hung:
            raise TimeoutError("hung")
        seen = {name: StageObserved(held, passed=self.packets) for name, held in self.holds.items()}
        return {name: replace(stage, lagged=99 * self.overloaded) for name, stage in seen.items()}

    def backlog(self) -> int:
        return self.queue

    def watch(self) -> int | None:
        return self.number

    def close(self) -> None:
        assert not any(self.number in h.redirects.values() for h in self.kernel.filters.values()), (
            "filters into nothing"
        )
        self.kernel.devices.pop(self.number, None)

    def gone(self) -> bool:
        return self.number not in self.kernel.devices


@dataclass
class FakeEngine:
    kernel: FakeKernel
    name: str = "kernel"

    def sink(
        self,
        interface: Interface,
        direction: Direction,
        classes: Sequence[Class],
        stages: Mapping[str, Stage],
        now: Mapping[str, Impairment],
    ) -> FakeSink:
        sink = FakeSink(self.kernel, self.kernel.step("sink"), tuple(classes), dict(now))
        self.kernel.devices[sink.number] = sink
        return sink

    def close(self) -> None:
        return


@dataclass
class FakeGround:
    kernel: FakeKernel
    fd: int = -1

    def looking(self) -> AbstractContextManager[None]:
        return nullcontext()

    def interfaces(self) -> tuple[Interface, ...]:
        return tuple(
            Interface(name, index, 1500, "02:00:00:00:00:01", up, name == "eth0")
            for index, (name, up) in enumerate(self.kernel.up.items(), 2)
        )

    def clear(self) -> None:
        self.kernel.filters.clear()
        self.kernel.devices.clear()

    def ready(self, interface: Interface) -> None:
        self.kernel.clsact.add(interface.name)

    def install(
        self, interface: Interface, direction: Direction, classes: Sequence[Class], redirects: Mapping[str, int]
    ) -> FakeHooked:
        assert all(index in self.kernel.devices for index in redirects.values()), "filters into nothing"
        number = self.kernel.step("filters")
        ids = tuple(entry.id for entry in classes)
        hooked = FakeHooked(self.kernel, number, interface.name, direction, ids, dict(redirects))
        self.kernel.filters[number] = hooked
        return hooked

    def set_up(self, name: str, up: bool) -> bool:
        was, self.kernel.up[name] = self.kernel.up[name], up
        return was

    def ours(self) -> tuple[str, ...]:
        return tuple(f"netem-{number}" for number in self.kernel.devices) + tuple(map(str, self.kernel.filters))

    def foreign(self) -> tuple[str, ...]:
        return ()

    def engine(self, name: str) -> FakeEngine:
        return FakeEngine(self.kernel)

    def leave(self) -> None:
        self.kernel.left = True


SLOW, SLOWER = Impairment(delay=100 * MILLISECOND, limit=1000), Impairment(delay=200 * MILLISECOND, limit=1000)


def plan_of(
    impairment: Impairment | Timeline = SLOW,
    *,
    stage: str = "s",
    profile: str = "p",
    match: Match | None = None,
    **more: Any,
) -> Plan:
    timeline = impairment if isinstance(impairment, Timeline) else Timeline.constant(impairment)
    direction = Direction.EGRESS
    classes = (Class("c", "eth0", direction, (match or Match(),), (stage,)),)
    return Plan("t", classes=classes, stages=(Stage(stage, profile, direction, timeline),), **more)


class Speaker:
    """A session's far end."""

    def __init__(self, keeper: Keeper) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed = False
        self.keeper = keeper
        self.session = keeper.open(self)
        self.serial = 0

    def send(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)

    def close(self) -> None:
        self.closed = True

    def start(self, op: str, **fields: Any) -> int:
        self.serial += 1
        self.keeper.receive(self.session, {"v": 1, "id": self.serial, "op": op, **fields})
        return self.serial

    def answer(self, number: int) -> dict[str, Any] | None:
        return next((frame for frame in self.frames if frame.get("id") == number), None)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        number = self.start(op, **fields)
        self.keeper._loop.pass_time(0)  # type: ignore[attr-defined]
        answer = self.answer(number)
        assert answer is not None, "no answer yet"
        return answer

    def ok(self, op: str, **fields: Any) -> dict[str, Any]:
        answer = self.ask(op, **fields)
        assert "ok" in answer, answer
        found: dict[str, Any] = answer["ok"]
        return found

    def refused(self, op: str, **fields: Any) -> str:
        return str(self.ask(op, **fields)["problems"])

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame.get("event") == kind]

    def impose(self, plan: Plan) -> None:
        known: dict[str, PeerSet] = {}
        wire = plan_codec(known).encode(plan)
        self.ok("peers", sets={digest: peers.to_wire() for digest, peers in known.items()})
        self.ok("prepare", target="t", plan=wire)
        self.ok("commit", target="t", digest=plan.digest)


class House:
    """A keeper with one target."""

    def __init__(self, lingers: bool = False) -> None:
        self.loop = ManualLoop()
        self.kernel = FakeKernel()
        self.keeper = Keeper(self.loop, lambda: CAPABILITIES, lingers)
        self.target = self.keeper.add("t", FakeGround(self.kernel))

    def owner(self, identity: str = "me", epoch: int = 0) -> Speaker:
        speaker = Speaker(self.keeper)
        speaker.ok("hello", role="owner", identity=identity, epoch=epoch)
        return speaker

    def guest(self) -> Speaker:
        speaker = Speaker(self.keeper)
        speaker.ok("hello", role="guest")
        return speaker

    def holds(self) -> list[Impairment]:
        return [impairment for sink in self.kernel.devices.values() for impairment in sink.holds.values()]
