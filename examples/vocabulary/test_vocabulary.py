"""Every word that a marker knows, each judged by the client's own clock and counts.

Statistical bounds are missed by chance less than once in a million runs; upper bounds of time tell what was asked
from twice as much, and are no closer: a busy machine is late.
"""

from __future__ import annotations

import statistics

import pytest

PAIR = {"pods": "app=client", "to": "app=server"}


@pytest.mark.netem(delay="30ms", **PAIR)
def test_delay_is_one_way_at_the_sender(median_rtt):
    assert 30 < median_rtt() < 60


@pytest.mark.netem(delay="30ms", direction="both", pods="app=client")
def test_both_directions(median_rtt):
    assert 60 < median_rtt() < 90


@pytest.mark.netem(delay="30ms", pods="app=client", from_="app=server")
def test_from_is_ingress(median_rtt):
    assert 30 < median_rtt() < 60


@pytest.mark.netem(delay="20ms")
def test_a_bare_delay_on_all_pods_counts_both_ways(median_rtt):
    assert 40 < median_rtt() < 80


@pytest.mark.netem(rtt="40ms")
def test_rtt_is_added_once_to_each_pair(median_rtt):
    assert 40 < median_rtt() < 80


@pytest.mark.netem(rtt="40ms", **PAIR)
def test_ipv6_alike(median_rtt):
    assert 40 < median_rtt(family=6) < 80


@pytest.mark.parametrize(
    "distribution",
    [
        pytest.param(name, marks=pytest.mark.netem(delay="20ms", jitter="4ms", distribution=name, **PAIR))
        for name in ("uniform", "normal", "pareto", "paretonormal")
    ],
)
def test_jitter_spreads(measure, distribution):
    rtts = [rtt * 1000 for rtt in measure("rtt", 100)["rtts"]]
    assert statistics.pstdev(rtts) > 0.5
    assert 14 < statistics.median(rtts) < 30


@pytest.mark.netem(delay="20ms", jitter="5ms", delay_correlation="80%", **PAIR)
def test_correlated_jitter(measure):
    rtts = sorted(rtt * 1000 for rtt in measure("rtt", 60)["rtts"])
    assert rtts[0] > 15
    assert rtts[15] < 25, "a busy machine holds packets up, but not three in four"


@pytest.mark.netem(loss="20%", **PAIR)
def test_loss(lost_share):
    assert 0.157 < lost_share(2000) < 0.246


@pytest.mark.netem(loss="20%", loss_correlation="25%", **PAIR)
def test_correlated_loss(lost_share):
    assert 0.02 < lost_share(2000) < 0.4


@pytest.mark.netem(loss_model="gemodel 2% 20%", **PAIR)
def test_bursty_loss(lost_share):
    """Gilbert-Elliott with 9.1 % on average, in bursts of five."""
    assert 0.01 < lost_share(4000) < 0.25


@pytest.mark.netem(duplicate="20%", **PAIR)
def test_duplicates_reach_the_server_twice(measure):
    """Each doubled datagram is echoed twice: the client collects distinct ones, so nothing seems lost."""
    assert measure("loss", 500)["echoed"] == 500


@pytest.mark.netem(corrupt="100%", **PAIR)
def test_corrupt_packets_are_dropped_by_their_checksum(lost_share):
    # netem flips any of the frame's 368 bits. The 48 of the sender's hardware address nobody checks, nor the one that
    # turns the receiver's into a group's: 13.3 %. More than 188 of 1000 pass less than once in a million runs.
    assert lost_share(1000) > 0.81


@pytest.mark.netem(delay="5ms", reorder="25%", gap=5, **PAIR)
def test_reordered_packets_arrive_all(lost_share):
    assert lost_share(1000) == 0


@pytest.mark.netem(rate="1mbit", **PAIR)
def test_rate_serialises_packets(netem_profile, measure):
    netem_profile.assert_rate("1mbit")
    assert measure("rtt", 5)["rtts"]


@pytest.mark.netem(preset="lte", pods="app=client")
def test_a_preset_has_two_sides(median_rtt):
    assert 5 < median_rtt() < 60


@pytest.mark.netem(delay="10ms", limit=1000, seed=7, ecn=True, loss="1%", **PAIR)
def test_limit_seed_and_ecn(measure):
    assert measure("rtt", 10)["rtts"]


@pytest.mark.netem(delay="5ms", **PAIR)
@pytest.mark.netem(delay="25ms", name="second", **PAIR)
def test_stacked_markers_add_up(median_rtt):
    assert 30 < median_rtt() < 60
