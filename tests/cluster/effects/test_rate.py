"""Rate, its overheads and cells, slots and the queue's limit, by the spacing of arrivals at the peer."""

from __future__ import annotations

import itertools

import pytest
from bounds import LATE, LateError, none_early, undisturbed
from road import Flow, Road

WAYS = pytest.mark.parametrize("direction", ["egress", "ingress"])
PAYLOAD = 958
"""Bytes that make a frame of 1000: Ethernet 14, IPv4 20, UDP 8."""


def on_pace(flow: Flow, first: float, step: float) -> None:
    """The first packet takes so many ms, and each other one ``step`` ms more, reckoned from when the first was sent.

    The last one tells: it may be 1 % late. No arrival is a place to reckon from: a stall makes that late as well.
    """
    assert flow.lost == 0
    due = first + (flow.count - 1) * step
    took = (flow.arrivals[-1].taken - flow.arrivals[0].sent) / 1e6
    none_early([took], due)
    if took > due * 1.01 + LATE:
        raise LateError(f"the last one came after {took:.3f} ms, expected {due:g} ms")


@WAYS
@pytest.mark.parametrize(
    ("words", "octets"),
    [
        ({}, 1000),
        ({"packet_overhead": "24byte"}, 1024),
        ({"packet_overhead": "-14byte"}, 986),
        ({"packet_overhead": "24byte", "cell_size": "48byte", "cell_overhead": "5byte"}, 22 * 53),
    ],
)
def test_packets_take_their_time(road: Road, direction: str, words: dict[str, str], octets: int) -> None:
    def judge() -> None:
        flow = road.flow(60, direction=direction, size=PAYLOAD, pause=0)
        assert flow.numbers == list(range(60))
        on_pace(flow, octets * 8 / 1000, octets * 8 / 1000)

    with road.impair(rate="1mbit", limit=200, **words, **road.towards(direction)):
        undisturbed(judge)


def test_small_packets_take_less(road: Road) -> None:
    with road.impair(rate="800kbit", limit=200):
        undisturbed(lambda: on_pace(road.flow(100, size=58, pause=0), 1, 1))


def test_delay_and_rate_overlap(road: Road) -> None:
    """The wait for the link counts against the delay, as netem has it."""

    def judge() -> None:
        flow = road.flow(60, size=PAYLOAD, pause=0)
        assert flow.delays[0] >= 50
        on_pace(flow, 51, 1)

    with road.impair(delay="50ms", rate="8mbit", limit=200):
        undisturbed(judge)


@WAYS
def test_a_full_queue_drops_the_tail(road: Road, direction: str) -> None:
    with road.impair(delay="200ms", limit=10, ports="udp/4000", **road.towards(direction)):
        flow = road.flow(50, direction=direction, pause=0)
    assert flow.numbers == list(range(10))


def test_a_rate_with_a_short_queue_loses_what_does_not_fit(road: Road) -> None:
    """Twenty wait or are on the link, the rest comes too early."""
    with road.impair(rate="1mbit", limit=20, ports="udp/4000"):
        flow = road.flow(100, size=PAYLOAD, pause=0)
    assert 20 <= len(flow.arrivals) <= 40
    assert flow.numbers[:20] == list(range(20))


@WAYS
def test_slots_let_packets_go_in_bursts(road: Road, direction: str) -> None:
    slot = {"min": "40ms", "packets": 5}
    with road.impair(slot=slot, ports="udp/4000", **road.towards(direction)):
        flow = road.flow(50, direction=direction, pause=0)
    assert flow.numbers == list(range(50))
    found = bursts(flow)
    assert {len(burst) for burst in found[1:-1]} == {5}
    starts = [burst[0] for burst in found]
    steps = sorted((b - a) / 1e6 for a, b in itertools.pairwise(starts))
    assert 39 <= steps[len(steps) // 2] <= 40 + LATE


def test_slots_of_a_distribution(road: Road) -> None:
    slot = {"delay": "50ms", "jitter": "5ms", "distribution": "normal", "bytes": "500byte"}
    with road.impair(slot=slot, ports="udp/4000"):
        flow = road.flow(50, pause=0)
    assert flow.lost == 0
    steps = [(b[0] - a[0]) / 1e6 for a, b in itertools.pairwise(bursts(flow))]
    assert steps
    assert min(steps) > 29
    assert sorted(steps)[len(steps) // 2] < 71 + LATE


def bursts(flow: Flow) -> list[list[int]]:
    """Arrivals, parted where more than 12 ms lie between two."""
    found: list[list[int]] = []
    for arrival in flow.arrivals:
        if not found or arrival.taken - found[-1][-1] > 12_000_000:
            found.append([])
        found[-1].append(arrival.taken)
    return found
