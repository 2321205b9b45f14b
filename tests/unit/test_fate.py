"""What happens to packets: exact rules, and statistics whose bounds a right implementation leaves once in a million.

Seeds are fixed, so a verdict never changes from run to run; the bounds are five sigma (false alarm below 6e-7 a bound,
were the seed drawn).
"""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.model.fate import Fate, packet_time
from pytest_k8s_netem.model.impairment import (
    MILLISECOND,
    NONE,
    SECOND,
    Bernoulli,
    EveryNth,
    FourState,
    GilbertElliott,
    Impairment,
    Rate,
    Slot,
)
from pytest_k8s_netem.model.sizing import sized
from pytest_k8s_netem.model.tables import SCALE, named

SIGMAS = 5.0
N = 40_000
GAP = 10_000
"""ns between arrivals of :func:`run`."""


def run(impairment: Impairment, count: int = N, seed: int = 7, size: int = 1000, gap: int = GAP):
    fate = Fate(sized(impairment), seed)
    return fate, [fate.decide(at * gap, size) for at in range(count)]


def lost(impairment: Impairment, count: int = N, seed: int = 7) -> list[bool]:
    return [not copies for copies in run(impairment, count, seed)[1]]


def assert_share(hits: int, count: int, p: float, variance_factor: float = 1.0) -> None:
    assert abs(hits - count * p) <= SIGMAS * math.sqrt(count * p * (1 - p) * variance_factor)


impairments = st.builds(
    Impairment,
    delay=st.integers(0, 10**9),
    jitter=st.integers(0, 10**8),
    delay_corr=st.sampled_from([0.0, 0.5, 1.0]),
    table=st.sampled_from([None, named("pareto")]),
    loss=st.one_of(
        st.builds(Bernoulli, st.floats(0, 1), st.sampled_from([0.0, 0.3, 1.0])),
        st.builds(GilbertElliott, st.floats(0, 1), st.floats(0, 1)),
        st.builds(FourState, *[st.floats(0, 0.5)] * 5),
        st.builds(EveryNth, st.integers(0, 5)),
    ),
    duplicate=st.builds(Bernoulli, st.floats(0, 1)),
    corrupt=st.builds(Bernoulli, st.floats(0, 1)),
    reorder=st.builds(Bernoulli, st.floats(0, 1)),
    gap=st.integers(0, 4),
    rate=st.builds(Rate, st.sampled_from([0, 10**6, 10**9]), st.sampled_from([-14, 0, 20]), st.sampled_from([0, 48])),
    slot=st.builds(Slot, st.integers(0, 10**6), st.integers(10**6, 10**7), st.integers(0, 3), st.integers(0, 3000)),
    limit=st.integers(1, 100),
    ordered=st.booleans(),
)


class TestAnyImpairment:
    @given(impairments, st.integers(0, 2**64), st.lists(st.integers(0, 10**7), max_size=60))
    def test_equal_seeds_give_equal_fates_and_counters_add_up(self, impairment, seed, gaps):
        one, other, at = Fate(impairment, seed), Fate(impairment, seed), 0
        decided = []
        for gap in gaps:
            at += gap
            copies = one.decide(at, 700)
            assert copies == other.decide(at, 700)
            assert len(copies) <= 2
            decided += copies
        assert one.passed == len(decided)
        assert one.corrupted == sum(corrupt for _, corrupt, _ in decided)
        assert one.passed - one.duplicated + one.dropped >= len(gaps)

    @given(impairments, impairments, st.lists(st.integers(0, 10**6), min_size=2, max_size=40))
    def test_a_change_reorders_nothing_by_itself(self, before, after, gaps):
        calm = {"jitter": 0, "reorder": Bernoulli(), "loss": Bernoulli(), "slot": Slot()}
        fate, at, dues = Fate(replace(before, **calm), 3), 0, []
        for number, gap in enumerate(gaps):
            if number == len(gaps) // 2:
                fate.hold(replace(after, **calm))
            at += gap
            dues += [due for due, _, _ in fate.decide(at, 500)]
        # A duplicate is enqueued before its original; both are judged by the order of their due times only.
        assert max(dues, default=0) == (max(dues[-2:]) if dues else 0)

    @given(impairments, st.lists(st.integers(0, 10**6), max_size=40))
    def test_ordered_keeps_order(self, impairment, gaps):
        fate = Fate(replace(impairment, ordered=True, reorder=Bernoulli(), duplicate=Bernoulli()), 3)
        at, dues = 0, []
        for gap in gaps:
            at += gap
            dues += [due for due, _, _ in fate.decide(at, 500)]
        assert dues == sorted(dues)

    def test_nothing_happens_without_an_impairment(self):
        fate, decided = run(NONE, 100)
        assert decided == [((at * GAP, False, False),) for at in range(100)]
        assert (fate.passed, fate.delayed, fate.dropped, fate.reordered) == (100, 0, 0, 0)


class TestDelay:
    def test_constant(self):
        fate, decided = run(Impairment(delay=5 * MILLISECOND), 100)
        assert [copies[0][0] for copies in decided] == [at * GAP + 5 * MILLISECOND for at in range(100)]
        assert fate.delayed == 100

    def delays(self, **parts) -> list[int]:
        impairment = Impairment(delay=50 * MILLISECOND, jitter=5 * MILLISECOND, **parts)
        return [copies[0][0] - at * GAP for at, copies in enumerate(run(impairment)[1])]

    def test_uniform_jitter(self):
        delays = self.delays()
        assert 45 * MILLISECOND <= min(delays) < max(delays) <= 55 * MILLISECOND
        sigma = 5 * MILLISECOND / math.sqrt(3)
        assert abs(statistics.fmean(delays) - 50 * MILLISECOND) < SIGMAS * sigma / math.sqrt(N)
        # Kurtosis of a uniform distribution is 9/5: standard error of the variance sigma^2 sqrt((9/5 - 1) / n).
        assert statistics.pvariance(delays) == pytest.approx(sigma**2, rel=SIGMAS * math.sqrt(0.8 / N))

    @pytest.mark.parametrize("name", ["normal", "pareto", "paretonormal"])
    @pytest.mark.parametrize("correlation", [0.0, 0.5])
    def test_a_table_has_its_moments_at_any_correlation(self, name, correlation):
        values = [value / SCALE for value in named(name).values]
        mean, sigma = statistics.fmean(values), statistics.pstdev(values)
        delays = [(d / MILLISECOND - 50) / 5 for d in self.delays(table=named(name), delay_corr=correlation)]
        # An autoregression of rho has (1 + rho) / (1 - rho) times the variance of the mean, and less for the square.
        spread = (1 + correlation) / (1 - correlation)
        assert abs(statistics.fmean(delays) - mean) < SIGMAS * sigma * math.sqrt(spread / N)
        fourth = statistics.fmean((v - mean) ** 4 for v in values)
        error = math.sqrt((fourth - sigma**4) * spread / N)
        assert abs(statistics.pvariance(delays) - sigma**2) < SIGMAS * error

    @pytest.mark.parametrize("correlation", [0.0, 0.25, 0.9])
    def test_correlation(self, correlation):
        delays = self.delays(table=named("normal"), delay_corr=correlation)
        mean = statistics.fmean(delays)
        off = [d - mean for d in delays]
        found = sum(a * b for a, b in pairwise(off)) / sum(x * x for x in off)
        assert abs(found - correlation) < SIGMAS / math.sqrt(N) + 0.005  # the table ends at 3.7 sigma

    def test_jitter_reorders_unless_ordered(self):
        assert run(Impairment(delay=MILLISECOND, jitter=MILLISECOND))[0].reordered > N / 2
        assert run(Impairment(delay=MILLISECOND, jitter=MILLISECOND, ordered=True))[0].reordered == 0

    def test_jitter_wider_than_the_delay_sends_no_packet_before_it_came(self):
        _, decided = run(Impairment(delay=MILLISECOND, jitter=10 * MILLISECOND), 1000)
        assert all(copies[0][0] >= at * GAP for at, copies in enumerate(decided))

    def test_a_shorter_delay_does_not_overtake_what_is_under_way(self):
        fate = Fate(Impairment(delay=100, limit=10), 1)
        assert fate.decide(0, 1)[0][0] == 100
        fate.hold(Impairment(delay=5, limit=10))
        assert [fate.decide(at, 1)[0][0] for at in (10, 90, 96)] == [100, 100, 101]


class TestLoss:
    @pytest.mark.parametrize("p", [0.001, 0.01, 0.5])
    def test_independent(self, p):
        assert_share(sum(lost(Impairment(loss=Bernoulli(p)))), N, p)

    def test_all_and_none(self):
        assert all(lost(Impairment(loss=Bernoulli(1.0)), 1000))
        assert all(lost(Impairment(loss=Bernoulli(1.0, 0.5)), 1000))
        assert not any(lost(Impairment(loss=Bernoulli(0.0)), 1000))

    def test_correlated_as_get_crandom_has_it(self):
        """With rho = 1/2 the number is uniform/2 + last/2; simulated here independently, share and bursts agree."""
        import random

        rng, last, reference = random.Random(99), 0.5, []
        for _ in range(N):
            last = (rng.random() + last) / 2
            reference.append(last < 0.3)
        found = lost(Impairment(loss=Bernoulli(0.3, 0.5)))
        mean = sum(reference) / N
        # Two sequences of correlation below 0.6: variance of a mean at most (1 + .6) / (1 - .6) = 4 times.
        assert abs(sum(found) / N - mean) < SIGMAS * math.sqrt(2 * 4 * mean * (1 - mean) / N)
        assert sum(a and b for a, b in pairwise(found)) > 1.5 * N * mean**2

    def test_gilbert_elliott_share_and_burst_length(self):
        found = lost(Impairment(loss=GilbertElliott(0.02, 0.25)))
        mean = 0.02 / 0.27
        correlation = 1 - 0.02 - 0.25
        assert_share(sum(found), N, mean, (1 + correlation) / (1 - correlation))
        bursts = [len(list(group)) for is_lost, group in groupby(found) if is_lost]
        # Bursts are geometric of mean 1/r.
        assert abs(statistics.fmean(bursts) - 4) < SIGMAS * math.sqrt((1 - 0.25) / 0.25**2 / len(bursts))

    def test_gilbert_elliott_with_losses_in_both_states(self):
        model = GilbertElliott(0.05, 0.2, bad_loss=0.7, good_loss=0.01)
        assert_share(sum(lost(Impairment(loss=model))), N, model.mean, 7)

    def test_four_states(self):
        model = FourState(p13=0.01, p31=0.2, p32=0.3, p23=0.4, p14=0.005)
        found = lost(Impairment(loss=model))
        assert_share(sum(found), N, model.mean, 12)
        losses = [len(list(group)) for is_lost, group in groupby(found) if is_lost]
        assert 1 < statistics.fmean(losses) < 1 / 0.5

    def test_four_states_with_single_losses_only(self):
        found = lost(Impairment(loss=FourState(p13=0, p31=1, p32=0, p23=1, p14=0.2)))
        assert all(len(list(group)) == 1 for is_lost, group in groupby(found) if is_lost)

    def test_each_nth(self):
        assert lost(Impairment(loss=EveryNth(3)), 7) == [False, False, True, False, False, True, False]
        assert all(lost(Impairment(loss=EveryNth(1)), 5))

    def test_ecn_marks_where_the_packet_takes_it(self):
        fate = Fate(Impairment(loss=Bernoulli(1.0), ecn=True, limit=10), 1)
        assert fate.decide(0, 100, ecn_capable=True) == ((0, False, True),)
        assert fate.decide(0, 100, ecn_capable=False) == ()
        assert fate.dropped == 1


class TestOtherChances:
    def test_duplicate(self):
        fate, decided = run(Impairment(duplicate=Bernoulli(0.1)))
        assert_share(fate.duplicated, N, 0.1)
        assert sum(len(copies) == 2 for copies in decided) == fate.duplicated

    def test_a_duplicate_is_lost_on_its_own(self):
        """netem: of a packet to be lost and doubled one copy stays, and the second copy can be lost again."""
        _, decided = run(Impairment(duplicate=Bernoulli(1.0), loss=Bernoulli(0.3)))
        sizes = [len(copies) for copies in decided]
        assert 0 not in sizes
        assert_share(sizes.count(2), N, 0.7 * 0.7)

    def test_corrupt(self):
        assert_share(run(Impairment(corrupt=Bernoulli(0.2)))[0].corrupted, N, 0.2)

    def test_a_flip_changes_one_bit_behind_the_start(self):
        fate, hit = Fate(NONE, 5), set()
        for _ in range(500):
            frame = bytearray(10)
            fate.flip(frame, 6)
            assert frame[:6] == bytes(6)
            assert sum(byte.bit_count() for byte in frame) == 1
            hit.add(bytes(frame))
        assert len(hit) == 32

    def test_reorder_sends_at_once(self):
        fate, decided = run(Impairment(delay=MILLISECOND, reorder=Bernoulli(0.25)))
        at_once = sum(copies[0][0] == at * GAP for at, copies in enumerate(decided))
        assert_share(at_once, N, 0.25)
        assert fate.reordered == pytest.approx(at_once, abs=200)  # none is overtaken by the first of all

    def test_reorder_with_gap_takes_each_fifth(self):
        _, decided = run(Impairment(delay=MILLISECOND, reorder=Bernoulli(1.0), gap=5), 20)
        assert [at for at, copies in enumerate(decided) if copies[0][0] == at * GAP] == [4, 9, 14, 19]


class TestRate:
    def test_packets_leave_one_behind_the_other(self):
        fate = Fate(Impairment(rate=Rate(8_000_000), limit=100), 1)  # 1 byte/us
        assert [fate.decide(0, 1000)[0][0] for _ in range(3)] == [1_000_000, 2_000_000, 3_000_000]
        assert fate.decide(10_000_000, 500)[0][0] == 10_500_000

    def test_delay_and_waiting_are_not_added(self):
        fate = Fate(Impairment(delay=5_000_000, rate=Rate(8_000_000), limit=100), 1)
        assert [fate.decide(0, 1000)[0][0] for _ in range(2)] == [6_000_000, 7_000_000]

    def test_overhead_and_cells(self):
        assert packet_time(100, Rate(8 * SECOND)) == 100
        assert packet_time(100, Rate(8 * SECOND, packet_overhead=20)) == 120
        assert packet_time(10, Rate(8 * SECOND, packet_overhead=-14)) == 0
        assert packet_time(97, Rate(8 * SECOND, cell_size=48, cell_overhead=5)) == 3 * 53
        assert packet_time(96, Rate(8 * SECOND, cell_size=48, cell_overhead=5)) == 2 * 53

    def test_the_long_run_is_the_rate(self):
        fate, decided = run(sized(Impairment(rate=Rate(400_000_000))), 20_000)  # offered: 800 Mbit/s
        last = max(copies[0][0] for copies in decided if copies)
        assert fate.passed * 1000 * 8 * SECOND / last == pytest.approx(400_000_000, rel=1e-6)
        assert fate.dropped > 0


class TestLimit:
    def test_counts_what_is_under_way_at_the_arrival(self):
        fate = Fate(Impairment(delay=100, limit=2), 1)
        assert [len(fate.decide(at, 1)) for at in (0, 50, 60, 100, 149, 150)] == [1, 1, 0, 1, 0, 1]
        assert fate.dropped == 2

    def test_with_jitter(self):
        _, decided = run(Impairment(delay=SECOND, jitter=1000, limit=10), 100)
        assert [len(copies) for copies in decided] == [1] * 10 + [0] * 90


class TestSlots:
    def test_packets_leave_together(self):
        _, decided = run(Impairment(slot=Slot(min_delay=MILLISECOND, max_delay=MILLISECOND)), 1000)
        dues = [copies[0][0] for copies in decided]
        assert dues == sorted(dues)
        assert {due % MILLISECOND for due in dues} == {0}
        assert len(set(dues)) == 11
        assert all(0 <= due - at * GAP <= MILLISECOND for at, due in enumerate(dues))

    def test_a_full_slot_ends(self):
        _, decided = run(Impairment(slot=Slot(MILLISECOND, MILLISECOND, packets=3)), 9, gap=0)
        assert [copies[0][0] // MILLISECOND for copies in decided] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        _, decided = run(Impairment(slot=Slot(MILLISECOND, MILLISECOND, bytes=1500)), 4, gap=0)
        assert [copies[0][0] // MILLISECOND for copies in decided] == [0, 0, 1, 1]

    def test_uniform_and_table_distances(self):
        for slot in (
            Slot(MILLISECOND, 3 * MILLISECOND),
            Slot(delay=2 * MILLISECOND, jitter=100, table=named("normal")),
        ):
            dues = sorted({copies[0][0] for copies in run(Impairment(slot=slot), 20_000)[1]})
            steps = [b - a for a, b in pairwise(dues)]
            assert abs(statistics.fmean(steps) - 2 * MILLISECOND) < SIGMAS * 2 * MILLISECOND / math.sqrt(
                12 * len(steps)
            )

    def test_a_long_silence_costs_no_time(self):
        fate = Fate(Impairment(slot=Slot(1, 1000), limit=10), 1)
        fate.decide(0, 1)
        assert 0 <= fate.decide(3600 * SECOND, 1)[0][0] - 3600 * SECOND <= 1000


class TestHold:
    def test_keeps_randomness_and_counters(self):
        impairment = sized(Impairment(loss=Bernoulli(0.5)))
        one, other = Fate(impairment, 4), Fate(impairment, 4)
        for at in range(50):
            one.decide(at, 1)
            other.decide(at, 1)
        other.hold(replace(impairment, delay=5))
        fates = [(bool(one.decide(at, 1)), bool(other.decide(at, 1))) for at in range(50, 200)]
        assert all(a == b for a, b in fates)
        assert one.dropped == other.dropped
        assert other.impairment.delay == 5

    def test_keeps_the_state_of_a_chain(self):
        fate = Fate(Impairment(loss=GilbertElliott(1.0, 0.0), limit=10), 4)
        fate.decide(0, 1)
        fate.hold(Impairment(loss=GilbertElliott(1e-12, 1e-12), limit=10))
        assert fate.decide(1, 1) == ()


class TestSized:
    def test_a_given_limit_stays(self):
        assert sized(Impairment(delay=SECOND, limit=5)).limit == 5

    def test_without_a_rate(self):
        assert sized(NONE).limit == 1000
        assert sized(Impairment(delay=100 * MILLISECOND)).limit == 150_000
        assert sized(Impairment(delay=60 * MILLISECOND, jitter=10 * MILLISECOND)).limit == 150_000
        assert sized(Impairment(delay=3600 * SECOND)).limit == 1_000_000

    def test_a_slow_link_has_no_seconds_of_queue(self):
        limit = sized(Impairment(delay=50 * MILLISECOND, rate=Rate(1_000_000))).limit
        assert limit * 1500 * 8 / 1_000_000 < 1.0
        assert limit * 500 * 8 / 1_000_000 > 0.05 + 0.1

    def test_tcp_can_fill_a_fast_link(self):
        limit = sized(Impairment(delay=50 * MILLISECOND, rate=Rate(100_000_000))).limit
        assert limit * 1500 * 8 / 100_000_000 > 0.1
