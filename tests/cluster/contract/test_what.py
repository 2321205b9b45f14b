"""What happens to packets: one way or round trip, presets and what overrides them, the order of several profiles."""

from __future__ import annotations

import select
from typing import Any

import pytest
from lanes import LATE, MS, address, bound, late, took

pytestmark = pytest.mark.needs("netns")

DOUBLE = {"duplicate": "100%"}
HALVE = {"loss_model": "every-nth 2"}
"""In a row, doubled and then halved leaves each packet once; halved and then doubled leaves half of them, twice."""


def counted(source: Any, target: Any, count: int = 40) -> dict[int, int]:
    """How often each of ``count`` datagrams arrives."""
    seen: dict[int, int] = {}
    with bound(target, 4000) as there, bound(source) as here:
        for number in range(count):
            here.sendto(bytes([number]), (address(target), 4000))
        while select.select([there], [], [], 1.0)[0]:
            number = there.recv(16)[0]
            seen[number] = seen.get(number, 0) + 1
    return seen


def test_delay_on_all_pods_counts_both_ways_and_rtt_once(netem, ann, bob):
    quiet = {"inert": "ignore", "unexercised": "ignore"}
    with netem.impair(delay="100ms", **quiet):
        assert took(ann, bob) + took(bob, ann) >= 200
    with netem.impair(rtt="100ms", **quiet) as profile:
        assert 50 <= took(ann, bob) < 100
        assert 50 <= took(bob, ann) < 100
        profile.assert_rtt(median=("100ms", "150ms"))


def test_rtt_of_one_pair_leaves_others_alone(netem, ann, bob, cid):
    with netem.impair(rtt="400ms", pods="app=ann", to="app=bob"):
        assert late(ann, bob)
        assert late(bob, ann)
        assert not late(ann, cid)


def test_a_preset_is_seen_from_the_pods_and_fields_override_it(netem, ann, bob):
    """Up is what the pods send: the preset's rates differ by side, and its delay is replaced on both."""
    with netem.impair(preset="lte", delay=LATE, jitter="0ms", loss="0%", pods="app=ann") as profile:
        assert late(ann, bob)
        assert late(bob, ann)
        (observed,) = profile.observed().values()
        held = {name.rpartition("/")[2]: stage.held for name, stage in observed.stages}
        assert {stage.delay for stage in held.values()} == {200_000_000}
        assert sorted(stage.rate.bits for stage in held.values()) == [5_000_000, 15_000_000]


def test_a_preset_without_overrides(netem, ann, bob):
    with netem.impair(preset="geo-satellite", loss="0%", pods="app=ann"):
        assert took(ann, bob) >= 240
        assert took(bob, ann) >= 240


@pytest.mark.netem(**DOUBLE, pods="app=ann", to="app=bob", unexercised="ignore")
@pytest.mark.netem(**HALVE, pods="app=ann", to="app=bob", unexercised="ignore")
def test_the_top_line_comes_first(ann, bob):
    seen = counted(ann, bob)
    assert len(seen) == 40
    assert set(seen.values()) == {1}


@pytest.mark.netem(**HALVE, pods="app=ann", to="app=bob", unexercised="ignore")
@pytest.mark.netem(**DOUBLE, pods="app=ann", to="app=bob", unexercised="ignore")
def test_the_other_way_round(ann, bob):
    seen = counted(ann, bob)
    assert len(seen) == 20
    assert set(seen.values()) == {2}


@pytest.mark.netem(**DOUBLE, pods="app=ann", to="app=bob", name="class", unexercised="ignore")
class TestLevels:
    @pytest.mark.netem(**HALVE, pods="app=ann", to="app=bob", name="function", unexercised="ignore")
    def test_the_class_comes_before_the_function(self, ann, bob):
        assert set(counted(ann, bob).values()) == {1}

    def test_a_block_comes_behind_every_marker(self, netem, ann, bob):
        with netem.impair(**HALVE, pods="app=ann", to="app=bob", unexercised="ignore"):
            assert set(counted(ann, bob).values()) == {1}


@pytest.mark.parametrize("first", ["double", "halve"])
def test_blocks_come_by_time_of_entry(netem, ann, bob, first):
    words = {"double": DOUBLE, "halve": HALVE}
    outer, inner = (words[name] for name in (first, "halve" if first == "double" else "double"))
    who = {"pods": "app=ann", "to": "app=bob", "unexercised": "ignore"}
    with netem.impair(**outer, **who), netem.impair(**inner, **who):
        seen = counted(ann, bob)
    assert set(seen.values()) == ({1} if first == "double" else {2})


def test_jitter_is_the_half_width_of_a_uniform_spread(netem, ann, bob):
    with netem.impair(delay=LATE, jitter="150ms", pods="app=ann", to="app=bob"):
        times = [took(ann, bob) for _ in range(30)]
    assert min(times) >= MS - 150
    assert max(times) - min(times) > 60, "30 draws within a fifth of the spread: less than once in 10^18"
