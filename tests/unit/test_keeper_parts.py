"""The keeper's pure parts: where a timeline is, which packets a check can claim, what a probe looks like."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.agent.probe import packets
from pytest_k8s_netem.agent.proving import with_met
from pytest_k8s_netem.agent.schedule import holds, position
from pytest_k8s_netem.model.impairment import Impairment
from pytest_k8s_netem.model.observed import CheckObserved
from pytest_k8s_netem.model.plan import Check
from pytest_k8s_netem.model.timeline import Segment, Timeline

SEGMENTS = st.lists(st.integers(1, 50) | st.none(), min_size=1, max_size=4)


@given(SEGMENTS, st.booleans(), st.integers(0, 500))
def test_position_and_impairment_are_of_one_mind(durations: list[int | None], repeat: bool, elapsed: int) -> None:
    timeline = Timeline(
        tuple(Segment(duration, Impairment(delay=at + 1, limit=at + 10)) for at, duration in enumerate(durations)),
        repeat,
    )
    impairment, end = holds(timeline, elapsed)
    index = position(timeline, elapsed)
    assert impairment.delay == (index + 1 if index < len(durations) else 0)
    assert impairment.limit > 0
    assert end is None or end > elapsed


@pytest.mark.parametrize(
    ("grown", "sent", "answered", "ingress", "expected"),
    [
        (6, (3, 3), (3, 3), False, (3, 3)),
        (3, (3, 3), (3, 3), False, (0, 0)),  # whose they were nobody knows: none is claimed
        (9, (3, 3), (3, 3), False, (3, 3)),  # somebody else's packets
        (3, (3, 3), (3, 0), True, (3, 0)),  # nothing came from the second peer
        (0, (3, 3), (0, 0), True, (0, 0)),
    ],
)
def test_checks_that_share_a_class_claim_no_packet_twice(
    grown: int, sent: tuple[int, ...], answered: tuple[int, ...], ingress: bool, expected: tuple[int, ...]
) -> None:
    checks = tuple(Check(name, "p", "c", "icmp") for name in "ab")
    results = tuple(CheckObserved(name, s, a) for name, s, a in zip("ab", sent, answered, strict=True))
    seen = with_met(checks, results, {"c": grown}, frozenset("c" if ingress else ""))
    assert tuple(result.met for result in seen) == expected


def test_a_check_that_was_not_sent_has_a_result_too() -> None:
    check = Check("r", "p", "c", "read-back")
    assert with_met((check,), (), {"c": 7}, frozenset()) == (CheckObserved("r"),)


@given(st.binary(max_size=64))
def test_a_packet_with_its_checksum_sums_to_nothing(data: bytes) -> None:
    even = data + bytes(len(data) % 2)
    assert packets.checksum(even + struct.pack("!H", packets.checksum(even))) == 0


@given(st.sampled_from([4, 6]), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 200))
def test_an_echo_is_known_by_its_identifier_and_marker(family: int, identifier: int, number: int, size: int) -> None:
    request = packets.echo(family, identifier, number, size)
    assert request[8:].startswith(packets.MARKER)
    assert len(request) == 8 + max(size, 16)
    header = bytes([0x45]) + bytes(19) if family == 4 else b""
    kind = packets.ECHO_REPLY if family == 4 else packets.ECHO_REPLY_V6
    reply = header + bytes([kind]) + request[1:]
    assert packets.echo_reply(family, identifier, reply) == number
    assert packets.echo_reply(family, identifier ^ 1, reply) is None
    assert packets.echo_reply(family, identifier, header + request) is None


@given(st.sampled_from([4, 6]), st.binary(max_size=80))
def test_no_bytes_make_the_readers_raise(family: int, data: bytes) -> None:
    packets.echo_reply(family, 1, data)
    packets.reset(family, (1, 2), data)


def test_an_acknowledgement_is_bare_and_marked() -> None:
    segment = packets.acknowledgement(4, (61001, 80), 77, 16, (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])))
    assert len(segment) == 20
    assert struct.unpack_from("!HHIIBBH", segment)[3:] == (77, 5 << 4, 0x10, packets.WINDOW)
    pseudo = bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, 6]) + struct.pack("!H", len(segment))
    assert packets.checksum(pseudo + segment) == 0
    assert len(packets.acknowledgement(6, (61001, 80), 77, 1400)) == 1420
