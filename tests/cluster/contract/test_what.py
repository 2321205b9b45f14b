"""What happens to packets: one way or round trip, presets and what overrides them, the order of several profiles."""

from __future__ import annotations

import json
import select
import time
from typing import Any

import pytest
from lanes import LATE, MS, address, bound, late, took

from pytest_k8s_netem import cli

pytestmark = [pytest.mark.needs("netns"), pytest.mark.usefixtures("by_engine")]

THIN = {"loss": "50%"}
NARROW = {"delay": "2s", "limit": 30, "verify": "read-back"}
"""Of a burst, thinned and then narrowed leaves as many as there is room for; narrowed and then thinned, half of those.

That none of 30 is lost happens once in 10^9 bursts, that fewer than 30 of 200 pass the loss is rarer still.
"""
WHO = {"pods": "app=ann", "to": "app=bob", "unexercised": "ignore"}


def passed(source: Any, target: Any, count: int = 200) -> int:
    """How many of a burst arrive."""
    with bound(target, 4000) as there, bound(source) as here:
        for _ in range(count):
            here.sendto(b"x", (address(target), 4000))
        seen, patience = 0, 20.0
        while select.select([there], [], [], patience)[0]:
            there.recv(16)
            seen, patience = seen + 1, 0.5
        return seen


def spread(source: Any, target: Any, count: int) -> list[float]:
    """ms that each of some datagrams takes, all sent at once."""
    with bound(target, 4000) as there, bound(source) as here:
        starts = []
        for number in range(count):
            starts.append(time.perf_counter())
            here.sendto(bytes([number]), (address(target), 4000))
        there.settimeout(5)
        numbers = (there.recv(16)[0] for _ in range(count))
        return [(time.perf_counter() - starts[number]) * 1000 for number in numbers]


def soonest(source: Any, target: Any) -> float:
    """ms of the fastest of five datagrams: a busy machine makes some late, but not all of them."""
    return min(took(source, target) for _ in range(5))


def test_delay_on_all_pods_counts_both_ways_and_rtt_once(netem, ann, bob):
    quiet = {"inert": "ignore", "unexercised": "ignore"}
    with netem.impair(delay="100ms", **quiet):
        assert took(ann, bob) + took(bob, ann) >= 200
    with netem.impair(rtt="100ms", **quiet) as profile:
        assert 50 <= soonest(ann, bob) < 100
        assert 50 <= soonest(bob, ann) < 100
        profile.assert_rtt(median=("100ms", "199ms"))


@pytest.mark.parametrize(
    "said",
    [
        {"delay": LATE},
        {"delay": LATE, "pods": "app=ann", "to": "app=bob"},
        {"delay": LATE, "pods": "app=ann", "from_": "app=bob"},
        {"rtt": "400ms", "pods": "app=ann"},
    ],
    ids="-".join,
)
def test_packets_are_late_where_explain_says_so(netem, ann, bob, capsys, said):
    assert cli.main(["explain", ", ".join(f"{key}={value!r}" for key, value in said.items()), "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)["round_trips"][0]
    ways = [told[way]["delay_ns"] / 1e6 for way in ("there", "back")]
    assert sum(ways) == told["rtt_ns"]["mean"] / 1e6
    with netem.impair(**said, inert="ignore", unexercised="ignore"):
        assert [late(ann, bob), late(bob, ann)] == [way >= MS for way in ways]


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


@pytest.mark.netem(**THIN, **WHO)
@pytest.mark.netem(**NARROW, **WHO)
def test_the_top_line_comes_first(ann, bob):
    assert passed(ann, bob) == 30


@pytest.mark.netem(**NARROW, **WHO)
@pytest.mark.netem(**THIN, **WHO)
def test_the_other_way_round(ann, bob):
    assert passed(ann, bob) < 30


@pytest.mark.netem(**THIN, **WHO, name="class")
class TestLevels:
    @pytest.mark.netem(**NARROW, **WHO, name="function")
    def test_the_class_comes_before_the_function(self, ann, bob):
        assert passed(ann, bob) == 30

    def test_a_block_comes_behind_every_marker(self, netem, ann, bob):
        with netem.impair(**NARROW, **WHO):
            assert passed(ann, bob) == 30


@pytest.mark.parametrize("first", ["thin", "narrow"])
def test_blocks_come_by_time_of_entry(netem, ann, bob, first):
    outer, inner = (THIN, NARROW) if first == "thin" else (NARROW, THIN)
    with netem.impair(**outer, **WHO), netem.impair(**inner, **WHO):
        seen = passed(ann, bob)
    assert seen == 30 if first == "thin" else seen < 30


def test_jitter_is_the_half_width_of_a_uniform_spread(netem, ann, bob):
    with netem.impair(delay=LATE, jitter="150ms", pods="app=ann", to="app=bob"):
        times = spread(ann, bob, 30)
    assert min(times) >= MS - 150
    assert max(times) - min(times) > 60, "30 draws within a fifth of the spread: less than once in 10^18"


@pytest.mark.parametrize("slow", [{"delay": "60s"}, {"rate": "8bit"}])
def test_what_no_probe_can_wait_for_is_read_back(netem, ann, bob, slow):
    with netem.impair(**slow, pods="app=ann", to="app=bob", inert="ignore") as block:
        assert block.record.proof == {"read-back"}
        assert took(ann, bob, within=0.5) == float("inf")
