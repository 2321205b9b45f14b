"""When a worker that could not keep up makes an impairment something else than was asked."""

from __future__ import annotations

import pytest

from pytest_k8s_netem.agent.dataplane.forwarding import Stage
from pytest_k8s_netem.model.impairment import MILLISECOND, Impairment
from pytest_k8s_netem.model.observed import LATE, StageObserved


@pytest.mark.parametrize(
    ("passed", "lagged", "overloaded"),
    [(0, 0, False), (3, 3, False), (4, 4, True), (300, 3, False), (300, 4, True), (1000, 10, False), (1000, 11, True)],
)
def test_three_late_packets_and_one_in_a_hundred_are_excused(passed, lagged, overloaded):
    seen = StageObserved(passed=passed, lagged=lagged)
    assert (seen.late, seen.overloaded) == (overloaded, overloaded)


@pytest.mark.parametrize("passed", [1, 10**9])
def test_no_packet_that_was_lost_for_want_of_room_is_excused(passed):
    seen = StageObserved(passed=passed, lost=1)
    assert seen.overloaded
    assert not seen.late


def test_what_the_impairment_itself_drops_needs_no_excuse():
    assert not StageObserved(passed=1, dropped=10**6).overloaded


def test_a_packet_is_late_above_the_bound_and_what_is_lost_is_not_dropped():
    assert LATE == 20 * MILLISECOND
    stage = Stage(Impairment(limit=10), seed=1)
    for late in (0, LATE, LATE + 1):
        stage.leaves(late)
    stage.loses(2)
    seen = stage.read()
    assert (seen["lagged"], seen["lost"], seen["dropped"]) == (1, 2, 0)
