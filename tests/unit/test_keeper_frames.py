"""The keeper's answers, frame by frame, over a namespace in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fakeground
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.model.frames import GUEST_OPS, OWNER_OPS, FrameError
from pytest_k8s_netem.model.impairment import NONE
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction, Plan, Stage
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.timeline import Segment, Timeline
from pytest_k8s_netem.model.wire import OBSERVED, plan_codec

House, Speaker, plan_of = fakeground.House, fakeground.Speaker, fakeground.plan_of
SLOW, SLOWER = fakeground.SLOW, fakeground.SLOWER


@pytest.fixture
def house() -> House:
    return House()


def test_a_hello_tells_what_is_there(house: House) -> None:
    said = Speaker(house.keeper).ok("hello", role="guest")
    assert [interface["name"] for interface in said["targets"]["t"]] == ["eth0", "eth1"]
    assert said["capabilities"]["kernel"] == "6.0"


@pytest.mark.parametrize(
    ("frame", "path"),
    [
        ({"op": "hullo"}, "op"),
        ({"op": ["hello"]}, "op"),
        ({}, "op"),
        ({"op": "hello", "v": 2, "role": "guest"}, "v"),
        ({"op": "hello", "role": "guest", "colour": 1}, "colour"),
        ({"op": "hello", "role": 1}, "role"),
        ({"op": "hello", "role": "king"}, "role"),
        ({"op": "hello", "role": "owner"}, "identity"),
        ({"op": "observe", "target": "t"}, "op"),
        ({"op": "heal"}, "target"),
    ],
)
def test_a_wrong_frame_is_answered_with_its_path(house: House, frame: dict[str, Any], path: str) -> None:
    speaker = Speaker(house.keeper)
    house.keeper.receive(speaker.session, {"id": 7, **frame})
    (answer,) = speaker.frames
    assert answer["id"] == 7
    assert path in [problem["path"] for problem in answer["problems"]]
    speaker.ok("hello", role="guest")


def test_bytes_that_are_no_frame_are_answered_and_the_stream_goes_on(house: House) -> None:
    speaker = Speaker(house.keeper)
    house.keeper.receive(speaker.session, FrameError("not JSON"))
    assert speaker.frames[0]["problems"]
    speaker.ok("hello", role="guest")


def test_a_guest_changes_nothing(house: House) -> None:
    guest = house.guest()
    for op, fields in (
        ("peers", {"sets": {}}),
        ("prepare", {"target": "t", "plan": {}}),
        ("commit", {"target": "t", "digest": ""}),
        ("abort", {"target": "t"}),
        ("renew", {"ttl": 1}),
        ("heal", {"target": "t"}),
    ):
        assert "owner" in guest.refused(op, **fields)
    guest.ok("observe", target="t")


def test_nothing_is_met_between_prepare_and_commit(house: House) -> None:
    owner = house.owner()
    plan = plan_of()
    owner.ok("prepare", target="t", plan=plan_codec({}).encode(plan))
    assert house.kernel.devices
    assert not house.kernel.filters
    seen = OBSERVED.decode(owner.ok("commit", target="t", digest=plan.digest)["observed"])
    assert (seen.plan, seen.baseline, seen.interfaces) == (plan.digest, False, ("eth0",))
    assert dict(seen.classes)["c"].held
    assert dict(seen.stages)["s"].held == SLOW


def test_abort_leaves_what_is_in_force(house: House) -> None:
    owner = house.owner()
    owner.impose(plan_of())
    before = house.kernel.state
    owner.ok("prepare", target="t", plan=plan_codec({}).encode(plan_of(SLOWER, stage="z")))
    owner.ok("abort", target="t")
    assert house.kernel.state == before
    assert "prepare the plan first" in owner.refused("commit", target="t", digest=plan_of(SLOWER, stage="z").digest)


def test_parameters_alone_keep_filters_and_device(house: House) -> None:
    owner = house.owner()
    owner.impose(plan_of(SLOW))
    filters, devices = dict(house.kernel.filters), set(house.kernel.devices)
    owner.impose(plan_of(SLOWER))
    assert (dict(house.kernel.filters), set(house.kernel.devices)) == (filters, devices)
    assert house.holds() == [SLOWER]


def test_another_match_keeps_the_device_and_changes_the_filters(house: House) -> None:
    owner = house.owner()
    owner.impose(plan_of())
    filters, devices = set(house.kernel.filters), set(house.kernel.devices)
    owner.impose(plan_of(match=Match(protocols=Ranges.of(6))))
    assert set(house.kernel.devices) == devices
    assert not filters & set(house.kernel.filters)
    assert len(house.kernel.filters) == 1


def test_another_stage_drains_the_old_sink(house: House) -> None:
    owner = house.owner()
    owner.impose(plan_of())
    (old,) = house.kernel.devices.values()
    old.queue = 5
    owner.impose(plan_of(stage="other"))
    assert len(house.kernel.devices) == 2
    old.queue = 0
    house.loop.pass_time(0.1)
    assert old not in house.kernel.devices.values()


@pytest.mark.parametrize("at", range(1, 6))
def test_a_refusal_half_way_leaves_what_was_in_force(house: House, at: int) -> None:
    owner = house.owner()
    owner.impose(plan_of())
    before = house.kernel.state
    egress, ingress = Direction.EGRESS, Direction.INGRESS
    plan = Plan(
        "t",
        classes=(
            Class("c", "eth0", egress, (Match(),), ("s",)),
            Class("d", "eth1", egress, (Match(),), ("s",)),
            Class("e", "eth1", ingress, (Match(),), ("r",)),
        ),
        stages=(
            Stage("s", "p", egress, Timeline.constant(SLOWER)),
            Stage("r", "p", ingress, Timeline.constant(SLOWER)),
        ),
        carrier=("eth1",),
    )
    house.kernel.refuse = at  # 2 sinks, 1 hold, 2 filters
    answer = owner.ask("prepare", target="t", plan=plan_codec({}).encode(plan))
    if "ok" in answer:
        answer = owner.ask("commit", target="t", digest=plan.digest)
    assert "no memory" in str(answer["problems"])
    assert house.kernel.state == before
    house.kernel.refuse = 0
    owner.impose(plan)
    assert not house.kernel.up["eth1"]


def test_heal_takes_filters_off_at_once_and_answers_when_all_is_gone(house: House) -> None:
    owner = house.owner()
    owner.impose(plan_of())
    (sink,) = house.kernel.devices.values()
    sink.queue = 3
    number = owner.start("heal", target="t")
    assert not house.kernel.filters
    assert owner.answer(number) is None
    house.loop.pass_time(1.1)  # it never drains
    answer = owner.answer(number)
    assert answer is not None
    seen = OBSERVED.decode(answer["ok"]["observed"])
    assert (seen.baseline, seen.healed_by, seen.residue) == (True, "request", ())
    assert house.kernel.clean


def test_a_plan_without_renewal_ends_with_its_ttl(house: House) -> None:
    owner, guest = house.owner(), house.guest()
    owner.impose(plan_of(ttl=2))
    house.loop.pass_time(1.5)
    owner.ok("renew", ttl=2)
    house.loop.pass_time(1.5)
    assert house.kernel.filters
    house.loop.pass_time(0.6)
    assert house.kernel.clean
    for speaker in (owner, guest):
        (event,) = speaker.events("healed")
        assert (event["target"], event["cause"]) == ("t", "ttl")
        assert OBSERVED.decode(event["observed"]).baseline
    assert owner.ok("observe", target="t")["observed"]["healed_by"] == "ttl"


def nested(*durations: tuple[str, float]) -> Plan:
    """Two profiles: what ``pb`` takes, ``pa`` takes before it."""
    egress = Direction.EGRESS
    return Plan(
        "t",
        classes=(
            Class("both", "eth0", egress, (Match(protocols=Ranges.of(6)),), ("a", "b")),
            Class("one", "eth0", egress, (Match(),), ("a",)),
        ),
        stages=(Stage("a", "pa", egress, Timeline.constant(SLOW)), Stage("b", "pb", egress, Timeline.constant(SLOWER))),
        durations=durations,
    )


def test_what_another_agent_took_off_does_not_come_back_when_a_profile_ends(house: House) -> None:
    owner = house.owner()
    owner.impose(nested(("pa", 1.0)))
    house.target.ground.clear()  # as the next run's agent does when it comes
    house.loop.pass_time(1.5)
    assert house.kernel.clean
    assert not owner.events("ended")
    assert owner.events("healed")[0]["cause"] == "duration"


def test_a_profile_ends_with_its_duration_and_leaves_the_other(house: House) -> None:
    owner = house.owner()
    owner.impose(nested(("pa", 1.0), ("pb", 2.0)))
    house.loop.pass_time(1.5)
    (event,) = owner.events("ended")
    assert (event["target"], event["profile"]) == ("t", "pa")
    assert {name for name, _ in event["last"]["stages"]} == {"a", "b"}, "as it was before"
    (hooked,) = house.kernel.filters.values()
    assert set(hooked.redirects) == {"both"}
    assert house.holds() == [SLOWER]
    house.loop.pass_time(1)
    assert house.kernel.clean
    assert owner.events("healed")[0]["cause"] == "duration"


def test_a_timeline_begins_at_commit_and_outlives_other_changes(house: House) -> None:
    owner = house.owner()
    timeline = Timeline((Segment(10**9, SLOW), Segment(10**9, SLOWER)))
    owner.ok("prepare", target="t", plan=plan_codec({}).encode(plan_of(timeline)))
    house.loop.pass_time(5)
    owner.ok("commit", target="t", digest=plan_of(timeline).digest)
    house.loop.pass_time(0.6)
    assert house.holds() == [SLOW]
    owner.impose(plan_of(timeline, match=Match(protocols=Ranges.of(17))))
    house.loop.pass_time(0.6)
    assert house.holds() == [SLOWER]
    house.loop.pass_time(1)
    assert house.holds() == [replace(NONE, limit=1000)]
    assert [event["index"] for event in owner.events("segment")] == [1, 2]


def test_a_broken_sink_takes_its_filters_off(house: House) -> None:
    owner = house.owner()
    owner.impose(plan_of())
    (number,) = house.kernel.devices
    house.loop.watched[number](1)
    assert not house.kernel.filters
    house.loop.pass_time(0)
    assert owner.events("healed")[0]["cause"] == "worker"
    assert house.kernel.clean


def test_workers_are_looked_at_while_they_live(house: House) -> None:
    owner = house.owner()
    owner.impose(plan_of())
    (sink,) = house.kernel.devices.values()
    sink.overloaded = True
    house.loop.pass_time(5)
    assert owner.events("overloaded") == [{"event": "overloaded", "target": "t", "stage": "s"}]
    assert house.kernel.filters
    sink.hung = True
    house.loop.pass_time(2)
    assert not house.kernel.filters
    assert owner.events("healed")[0]["cause"] == "worker"


@pytest.mark.parametrize(("lingers", "ttl", "stays"), [(False, 30, False), (True, 30, True), (True, None, False)])
def test_the_end_of_the_owners_session(lingers: bool, ttl: float | None, stays: bool) -> None:
    house = House(lingers)
    owner, guest = house.owner(), house.guest()
    owner.impose(plan_of(ttl=ttl))
    house.keeper.end(guest.session)
    assert house.kernel.filters
    house.keeper.end(owner.session)
    assert bool(house.kernel.filters) is stays
    house.loop.pass_time(31)
    assert house.kernel.clean


def test_a_reconnect_within_the_ttl_goes_on_without_a_gap() -> None:
    house = House(lingers=True)
    owner = house.owner(epoch=3)
    owner.impose(plan_of(ttl=30))
    house.keeper.end(owner.session)
    before = dict(house.kernel.filters)
    stranger = Speaker(house.keeper)
    assert "busy" in stranger.refused("hello", role="owner", identity="other", epoch=9)
    assert "busy" in stranger.refused("hello", role="owner", identity="me", epoch=2)
    again = house.owner(epoch=3)
    assert again.ok("observe", target="t")["observed"]["plan"] == plan_of().digest
    again.ok("renew", ttl=30)
    house.loop.pass_time(29)
    assert dict(house.kernel.filters) == before


def test_a_higher_epoch_takes_over_and_another_identity_waits(house: House) -> None:
    owner = house.owner(epoch=1)
    owner.impose(plan_of())
    assert "busy" in Speaker(house.keeper).refused("hello", role="owner", identity="other", epoch=7)
    newer = house.owner(epoch=2)
    assert owner.closed
    assert owner.events("deposed")
    assert "problems" in owner.ask("heal", target="t")
    house.keeper.end(owner.session)
    assert house.kernel.filters
    newer.ok("heal", target="t")
    house.keeper.end(newer.session)
    house.owner("other")


def test_peer_sets_travel_by_digest_and_as_deltas(house: House) -> None:
    owner = house.owner()
    few = PeerSet.from_networks([(4, 0x0A000001, 32)])
    more = few | PeerSet.from_networks([(6, 1, 128)])
    wire = plan_codec({}).encode(plan_of(match=Match(remote=more)))
    assert "no such peer set" in owner.refused("prepare", target="t", plan=wire)
    assert "no such peer set" in owner.refused("peers", sets={more.digest: more.delta(few)})
    owner.ok("peers", sets={few.digest: few.to_wire()})
    owner.ok("peers", sets={more.digest: more.delta(few), few.digest: None})
    owner.ok("prepare", target="t", plan=wire)
    assert "digest" in owner.refused("peers", sets={"0" * 16: few.to_wire()})
    assert "no such peer set" in owner.refused("peers", sets={more.digest: more.delta(few)})


@pytest.mark.parametrize("sets", [{"a": 1}, {"a": {"v4": 3}}, {"a": {"v4": ["x-y"]}}, {"a": {"base": []}}, []])
def test_no_peer_set_is_refused(house: House, sets: Any) -> None:
    owner = house.owner()
    assert "sets" in owner.refused("peers", sets=sets)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"target": "u"}, "sent to t"),
        ({"engine": "userspace"}, "not available"),
        ({"ttl": 0}, "above 0"),
        ({"ttl": -1.0}, "above 0"),
        ({"durations": (("p", 0),)}, "above 0"),
        ({"carrier": ("eth9",)}, "no such interface"),
        ({"stages": ()}, "no such stage"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(house: House, change: dict[str, Any], why: str) -> None:
    owner = house.owner()
    before = house.kernel.state
    wire = plan_codec({}).encode(replace(plan_of(), **change, _digest=[]))
    assert why in owner.refused("prepare", target="t", plan=wire)
    assert house.kernel.state == before


def test_a_result_too_large_to_travel_is_a_problem(house: House) -> None:
    guest = house.guest()

    def send(frame: dict[str, Any]) -> None:
        if "ok" in frame:
            raise FrameError("too long")
        guest.frames.append(frame)

    guest.send = send  # type: ignore[method-assign]
    assert "too long" in guest.refused("observe", target="t")


def test_leaving_puts_every_namespace_back(house: House) -> None:
    owner = house.owner()
    owner.impose(plan_of())
    done: list[bool] = []
    house.keeper.leave(lambda: done.append(True), 0)
    house.loop.pass_time(0)
    assert done
    assert house.kernel.clean
    assert house.kernel.left


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("v", "role", "identity", "epoch", "sets", "target", "plan", "digest", "ttl", "checks", "x")


@given(
    st.sampled_from(sorted(OWNER_OPS | GUEST_OPS)),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    st.sampled_from(["", "owner", "guest"]),
)
def test_any_frame_has_one_answer_and_breaks_nothing(op: str, fields: dict[str, Any], role: str) -> None:
    house = House()
    speaker = Speaker(house.keeper)
    if role:
        speaker.ok("hello", role=role, identity="me")
    speaker.ask(op, **{"target": "t", **fields})
    assert len([frame for frame in speaker.frames if frame.get("id") == speaker.serial]) == 1
    assert house.kernel.clean
