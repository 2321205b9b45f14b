"""Whatever a stream brings: the agent answers ok or problems, touches no target but the named one, and goes on."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import fakeground
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from json_values import VALUES, meddled

from pytest_k8s_netem.agent.admin import Admin
from pytest_k8s_netem.controller import stream
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.codec import WireError
from pytest_k8s_netem.model.frames import MAX_FRAME, Decoder, FrameError, encode
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Check
from pytest_k8s_netem.model.wire import CHECK, OBSERVED, plan_codec

KNOWN: dict[str, PeerSet] = {}
PEERS = PeerSet.from_networks([(4, 10 << 24, 8), (6, 0xFD << 120, 8)])
PLAN = fakeground.plan_of(match=Match(remote=PEERS), ttl=3.0, durations=(("p", 2.0),))
PLAN = replace(PLAN, checks=(Check("k", "p", "c", "icmp", "10.0.0.1", count=1, timeout=1000),), _digest=[])
WIRE = plan_codec(KNOWN).encode(PLAN)
SET = PEERS.to_wire()
GOOD: list[dict[str, Any]] = [
    {"op": "hello", "role": "owner", "identity": "me", "epoch": 1},
    {"op": "hello", "role": "guest"},
    {"op": "peers", "sets": {PEERS.digest: SET}},
    {"op": "peers", "sets": {PEERS.digest: {"base": PEERS.digest, "add": SET, "remove": {"v4": []}}}},
    {"op": "prepare", "target": "t", "plan": WIRE},
    {"op": "commit", "target": "t", "digest": PLAN.digest},
    {"op": "abort", "target": "t"},
    {"op": "renew", "ttl": 3},
    {"op": "heal", "target": "t"},
    {"op": "probe", "target": "t", "checks": [CHECK.encode(check) for check in PLAN.checks]},
    {"op": "observe", "target": "t"},
]
FRAMES = st.sampled_from(GOOD).flatmap(lambda frame: meddled({"v": 1, "id": 7, **frame}))


class Line:
    """Where a session's frames go: what cannot be encoded would be seen here."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def send(self, frame: dict[str, Any]) -> None:
        encode(frame)
        self.frames.append(frame)

    def close(self) -> None:
        return


def speaking() -> tuple[Any, Any, Line]:
    """A keeper with two targets, an owner whose plan is in force on both, and where its answers go."""
    house = fakeground.House()
    other = fakeground.FakeKernel()
    house.keeper.add("other", fakeground.FakeGround(other))
    line = Line()
    session = house.keeper.open(line)
    for frame in (GOOD[0], GOOD[2]):
        house.keeper.receive(session, frame)
    for name in ("t", "other"):
        plan = replace(PLAN, target=name, _digest=[])
        house.keeper.receive(session, {"op": "prepare", "target": name, "plan": plan_codec({}).encode(plan)})
        house.keeper.receive(session, {"op": "commit", "target": name, "digest": plan.digest})
    assert all("ok" in frame for frame in line.frames if "event" not in frame), line.frames
    assert other.filters
    line.frames.clear()
    house.other, house.session = other, session
    return house, session, line


def answered(line: Line) -> None:
    """Every answer is ok or problems, in the agent's own words."""
    for frame in line.frames:
        assert ("event" in frame) or ("ok" in frame) != ("problems" in frame)
        assert "the agent failed" not in str(frame.get("problems")), frame
    line.frames.clear()


@given(st.lists(FRAMES | st.dictionaries(st.text(max_size=8), VALUES, max_size=5), max_size=6))
@settings(max_examples=200)
@example([{"op": "peers", "sets": {"x": {"base": []}}, "id": 1}])
@example([{"op": "prepare", "target": "t", "plan": {**WIRE, "ttl": 10**400}, "id": 1}])
def test_any_frame_is_answered_and_touches_no_other_target(frames: list[dict[str, Any]]) -> None:
    house, session, line = speaking()
    before = house.other.state
    for frame in frames:
        house.keeper.receive(session, frame)
        answered(line)
        if frame.get("target") != "other":
            assert house.other.state == before
    house.keeper.end(session)
    house.loop.pass_time(20)
    assert house.kernel.clean
    assert house.other.clean


@given(st.lists(FRAMES, max_size=4), st.binary(max_size=60), st.integers(1, 64))
def test_any_bytes_are_answered(frames: list[dict[str, Any]], noise: bytes, cut: int) -> None:
    house, session, line = speaking()
    raw = b"".join(json.dumps(frame).encode() + b"\n" for frame in frames)
    raw = raw[: len(raw) // 2] + noise + raw[len(raw) // 2 :]
    decoder = Decoder()
    for at in range(0, len(raw), cut):
        for frame in decoder.feed(raw[at : at + cut]):
            house.keeper.receive(session, frame)
    answered(line)


@pytest.mark.parametrize("field", ["id", "v", "op", "target", "plan", "sets", "role", "checks"])
def test_depth_is_survived(field: str) -> None:
    house, session, line = speaking()
    for depth in range(500, 1000, 1 if field == "id" else 7):
        for brackets in ("[]", '{"":}'):
            opening, closing = brackets[:-1], brackets[-1]
            raw = f'{{"op":"observe","id":1,"{field}":{opening * depth}{"null"}{closing * depth}}}\n'
            for frame in Decoder().feed(raw.encode()):
                house.keeper.receive(session, frame)
    answered(line)


@pytest.mark.parametrize("number", [None, True, -1, 1.5, "7", "x" * (MAX_FRAME - 100), [1], {"id": 1}, 2**63])
def test_an_id_is_a_number_or_nothing(number: Any) -> None:
    house, session, line = speaking()
    house.keeper.receive(session, {"op": "observe", "target": "t", "id": number})
    (answer,) = line.frames
    assert answer["id"] is None
    assert ("ok" in answer) == (number is None)


@given(st.lists(st.binary(max_size=200) | st.just(b"x" * (1 << 18)), max_size=20))
@settings(max_examples=50)
def test_no_more_is_kept_than_a_frame(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        assert all(isinstance(item, dict | FrameError) for item in decoder.feed(piece))
        assert len(decoder._buffer) < MAX_FRAME


def test_a_slow_line_costs_no_more_than_a_quick_one() -> None:
    """Whoever sends byte by byte has each byte looked at once."""

    class Counting(bytearray):
        looked = 0

        def find(self, *where: Any) -> int:
            Counting.looked += len(self) - (where[1] if len(where) > 1 else 0)
            return super().find(*where)

    decoder = Decoder()
    decoder._buffer = Counting()
    for _ in range(2000):
        assert list(decoder.feed(b"x")) == []
    assert Counting.looked <= 2 * 2000
    assert list(decoder.feed(b"\n{}\n"))[1] == {}


class Node:
    """Takes what an admin line brings."""

    def serve(self, fd: int) -> None:
        raise AssertionError("no descriptor was sent")

    add: Any = serve

    def forget(self, name: str, done: Any) -> None:
        done()


@given(
    st.lists(VALUES | st.fixed_dictionaries({"op": st.sampled_from(["target", "forget", "session"]), "target": VALUES}))
)
def test_the_node_host_line_is_total(frames: list[Any]) -> None:
    import socket

    from pytest_k8s_netem.agent.loop import Loop

    ours, theirs = socket.socketpair()
    loop = Loop()
    with theirs:
        line = Admin(loop, ours, Node(), lambda: None)
        for frame in frames:
            theirs.sendall(json.dumps(frame).encode() + b"\n")
            line._read()
            answer = json.loads(theirs.recv(1 << 20).splitlines()[-1])
            assert ("ok" in answer) != ("problems" in answer)
        loop.forget(ours.fileno())
        ours.close()


@given(st.one_of(*(meddled(good) for good in (WIRE, OBSERVED.encode(OBSERVED.decode({"target": "t"}, ""))))))
def test_codecs_decode_or_refuse(value: Any) -> None:
    for codec in (plan_codec(KNOWN), OBSERVED):
        with suppress(WireError):
            codec.decode(value, "it")


def answers() -> Any:
    good = {"id": 1, "ok": {}, "problems": [{"path": "a", "value": "", "why": "b"}], "event": "healed", "target": "t"}
    return meddled(good)


@given(answers())
def test_what_an_agent_says_is_taken_or_refused(frame: Any) -> None:
    """An agent that has gone mad costs its own requests, not the controller."""
    if isinstance(frame, dict):
        with suppress(ImpairmentError):
            assert isinstance(stream._ok(frame), dict)
