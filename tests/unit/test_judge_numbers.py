"""Effects, intervals and assertions on measurements."""

from __future__ import annotations

import random
from dataclasses import replace
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.judge.effect import Outcome, decide, effects
from pytest_k8s_netem.judge.intervals import (
    binomial_bounds,
    quantile,
    quantile_bounds,
    sample_size,
    share_bounds,
)
from pytest_k8s_netem.judge.measure import Measured, judge_loss, judge_rate, judge_rtt
from pytest_k8s_netem.model.binomial import at_least, at_most
from pytest_k8s_netem.model.impairment import MILLISECOND, Bernoulli, Impairment
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.observed import ClassObserved, Observed, StageObserved
from pytest_k8s_netem.model.plan import Class, Direction, Plan, Stage
from pytest_k8s_netem.model.timeline import Timeline


def exactly(k: int, n: int, p: float) -> float:
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.999))
def test_tails_are_those_of_the_sum(k, n, p):
    assert at_most(k, n, p) == pytest.approx(min(1.0, exactly(k, n, p)), rel=1e-8, abs=1e-300)
    assert at_least(k, n, p) == pytest.approx(min(1.0, exactly(n - k, n, 1 - p)), rel=1e-8, abs=1e-300)


@pytest.mark.parametrize(("k", "p", "tail"), [(-1, 0.5, 0), (5, 0.5, 1), (2, 0, 1), (2, 1, 0)])
def test_tails_at_the_edges(k, p, tail):
    assert at_most(k, 5, p) == tail


def test_clopper_pearson_as_published():
    # 4 of 20: the 95 % interval of the textbooks is 0.0573 to 0.4366
    assert share_bounds(4, 20, 0.05) == pytest.approx((0.057334, 0.436614), abs=1e-5)
    assert share_bounds(0, 10, 0.05) == pytest.approx((0, 1 - 0.025 ** (1 / 10)))
    assert share_bounds(10, 10, 0.05) == pytest.approx((0.025 ** (1 / 10), 1))
    assert share_bounds(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="5 of 4"):
        share_bounds(5, 4)


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from((1e-6, 1e-3, 0.05)))
def test_binomial_bounds_are_the_tightest_whose_ends_are_rare_enough(n, p, alpha):
    fewest, most = binomial_bounds(n, p, alpha)
    assert 0 <= fewest <= most <= n
    assert at_most(fewest - 1, n, p) <= alpha / 2 < at_most(fewest, n, p)
    assert at_least(most + 1, n, p) <= alpha / 2
    assert most == 0 or at_least(most, n, p) > alpha / 2


def test_a_sample_is_as_large_as_needed_and_no_larger():
    n = sample_size(0.01, 0.5)
    fewest, most = binomial_bounds(n, 0.01)
    assert n * 0.005 <= fewest <= most <= n * 0.015
    assert 5_000 < n < 20_000
    for p, precision in ((0, 0.1), (1, 0.1), (0.5, 0), (1e-12, 1e-6)):
        with pytest.raises(ValueError, match="to within"):
            sample_size(p, precision)


def test_large_samples_are_no_trouble():
    low, high = share_bounds(10_000, 1_000_000)
    assert low < 0.01 < high
    assert high - low < 0.0012


def test_the_interval_of_a_median_holds_it():
    draw = random.Random(1)
    for _ in range(50):
        low, high = quantile_bounds([draw.expovariate(1) for _ in range(200)], 0.5)
        assert low < 0.6931 < high  # false alarm: 50 x 1e-6, and the seed is fixed
    assert quantile_bounds([1.0, 2.0, 3.0], 0.5) == (float("-inf"), float("inf"))
    assert quantile_bounds([], 0.5) == (float("-inf"), float("inf"))


def test_quantiles_are_values_that_were_seen():
    assert quantile([4, 1, 3, 2], 0.5) == 2
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([7], 0.99) == 7
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


MS = MILLISECOND
NEAR = Measured("pod/a", "pod/b", tuple(ms * MS for ms in (10, 11, 12)), sent=1000, lost=10, rate=1e7)
FAR = Measured("pod/a", "pod/c", tuple(ms * MS for ms in (100, 110, 120)), sent=1000, lost=300, rate=5e6)
FARTHEST = Measured("pod/x", "pod/c", tuple(ms * MS for ms in (100, 130, 190)), sent=1000, lost=500, rate=1e6)


def test_rtt_names_the_worst_pair_asked_and_measured():
    assert judge_rtt([NEAR], median=(11 * MS, 11 * MS), p99=(12 * MS, 12 * MS)) == ()
    (problem,) = judge_rtt([NEAR, FAR, FARTHEST], median=(5 * MS, 20 * MS))
    assert problem.path == "rtt.median"
    assert "pod/x -> pod/c: asked 5ms to 20ms, measured 130ms (2 of 3 pairs are off)" in str(problem)
    (problem,) = judge_rtt([NEAR, FAR], p99=(100 * MS, 500 * MS))
    assert "pod/a -> pod/b" in str(problem)


def test_a_pair_that_measured_nothing_fails():
    silent = replace(NEAR, rtts=(), sent=0, rate=None)
    for problems in (
        judge_rtt([FAR, silent], median=(0, 10**12)),
        judge_loss([FAR, silent], 0.3),
        judge_rate([silent], (0, 1)),
    ):
        assert "pod/a -> pod/b: nothing was measured" in str(problems[0])
    for problems in (judge_rtt([], median=(0, 1)), judge_loss([], 0.1), judge_rate([], (0, 1))):
        assert "no pair" in str(problems[0])


def test_loss_is_judged_by_what_the_sample_can_show():
    assert judge_loss([NEAR], 0.01) == ()
    assert judge_loss([NEAR], 0.02) == (), "10 of 1000 may well be 2 %"
    assert judge_loss([NEAR], (0.005, 0.015)) == ()
    (problem,) = judge_loss([NEAR, FAR, FARTHEST], 0.01)
    assert "pod/x -> pod/c: asked 1%, measured 500 of 1000 lost (50%) (2 of 3 pairs are off)" in str(problem)
    assert judge_loss([NEAR], 0.2)
    assert judge_loss([FAR], (0.0, 0.1))


def test_false_alarms_of_loss_are_rare():
    draw = random.Random(2)
    for _ in range(300):
        lost = sum(draw.random() < 0.05 for _ in range(200))
        assert judge_loss([replace(NEAR, sent=200, lost=lost)], 0.05) == ()


def test_rate():
    assert judge_rate([NEAR, FAR], (1e6, 2e7)) == ()
    (problem,) = judge_rate([NEAR, FARTHEST], (9e6, 11e6))
    assert "pod/x -> pod/c: asked 9mbit to 11mbit, measured 1mbit" in str(problem)


def plan(impairment: Impairment) -> Plan:
    stage = Stage("p/egress", "p", Direction.EGRESS, Timeline.constant(impairment))
    classes = (
        Class("a", "eth0", Direction.EGRESS, (Match(),), ("p/egress",)),
        Class("b", "eth0", Direction.EGRESS, (Match(),), ("q/egress", "p/egress")),
        Class("c", "eth0", Direction.EGRESS, (Match(),), ()),
    )
    return Plan("default/web", "kernel", classes, (stage, replace(stage, id="q/egress", profile="q")))


def observed(packets: int, **stage) -> Observed:
    classes = (
        ("a", ClassObserved(True, packets, 100 * packets)),
        ("b", ClassObserved(True, 1, 60)),
        ("c", ClassObserved(True, 9, 9)),
    )
    return Observed("default/web", classes=classes, stages=(("p/egress", StageObserved(**stage)),))


def test_effects_count_each_profiles_packets_over_its_classes():
    found = effects(plan(Impairment(loss=Bernoulli(0.1))), observed(9, passed=8, dropped=2, delayed=0))
    assert (found["p"].packets, found["p"].bytes, found["p"].passed, found["p"].dropped) == (10, 960, 8, 2)
    assert found["p"].expected_changes == pytest.approx(1)
    assert found["q"].packets == 1
    total = found["p"] + found["p"]
    assert total.packets == 20
    assert total.expected_changes == pytest.approx(2)


COUNTED = {"delayed": 0, "duplicated": 0, "corrupted": 0, "reordered": 0}


@pytest.mark.parametrize(
    ("impairment", "seen", "outcome"),
    [
        (Impairment(loss=Bernoulli(0.001)), {"passed": 10, **COUNTED}, Outcome.UNEXERCISED),
        (Impairment(loss=Bernoulli(0.001)), {"passed": 9, "dropped": 1, **COUNTED}, Outcome.EXERCISED),
        (Impairment(loss=Bernoulli(0.001)), {"passed": 10}, Outcome.UNEXERCISED),
        (Impairment(delay=5), {"passed": 10}, Outcome.EXERCISED),
        (Impairment(delay=5), {"backlog": 10}, Outcome.EXERCISED),
        (Impairment(delay=5), {"passed": 10, **COUNTED}, Outcome.UNEXERCISED),
        (Impairment(corrupt=Bernoulli(0.5)), {"passed": 10}, Outcome.EXERCISED),
        (Impairment(corrupt=Bernoulli(0.001)), {"passed": 10}, Outcome.UNEXERCISED),
        (Impairment(corrupt=Bernoulli(0.5)), {"passed": 10, **COUNTED}, Outcome.UNEXERCISED),
    ],
)
def test_a_profile_is_unexercised_if_nothing_it_met_was_changed(impairment, seen, outcome):
    assert decide(effects(plan(impairment), observed(9, **seen))["p"]) is outcome


def test_a_profile_is_inert_only_if_no_pod_and_no_direction_met_a_packet():
    nothing = effects(plan(Impairment(delay=5)), replace(observed(0), classes=()))
    assert decide(nothing["p"]) is Outcome.INERT
    something = effects(plan(Impairment(delay=5)), observed(3, passed=3))
    assert decide(nothing["p"] + something["p"]) is Outcome.EXERCISED
