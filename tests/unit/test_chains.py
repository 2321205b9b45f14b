"""Chains of stages as a forest, and what of it netem cannot hold."""

from __future__ import annotations

import pytest

from pytest_k8s_netem.agent.dataplane.chains import MAX_BRANCHES, check, forest
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.impairment import Bernoulli, Impairment, Rate, Slot
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.plan import Class, Direction, Stage
from pytest_k8s_netem.model.timeline import Segment, Timeline

PLAIN, SLOW = Impairment(delay=5, limit=9), Impairment(rate=Rate(8000), limit=9)


def classes(*chains: str) -> list[Class]:
    """One class a chain; each letter is a stage."""
    return [Class(str(at), "eth0", Direction.EGRESS, (Match(),), tuple(chain)) for at, chain in enumerate(chains)]


def stages(**impairments: Impairment) -> dict[str, Stage]:
    return {
        name: Stage(name, f"profile-{name}", Direction.EGRESS, Timeline.constant(impairment))
        for name, impairment in impairments.items()
    }


def refusal(listed: list[Class], known: dict[str, Stage]) -> str:
    with pytest.raises(ImpairmentError) as caught:
        check(forest(listed), known)
    return str(caught.value)


def test_what_begins_alike_is_shared() -> None:
    roots = forest(classes("abc", "ab", "", "ad", "b"))
    assert list(roots) == ["a", "b"]
    assert [(node.stage, node.depth, node.ends, len(node.classes)) for node in roots["a"].walk()] == [
        ("a", 0, False, 3),
        ("b", 1, True, 2),
        ("c", 2, True, 1),
        ("d", 1, True, 1),
    ]
    assert roots["b"].ends


def test_a_stateless_stage_may_stand_twice() -> None:
    check(forest(classes("ab", "b")), stages(a=SLOW, b=PLAIN))
    message = refusal(classes("ab", "b"), stages(a=PLAIN, b=SLOW))
    assert "profile-b" in message
    assert "profile-a" in message


def test_a_queue_may_be_passed_by_many_classes() -> None:
    check(forest(classes("ab", "ab", "a", "ac")), stages(a=SLOW, b=SLOW, c=SLOW))


def test_only_the_first_may_duplicate() -> None:
    double = Impairment(duplicate=Bernoulli(0.1), limit=9)
    check(forest(classes("ab")), stages(a=double, b=PLAIN))
    assert "profile-b.duplicate" in refusal(classes("ab"), stages(a=PLAIN, b=double))


def test_too_many_branches() -> None:
    names = "bcdefghijklmnopqrs"[: MAX_BRANCHES + 1]
    known = stages(a=PLAIN, **dict.fromkeys(names, PLAIN))
    check(forest(classes(*(f"a{name}" for name in names[1:]))), known)
    assert "profile-a" in refusal(classes(*(f"a{name}" for name in names)), known)


def test_slots_of_two_kinds_in_one_timeline() -> None:
    bounds, drawn = Impairment(slot=Slot(5, 6), limit=9), Impairment(slot=Slot(delay=5, jitter=1), limit=9)
    timeline = Timeline((Segment(5, drawn), Segment(None, bounds)))
    known = {"a": Stage("a", "profile-a", Direction.EGRESS, timeline)}
    assert "profile-a.slot" in refusal(classes("a"), known)


def test_all_reasons_are_told_at_once() -> None:
    message = refusal(classes("a", "b"), stages(a=Impairment(jitter=2**31), b=Impairment(jitter=1, ordered=True)))
    assert "profile-a.jitter" in message
    assert "profile-b.ordered" in message
