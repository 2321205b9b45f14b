"""Any order of frames, ends of streams, broken workers and refusals ends with the namespace as it was."""

from __future__ import annotations

from typing import Any

import fakeground
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_k8s_netem.model.frames import FrameError
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.plan import Class, Direction, Plan, Stage
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.timeline import Segment, Timeline
from pytest_k8s_netem.model.wire import plan_codec

SLOW, SLOWER = fakeground.SLOW, fakeground.SLOWER
CHANGING = Timeline((Segment(10**9, SLOW), Segment(10**9, SLOWER)), repeat=True)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of up to three classes on two interfaces, with every way to end."""
    classes, stages = [], {}
    for at in range(draw(st.integers(0, 3))):
        direction = draw(st.sampled_from(Direction))
        names = draw(st.lists(st.sampled_from("ab"), unique=True, max_size=2))
        ids = tuple(f"{name}-{direction.value}" for name in names)
        for name, stage in zip(names, ids, strict=True):
            timeline = draw(st.sampled_from([Timeline.constant(SLOW), Timeline.constant(SLOWER), CHANGING]))
            stages.setdefault(stage, Stage(stage, name, direction, timeline))
        match = draw(st.sampled_from([Match(), Match(protocols=Ranges.of(6))]))
        classes.append(Class(f"c{at}", draw(st.sampled_from(["eth0", "eth1"])), direction, (match,), ids))
    return Plan(
        "t",
        classes=tuple(classes),
        stages=tuple(stages.values()),
        carrier=draw(st.sampled_from([(), ("eth1",)])),
        ttl=draw(st.sampled_from([None, 3.0])),
        durations=draw(st.sampled_from([(), (("a", 2.0),), (("a", 2.0), ("b", 5.0))])),
    )


class Agent(RuleBasedStateMachine):
    """Sessions that come, speak and go."""

    def __init__(self) -> None:
        super().__init__()
        self.speakers: list[Any] = []
        self.last: Plan | None = None

    @initialize(lingers=st.booleans())
    def start(self, lingers: bool) -> None:
        self.house = fakeground.House(lingers)

    @rule(role=st.sampled_from(["owner", "guest"]), identity=st.sampled_from("xy"), epoch=st.integers(0, 2))
    def hello(self, role: str, identity: str, epoch: int) -> None:
        speaker = fakeground.Speaker(self.house.keeper)
        speaker.start("hello", role=role, identity=identity, epoch=epoch)
        self.speakers.append(speaker)

    def one(self, data: st.DataObject) -> Any:
        return data.draw(st.sampled_from(self.speakers))

    @precondition(lambda self: self.speakers)
    @rule(data=st.data(), plan=plans())
    def prepare(self, data: st.DataObject, plan: Plan) -> None:
        self.one(data).start("prepare", target="t", plan=plan_codec({}).encode(plan))
        self.last = plan

    @precondition(lambda self: self.speakers and self.last)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        assert self.last is not None
        before = self.house.kernel.state
        speaker = self.one(data)
        answer = speaker.answer(speaker.start("commit", target="t", digest=self.last.digest))
        if answer is not None and "no memory" in str(answer):
            filters, _devices, links = self.house.kernel.state
            assert (filters, links) == (before[0], before[2])

    @precondition(lambda self: self.speakers)
    @rule(data=st.data(), plan=plans())
    def impose(self, data: st.DataObject, plan: Plan) -> None:
        speaker = self.one(data)
        speaker.start("prepare", target="t", plan=plan_codec({}).encode(plan))
        speaker.start("commit", target="t", digest=plan.digest)

    @precondition(lambda self: self.speakers)
    @rule(data=st.data(), op=st.sampled_from(["abort", "heal", "observe", "probe"]), name=st.sampled_from("tu"))
    def ask(self, data: st.DataObject, op: str, name: str) -> None:
        self.one(data).start(op, target=name)

    @precondition(lambda self: self.speakers)
    @rule(data=st.data(), frame=st.dictionaries(st.sampled_from(["op", "v", "plan", "x"]), st.none() | st.integers()))
    def nonsense(self, data: st.DataObject, frame: dict[str, Any]) -> None:
        session = self.one(data).session
        self.house.keeper.receive(session, frame)
        self.house.keeper.receive(session, FrameError("not JSON"))

    @precondition(lambda self: self.speakers)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        self.one(data).start("renew", ttl=3)

    @precondition(lambda self: self.speakers)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        speaker = self.one(data)
        self.speakers.remove(speaker)
        self.house.keeper.end(speaker.session)

    @rule(seconds=st.sampled_from([0, 0.01, 0.6, 1.1, 4]))
    def wait(self, seconds: float) -> None:
        self.house.loop.pass_time(seconds)

    @precondition(lambda self: getattr(self.house.loop, "watched", {}))
    @rule(data=st.data())
    def break_a_worker(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.house.loop.watched)))
        self.house.loop.watched[number](1)
        assert not self.house.kernel.filters

    @rule(at=st.integers(1, 6))
    def refuse(self, at: int) -> None:
        self.house.kernel.refuse = at

    @rule(queued=st.integers(0, 3))
    def queue(self, queued: int) -> None:
        for sink in self.house.kernel.devices.values():
            sink.queue = queued

    @invariant()
    def nothing_is_met_without_a_plan(self) -> None:
        kernel = self.house.kernel
        if self.house.target.held is None:
            assert not kernel.filters
            assert all(kernel.up.values())

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        for speaker in self.speakers:
            self.house.keeper.end(speaker.session)
        self.house.loop.pass_time(10)
        assert self.house.kernel.clean
        assert self.house.loop.next_due() is None
        assert not getattr(self.house.loop, "watched", {})
        done: list[bool] = []
        self.house.keeper.leave(lambda: done.append(True), 0)
        self.house.loop.pass_time(0)
        assert done


Agent.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAgent = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")(Agent.TestCase)
