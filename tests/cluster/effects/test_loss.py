"""Loss in all its models, counted at the peer."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from bounds import share
from road import Road

WAYS = pytest.mark.parametrize("direction", ["egress", "ingress"])


@WAYS
@pytest.mark.parametrize("family", [4, 6])
def test_independent(road: Road, direction: str, family: int) -> None:
    with road.impair(loss="10%", **road.towards(direction)):
        flow = road.flow(3000, direction=direction, family=family)
    share(flow.lost, 3000, 0.1)
    assert flow.overtaken == flow.doubled == 0


@WAYS
def test_a_blackhole_is_silent_and_complete(road: Road, direction: str) -> None:
    with road.impair(loss="100%", **road.towards(direction)):
        assert road.flow(300, direction=direction).arrivals == ()


def test_correlated(road: Road) -> None:
    """netem's way: each number is half fresh, half the one before; so losses cling together, and are fewer."""
    with road.impair(loss="40%", loss_correlation="50%"):
        flow = road.flow(4000)
    lost = losses(flow.numbers, 4000)
    x, hits = 0.5, 0
    fresh = random.Random(1)
    for _ in range(200_000):
        x = (x + fresh.random()) / 2
        hits += x < 0.4
    share(sum(lost), 4000, hits / 200_000, widening=2)
    again = sum(a and b for a, b in itertools.pairwise(lost)) / sum(lost)
    assert again - sum(lost) / 4000 > 0.15


@WAYS
def test_gilbert_elliott(road: Road, direction: str) -> None:
    """2 % to 20 % and back: 1 in 11 lost, in bursts of five; (2 - p - r)/(p + r) widens the variance."""
    with road.impair(loss_model="gemodel 2% 20%", **road.towards(direction)):
        flow = road.flow(6000, direction=direction)
    lost = losses(flow.numbers, 6000)
    share(sum(lost), 6000, 1 / 11, widening=math.sqrt((2 - 0.22) / 0.22))
    bursts = [len(list(run)) for gone, run in itertools.groupby(lost) if gone]
    assert 2.5 < sum(bursts) / len(bursts) < 9


def test_gilbert_elliott_with_loss_in_both_states(road: Road) -> None:
    """(0.1 x 0.5 + 0.3 x 0.1) / 0.4 = 20 %."""
    with road.impair(loss_model="gemodel 10% 30% 50% 10%"):
        flow = road.flow(4000)
    share(flow.lost, 4000, 0.2, widening=1.5)


def test_four_states(road: Road) -> None:
    """p13 2 %, p31 20 %, p32 30 %, p23 40 %, p14 1 %: by the balance of the chain."""
    three = 0.02 / 0.2
    weights = {1: 1.0, 2: three * 0.3 / 0.4, 3: three, 4: 0.01}
    mean = (weights[3] + weights[4]) / sum(weights.values())
    with road.impair(loss_model="state 2% 20% 30% 40% 1%"):
        flow = road.flow(6000)
    share(flow.lost, 6000, mean, widening=3.5)


@pytest.mark.asks("loss.EveryNth")
@WAYS
def test_every_nth(road: Road, direction: str) -> None:
    with road.impair(loss_model="every-nth 10", ports="udp/4000", **road.towards(direction)):
        flow = road.flow(200, direction=direction)
    assert sorted(set(range(200)) - set(flow.numbers)) == list(range(9, 200, 10))


@pytest.mark.asks("seed")
def test_the_same_seed_loses_the_same(road: Road) -> None:
    def lost(seed: int) -> list[int]:
        with road.impair(loss="20%", seed=seed, ports="udp/4000"):
            return road.flow(500).numbers

    assert lost(7) == lost(7)
    assert lost(7) != lost(8)


@pytest.mark.asks("seed")
def test_the_same_seed_jitters_alike(road: Road) -> None:
    """Delays agree up to what a busy machine adds; 40 ms of jitter apart, two seeds would not."""

    def delays() -> dict[int, float]:
        with road.impair(delay="60ms", jitter="40ms", seed=7, ports="udp/4000"):
            return {arrival.number: arrival.delay for arrival in road.flow(200).arrivals}

    first, second = delays(), delays()
    apart = sorted(abs(first[number] - second[number]) for number in range(200))
    assert apart[100] < 4


def losses(numbers: list[int], count: int) -> list[bool]:
    """By number, whether it was lost."""
    came = set(numbers)
    return [number not in came for number in range(count)]
