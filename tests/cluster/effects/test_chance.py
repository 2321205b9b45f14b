"""Duplication, corruption, reordering and marking, judged at the peer."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest
from bounds import EARLY, share
from road import ETH_P_IP, ETH_P_IPV6, PORT, Road, address, received

WAYS = pytest.mark.parametrize("direction", ["egress", "ingress"])
_SO_NO_CHECK = 11
_ECT0, _CE = 2, 3


@WAYS
def test_duplicates(road: Road, direction: str) -> None:
    with road.impair(duplicate="20%", **road.towards(direction)):
        flow = road.flow(2000, direction=direction)
    share(flow.doubled, 2000, 0.2)
    assert flow.lost == 0
    assert len(flow.arrivals) == 2000 + flow.doubled, "nothing comes three times"


@WAYS
def test_corrupt_packets_fail_their_checksum(road: Road, direction: str) -> None:
    """Up to 14 of 106 bytes are Ethernet's, which UDP does not check."""
    with road.impair(corrupt="20%", **road.towards(direction)):
        flow = road.flow(3000, direction=direction)
    checked = 92 / 106
    assert flow.lost >= 3000 * 0.2 * checked - 5 * (3000 * 0.2 * 0.8) ** 0.5
    assert flow.lost <= 3000 * 0.2 + 5 * (3000 * 0.2 * 0.8) ** 0.5


def test_corruption_flips_one_bit(road: Road) -> None:
    sent = bytes(range(256)) * 5
    with (
        road.impair(corrupt="100%"),
        closing(road.receiver(road.right)) as there,
        closing(road.socket(road.left)) as here,
    ):
        here.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        here.connect((address(road.right), PORT))
        for _ in range(100):
            here.send(sent)
        came = [data for _, data in received(there, 0.4)]
    flipped = [sum((a ^ b).bit_count() for a, b in zip(sent, data, strict=True)) for data in came if len(data) == 1280]
    assert len(flipped) > 60, "flips in headers lose a packet: 42 bytes of 1322"
    assert set(flipped) <= {0, 1}, "0: the flip was in a header that nobody checks"
    assert flipped.count(1) > 60


@WAYS
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"reorder": "30%"}, 0.3),
        # After an overtaking, four packets may not; then each may with 25 %: one in 4 + 1/0.25.
        ({"reorder": "25%", "gap": 5}, 1 / 8),
    ],
)
def test_reordered_packets_skip_the_delay(
    road: Road, direction: str, words: dict[str, object], expected: float
) -> None:
    with road.impair(delay="200ms", **words, **road.towards(direction)):
        flow = road.flow(1500, direction=direction)
    early = sum(delay < 100 for delay in flow.delays)
    share(early, 1500, expected)
    assert flow.lost == flow.doubled == 0
    assert min(delay for delay in flow.delays if delay >= 100) >= 200 - EARLY


@pytest.mark.parametrize("family", [4, 6])
def test_ecn_marks_instead_of_dropping(road: Road, family: int) -> None:
    with road.impair(loss="30%", ecn=True), closing(road.packets(road.right)) as there:
        assert road.flow(2000, family=family, tos=_ECT0).lost == 0
        marks = [mark for _, frame in received(there, 0.2) if (mark := _mark(frame, family)) is not None]
    assert len(marks) == 2000
    share(marks.count(_CE), 2000, 0.3)
    assert marks.count(_ECT0) == 2000 - marks.count(_CE)


def test_ecn_drops_what_cannot_be_marked(road: Road) -> None:
    with road.impair(loss="30%", ecn=True):
        share(road.flow(2000).lost, 2000, 0.3)


def _mark(frame: bytes, family: int) -> int | None:
    """The ECN bits of a datagram to our port; None for other packets."""
    wanted, at = ((ETH_P_IP, 34), (ETH_P_IPV6, 54))[family == 6]
    if int.from_bytes(frame[12:14], "big") != wanted or int.from_bytes(frame[at + 2 : at + 4], "big") != PORT:
        return None
    return frame[15] & 3 if family == 4 else frame[15] >> 4 & 3
