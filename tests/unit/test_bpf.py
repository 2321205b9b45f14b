"""Compiled programs, run by an interpreter of classic BPF, against the model's own evaluation."""

from __future__ import annotations

import itertools
import operator
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import MATCHES, address, ethernet, first_of, fragment_header, frames, ipv4, ipv6, peers

from pytest_k8s_netem.agent.dataplane import bpf
from pytest_k8s_netem.agent.dataplane.assembler import MAX_INSTRUCTIONS, Program, TooLarge
from pytest_k8s_netem.agent.dataplane.blocks import ALL
from pytest_k8s_netem.model.match import ARP, EVERYTHING, TCP, UDP, WITH_PORTS, Match
from pytest_k8s_netem.model.packet import parse
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction
from pytest_k8s_netem.model.ranges import Ranges

EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
WORD = 0xFFFFFFFF
ARITHMETIC = {0x00: operator.add, 0x10: operator.sub, 0x50: operator.and_, 0x60: operator.lshift, 0x70: operator.rshift}


def run(code: bytes, frame: bytes, mark: int = 0) -> int:
    """Interpret a program as the kernel does (linux/filter.h); a load behind the frame's end returns 0."""
    instructions = list(struct.iter_unpack("=HBBI", code))
    a = x = at = 0
    memory: dict[int, int] = {}

    def load(offset: int, size: int) -> int | None:
        if offset == 0xFFFFF000:
            return int.from_bytes(frame[12:14], "big")
        if offset == 0xFFFFF014:
            return mark
        start = offset - 0xFFF00000 + 14 if offset >= 0xFFF00000 else offset
        return int.from_bytes(frame[start : start + size], "big") if start + size <= len(frame) else None

    sizes = {0x00: 4, 0x08: 2, 0x10: 1}
    while True:
        operation, taken, missed, k = instructions[at]
        at += 1
        kind = operation & 7
        if kind == 0 and operation & 0xE0 in (0x20, 0x40):  # absolute, indirect
            value = load((k + x if operation & 0xE0 == 0x40 else k) & WORD, sizes[operation & 0x18])
            if value is None:
                return 0
            a = value
        elif kind == 0:
            a = len(frame) if operation == 0x80 else memory[k] if operation == 0x60 else k
        elif operation == 0x01:
            x = k
        elif kind == 2:
            memory[k] = a
        elif kind == 4:
            operand = x if operation & 8 else k
            a = ARITHMETIC[operation & 0xF0](a, operand) & WORD
        elif operation == 0x05:
            at += k
        elif kind == 5:
            operand = x if operation & 8 else k
            answer = {0x10: a == operand, 0x20: a > operand, 0x30: a >= operand, 0x40: bool(a & operand)}
            at += taken if answer[operation & 0xF0] else missed
        elif kind == 6:
            return k
        elif operation == 0x07:
            x = a
        elif operation == 0x87:
            a = x
        else:
            raise AssertionError(hex(operation))


def sees(program: Program, frame: bytes) -> bool:
    """Whether tc would show the frame to the filter, and the program takes it."""
    shown = program.ether_type in (ALL, int.from_bytes(frame[12:14], "big"))
    return shown and run(program.code, frame) == WORD


def compiled(match: Match, direction: Direction) -> list[Program]:
    return bpf.compile_matches((match,), direction)


def takes(programs: list[Program], frame: bytes) -> bool:
    return any(sees(program, frame) for program in programs)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.lists(MATCHES, min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(frames(), min_size=1, max_size=8),
    st.sampled_from(Direction),
)
def test_the_class_list_is_the_naive_evaluation(
    matches: list[list[Match]], seen: list[bytes], direction: Direction
) -> None:
    classes = [Class(str(at), "eth0", direction, tuple(group)) for at, group in enumerate(matches)]
    filters = [bpf.compile_matches(c.matches, direction) for c in classes]
    selections = [bpf.select(classes, at) for at in range(len(classes))]
    for frame in seen:
        expected = first_of(classes, frame)
        assert next((at for at, programs in enumerate(filters) if takes(programs, frame)), None) == expected
        accepting = [at for at, program in enumerate(selections) if run(program.code, frame) == WORD]
        assert accepting == ([] if expected is None else [expected])


@settings(max_examples=200, deadline=None)
@given(st.lists(MATCHES, min_size=1, max_size=3), frames(), st.sampled_from(Direction))
def test_a_match_alone_takes_what_the_model_takes(matches: list[Match], frame: bytes, direction: Direction) -> None:
    for match in matches:
        assert takes(compiled(match, direction), frame) == match.takes(parse(frame, direction))


@settings(max_examples=100, deadline=None)
@given(MATCHES)
def test_only_a_wire_sees_every_frame(match: Match) -> None:
    few = match.ether_types is not None and match.ether_types != Ranges.of((0, 65535))
    assert not few or all(program.ether_type != ALL for program in compiled(match, EGRESS))


A, B = address("10.0.0.1"), address("10.0.0.2")
A6, B6 = address("fd00::1"), address("fd00::2")
SEGMENT = struct.pack("!HH", 40000, 5432) + bytes(16)
DB = Match(protocols=Ranges.of(TCP), remote=peers("10.0.0.2/32", "fd00::2/128"), remote_ports=Ranges.of(5432))
HOP_BY_HOP = bytes([0, 0]) + bytes(6)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(ipv4(TCP, SEGMENT, A, B), True, id="plain"),
        pytest.param(ipv4(TCP, SEGMENT, A, B, options=3), True, id="IP options"),
        pytest.param(ipv4(TCP, SEGMENT, A, B, fragment=0x2000), True, id="first fragment"),
        pytest.param(ipv4(TCP, SEGMENT, A, B, fragment=185), False, id="later fragment that looks like the port"),
        pytest.param(ipv4(UDP, SEGMENT, A, B), False, id="other protocol"),
        pytest.param(ipv4(TCP, SEGMENT, B, A), False, id="other way round"),
        pytest.param(ipv4(TCP, SEGMENT[:3], A, B), False, id="ports cut off"),
        pytest.param(ipv6(TCP, SEGMENT, A6, B6), True, id="v6"),
        pytest.param(ipv6(TCP, SEGMENT, A6, B6, (HOP_BY_HOP,)), True, id="v6 hop by hop"),
        pytest.param(ipv6(TCP, SEGMENT, A6, B6, (HOP_BY_HOP, fragment_header(0))), True, id="v6 first fragment"),
        pytest.param(ipv6(TCP, SEGMENT, A6, B6, (fragment_header(185),)), False, id="v6 later fragment"),
        pytest.param(ipv6(TCP, SEGMENT, A6, B6, (HOP_BY_HOP,) * 7), False, id="v6 too long a chain"),
        pytest.param(ethernet(ARP, bytes(28)), False, id="ARP"),
    ],
)
def test_what_a_port_match_takes(frame: bytes, expected: bool) -> None:
    assert takes(compiled(DB, EGRESS), frame) is expected
    assert DB.takes(parse(frame, EGRESS)) is expected


@pytest.mark.parametrize("kind", range(130, 140))
def test_neighbour_discovery_passes_all_but_a_wire(kind: int) -> None:
    frame = ipv6(58, bytes([kind]) + bytes(23), A6, B6)
    assert takes(compiled(Match(), EGRESS), frame) is not (133 <= kind <= 137)
    assert takes(compiled(EVERYTHING, EGRESS), frame)
    assert takes(compiled(EVERYTHING, EGRESS), ethernet(ARP, bytes(28)))


def test_a_reply_carries_the_port_as_its_source() -> None:
    reply = ipv4(TCP, struct.pack("!HH", 5432, 40000) + bytes(16), B, A)
    assert takes(compiled(DB, INGRESS), reply)
    assert not takes(compiled(DB, EGRESS), reply)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("many", [1, 8, 9, 100, 3000, 10_000])
def test_large_peer_sets(family: int, many: int) -> None:
    chance = random.Random(many * family)
    top = 2**32 if family == 4 else 2**128
    inside = sorted(chance.sample(range(1, 2**32 - 1), many))
    members = inside if family == 4 else [n << 96 | n * 0x9E3779B97F4A7C15 % 2**96 for n in inside]
    known = Ranges.of(*members)
    match = Match(remote=PeerSet(known) if family == 4 else PeerSet(v6=known), remote_ports=Ranges.of((80, 90)))
    programs = compiled(match, EGRESS)
    assert all(len(program) <= MAX_INSTRUCTIONS for program in programs)
    make = ipv4 if family == 4 else ipv6
    payload = struct.pack("!HH", 1, 85) + bytes(4)
    for member in [*chance.sample(members, min(many, 40)), members[0], members[-1]]:
        for remote in {max(member - 1, 0), member, min(member + 1, top - 1)}:
            frame = make(UDP, payload, 1, remote)
            assert takes(programs, frame) is (remote in known)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0, 10 << 24, 2**32 - 4096]),
    st.lists(st.tuples(st.integers(0, 3900), st.sampled_from([0, 0, 0, 1, 5, 31, 32, 70])), min_size=90, max_size=500),
    st.lists(st.integers(0, 2**32 - 1), max_size=5),
    st.sampled_from([4, 6]),
    st.sampled_from(Direction),
)
def test_peers_that_crowd_together(
    base: int, crowd: list[tuple[int, int]], far: list[int], family: int, direction: Direction
) -> None:
    """Their programs have maps of bits, and search for what lies alone or reaches over the end of a map."""
    above = 0 if family == 4 else 0xFD00 << 112
    ranges = [(above + base + at, above + base + at + more) for at, more in crowd]
    known = Ranges.of(*ranges, *(above + at for at in far))
    programs = compiled(Match(remote=PeerSet(known) if family == 4 else PeerSet(v6=known)), direction)
    make = ipv4 if family == 4 else ipv6
    asked = {base + at for at, _ in crowd[:60]} | {base + at + more + 1 for at, more in crowd[:60]} | set(far)
    asked |= {at ^ bit for at in list(asked)[:20] for bit in (1, 16, 32)} | {0, base, 2**32 - 1}
    for remote in (above + at for at in asked if at < 2**32):
        ends = (1, remote) if direction is EGRESS else (remote, 1)
        assert takes(programs, make(UDP, bytes(8), *ends)) is (remote in known)


@pytest.mark.parametrize("family", [4, 6])
def test_ten_thousand_pods_of_a_network_are_one_program(family: int) -> None:
    """Each program costs every packet about as much as all that it asks; peers in one network crowd together."""
    chance = random.Random(family)
    above = 10 << 24 if family == 4 else 0xFD00 << 112
    known = Ranges.of(*(above + at for at in chance.sample(range(1 << 15), 10_000)))
    match = Match(remote=PeerSet(known) if family == 4 else PeerSet(v6=known))
    assert len(compiled(match, EGRESS)) == 1


def test_selection_that_cannot_be_one_program_says_so() -> None:
    large = Match(remote=PeerSet(Ranges.of(*range(0, 20_000_000, 2000))))
    classes = [Class("a", "eth0", EGRESS, (large,)), Class("b", "eth0", EGRESS, (Match(),))]
    with pytest.raises(TooLarge, match="instructions; 3900 fit"):
        bpf.select(classes, 1)


def test_marked_frames() -> None:
    program = bpf.marked()
    assert run(program.code, bytes(14), mark=0x4E45544D) == WORD
    assert run(program.code, bytes(14), mark=0x4E45544C) == 0


def test_every_protocol_with_ports_is_looked_into() -> None:
    for protocol, make in itertools.product((6, 17, 132, 136), (ipv4, ipv6)):
        assert protocol in WITH_PORTS
        assert takes(compiled(Match(remote_ports=Ranges.of(5432)), EGRESS), make(protocol, SEGMENT, 1, 2))
