"""The queue of the user-space engine's worker against a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.agent.dataplane.waiting import Waiting

STEPS = st.lists(st.one_of(st.integers(0, 30), st.tuples(st.integers(0, 30), st.integers(1, 4))))
"""A due time to push, or (now, most) to take."""


@given(STEPS)
def test_it_gives_what_is_due_in_order_and_equals_as_they_came(steps):
    waiting, model, pushed = Waiting(), [], 0
    for step in steps:
        if isinstance(step, int):
            pushed += 1
            waiting.push(step, pushed)
            model.append((step, pushed))
            model.sort()
            continue
        now, most = step
        due = [entry for entry in model if entry[0] <= now][:most]
        assert [(when, what) for when, _, what in waiting.due(now, most)] == due
        model = [entry for entry in model if entry not in due]
        assert waiting.first() == (model[0][0] if model else None)
        assert waiting.none_before(now) is (not model or now < model[0][0])
        assert sorted(what for _, _, what in waiting) == sorted(what for _, what in model)


@given(STEPS, st.integers(0, 3))
def test_dropping_takes_some_out_and_leaves_the_others_in_order(steps, kind):
    waiting = Waiting()
    pushed = [(step, number) for number, step in enumerate(step for step in steps if isinstance(step, int))]
    for due, number in pushed:
        waiting.push(due, number)
    dropped = waiting.drop(lambda entry: entry[2] % 4 == kind)
    assert sorted(what for _, _, what in dropped) == [number for _, number in pushed if number % 4 == kind]
    left = sorted((due, number) for due, number in pushed if number % 4 != kind)
    assert [(due, what) for due, _, what in waiting.due(30, len(pushed))] == left
