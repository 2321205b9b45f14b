"""Jitter's distributions: 2,000 delays against the formula, by the bound of Dvoretzky, Kiefer and Wolfowitz (1e-6)."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Callable

import bounds
import pytest
from road import Road

DELAY, JITTER, COUNT = 160, 40, 2000
"""ms; four sigma of jitter stay above nothing."""
NORMAL = statistics.NormalDist()


def uniform(sigmas: float) -> float:
    return min(max((sigmas + 1) / 2, 0), 1)


def pareto_quantile(u: float) -> float:
    """Shape 3, about its mean, in tc's scale: (4/3) ((1 - u)^(-1/3) - 3/2)."""
    return 4 / 3 * ((1 - u) ** (-1 / 3) - 1.5)


def from_quantile(quantile: Callable[[float], float]) -> Callable[[float], float]:
    points = [quantile((step + 0.5) / 4096) for step in range(4096)]
    return lambda sigmas: 1.0 if sigmas >= 3.99 else bisect.bisect_right(points, sigmas) / len(points)


CUMULATIVE = {
    "uniform": uniform,
    "normal": NORMAL.cdf,
    "pareto": from_quantile(pareto_quantile),
    "paretonormal": from_quantile(lambda u: NORMAL.inv_cdf(u) / 4 + 3 / 4 * pareto_quantile(u)),
}


@pytest.mark.parametrize("direction", ["egress", "ingress"])
@pytest.mark.parametrize("name", CUMULATIVE)
def test_named(road: Road, name: str, direction: str) -> None:
    def judge() -> None:
        flow = road.flow(COUNT, direction=direction)
        assert flow.lost == 0
        bounds.distribution(flow.delays, lambda ms: CUMULATIVE[name]((ms - DELAY) / JITTER))

    words = {"delay": f"{DELAY}ms", "jitter": f"{JITTER}ms", "distribution": name}
    with road.impair(**words, **road.towards(direction)):
        bounds.undisturbed(judge)


def test_a_users_own_table(road: Road) -> None:
    """A quarter two jitters early, three quarters one jitter late."""

    def judge() -> None:
        delays = road.flow(COUNT).delays
        if max(delays) > 130 + bounds.LATE:
            raise bounds.LateError(f"one came after {max(delays):.3f} ms, asked 130 ms")
        early = [delay for delay in delays if delay < 85]
        bounds.share(len(early), COUNT, 0.25)
        bounds.on_time(early, 40)
        bounds.on_time([delay for delay in delays if delay >= 85], 130)

    with road.impair(delay="100ms", jitter="30ms", distribution=[-16384, 8192, 8192, 8192]):
        bounds.undisturbed(judge)


@pytest.mark.asks("delay_corr")
def test_correlated_delays_resemble_the_ones_before(road: Road) -> None:
    """90 % asked; the deviation of a sample's autocorrelation is below sqrt((1 - rho^2)/n) = 0.01."""
    with road.impair(delay=f"{DELAY}ms", jitter=f"{JITTER}ms", distribution="normal", delay_correlation="90%"):
        flow = road.flow(COUNT)
    sent = sorted(flow.arrivals, key=lambda arrival: arrival.number)
    assert 0.8 < bounds.autocorrelation([arrival.delay for arrival in sent]) < 0.96


def test_uncorrelated_delays_do_not(road: Road) -> None:
    """The deviation is 1/sqrt(n) = 0.022."""
    with road.impair(delay=f"{DELAY}ms", jitter=f"{JITTER}ms", distribution="normal"):
        flow = road.flow(COUNT)
    sent = sorted(flow.arrivals, key=lambda arrival: arrival.number)
    assert abs(bounds.autocorrelation([arrival.delay for arrival in sent])) < 0.15
