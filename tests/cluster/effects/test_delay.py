"""Delay, round trip, order: what the kernel's stamps at the peer say."""

from __future__ import annotations

import pytest
from bounds import LATE, none_early, on_time
from road import Road

WAYS = pytest.mark.parametrize("direction", ["egress", "ingress"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@WAYS
@FAMILIES
def test_each_packet_comes_that_much_later(road: Road, direction: str, family: int) -> None:
    with road.impair(delay="37ms", **road.towards(direction)):
        flow = road.flow(200, direction=direction, family=family)
    on_time(flow.delays, 37)
    assert flow.numbers == list(range(200))


@WAYS
def test_the_other_way_is_not_touched(road: Road, direction: str) -> None:
    back = {"egress": "ingress", "ingress": "egress"}[direction]
    with road.impair(delay="500ms", **road.towards(direction)):
        assert max(road.flow(50, direction=back).delays) < 500


@FAMILIES
def test_rtt_is_half_each_way(road: Road, family: int) -> None:
    with road.impair(rtt="60ms", to="app=right"):
        for direction in ("egress", "ingress"):
            on_time(road.flow(50, direction=direction, family=family).delays, 30)


def test_a_long_delay_loses_nothing(road: Road) -> None:
    with road.impair(delay="1s"):
        flow = road.flow(3000, quiet=1.4)
    none_early(flow.delays, 1000)
    assert flow.numbers == list(range(3000))


@pytest.mark.asks("ordered")
def test_ordered_jitter_never_reorders(road: Road) -> None:
    """Dense packets wait for the slowest before them; those far apart show the spread."""
    with road.impair(delay="30ms", jitter="20ms", ordered=True):
        dense, flow = road.flow(1000), road.flow(60, pause=0.015)
    assert dense.numbers == list(range(1000))
    assert flow.numbers == list(range(60))
    assert max(flow.delays) - min(flow.delays) > 10


def test_jitter_lets_packets_overtake(road: Road) -> None:
    with road.impair(delay="30ms", jitter="20ms"):
        flow = road.flow(500)
    assert flow.overtaken > 50
    assert flow.lost == 0
    none_early(flow.delays, 10)
    assert sorted(flow.delays)[-5] <= 50 + LATE
