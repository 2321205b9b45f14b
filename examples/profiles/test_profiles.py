"""TrafficProfiles from files: ours, and k8s-netem's own as they are."""

from __future__ import annotations

import pytest


@pytest.mark.netem(profile="wan.yaml", unexercised="ignore")
def test_our_words(median_rtt):
    assert 25 < median_rtt() < 40


@pytest.mark.netem(profile="upstream.yaml")
def test_objects_of_k8s_netem(median_rtt):
    assert 20 < median_rtt() < 35


@pytest.mark.netem(profile="flexe.yaml")
def test_segments_in_time(measure):
    """Two seconds of round trips see both segments, more than once."""
    rtts = [rtt * 1000 for rtt in measure("rtt", 60)["rtts"]]
    assert min(rtts) < 25
    assert max(rtts) > 55


@pytest.mark.parametrize("netem_spec", ["wan.yaml"], indirect=True)
def test_a_path_as_spec(netem_spec, netem_profile, median_rtt):
    assert median_rtt(10) > 25
    assert netem_profile.object["spec"]["impairment"]["delay"] == "30ms"
