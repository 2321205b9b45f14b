"""The plan's own simulation is verified; with any single thing wrong it is not."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace

import clusters as c
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_k8s_netem.judge import verdict
from pytest_k8s_netem.judge.rounding import ROUNDING, differences
from pytest_k8s_netem.judge.verdict import healed, judge
from pytest_k8s_netem.model.impairment import (
    NONE,
    Bernoulli,
    EveryNth,
    FourState,
    GilbertElliott,
    Impairment,
    Rate,
    Slot,
)
from pytest_k8s_netem.model.observed import CheckObserved, ClassObserved, Observed, StageObserved
from pytest_k8s_netem.model.plan import Plan
from pytest_k8s_netem.model.tables import Table
from pytest_k8s_netem.model.timeline import Segment, Timeline
from pytest_k8s_netem.profile.trafficprofile import Rule, Side, TrafficProfile
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.resolve import resolve


def simulated(plan: Plan) -> Observed:
    """What an agent observes that holds the plan, on a path without any delay or loss of its own."""
    return Observed(
        plan.target,
        plan.digest,
        plan.engine,
        baseline=plan.empty,
        interfaces=tuple(dict.fromkeys(one.interface for one in plan.classes)),
        classes=tuple((one.id, ClassObserved(held=True)) for one in plan.classes),
        stages=tuple((one.id, StageObserved(held=one.timeline.impairments[0])) for one in plan.stages),
        checks=tuple(
            CheckObserved(
                one.id, one.count, one.answers_max, (one.rtt_min,) * one.answers_max, max(one.count, one.met_min)
            )
            for one in plan.checks
            if one.kind != "read-back"
        ),
    )


def verified(plan: Plan, observed: Observed) -> bool:
    return all(verdict.verified for verdict in judge(plan, observed).values())


shares = st.floats(0, 1)
chances = st.builds(Bernoulli, shares, shares)
times = st.integers(0, 10**10)
tables = st.one_of(st.none(), st.just(Table("normal", (-8192, 0, 8192))), st.just(Table("own", (1, 2, 3))))
full_impairments = st.builds(
    Impairment,
    delay=times,
    jitter=times,
    delay_corr=shares,
    table=tables,
    loss=st.one_of(
        chances,
        st.builds(GilbertElliott, shares, shares, shares, shares),
        st.builds(FourState, shares, shares, shares, shares, shares),
        st.builds(EveryNth, st.integers(0, 100)),
    ),
    duplicate=chances,
    corrupt=chances,
    reorder=chances,
    gap=st.integers(0, 5),
    rate=st.builds(Rate, st.integers(0, 10**10), st.integers(-100, 100), st.integers(0, 100), st.integers(-9, 9)),
    slot=st.builds(Slot, times, times, st.integers(0, 9), st.integers(0, 9), times, times, tables),
    limit=st.integers(1, 10**6),
    ecn=st.booleans(),
    ordered=st.booleans(),
)


@given(c.worlds())
@settings(max_examples=150, deadline=None)
def test_a_plans_own_simulation_is_verified(world):
    index = Index(world)
    for key in index.live:
        plan = resolve(key, index).plan
        verdicts = judge(plan, simulated(plan))
        assert set(verdicts) == {stage.profile for stage in plan.stages}
        assert all(verdict.verified and not verdict.problems for verdict in verdicts.values())


PROFILE = TrafficProfile(
    "p",
    pods=c.labelled(app="web"),
    egress=c.side(impairment=Impairment(delay=50_000_000, loss=Bernoulli(0.5))),
    ingress=c.side(),
)
PLAN = resolve("default/web", c.world(c.pod("web", 1, app="web"), c.pod("db", 2, app="db"), profiles=(PROFILE,))).plan
GOOD = simulated(PLAN)


def pairs(kind: str, at: int, **wrong) -> Observed:
    found = list(getattr(GOOD, kind))
    key, value = found[at]
    found[at] = (key, replace(value, **wrong))
    return replace(GOOD, **{kind: tuple(found)})


STAGES, CHECKS, CLASSES = (range(len(part)) for part in (PLAN.stages, PLAN.checks, PLAN.classes))


def without(kind: str, at: int) -> Observed:
    found = getattr(GOOD, kind)
    return replace(GOOD, **{kind: found[:at] + found[at + 1 :]})


def checks(at: int, **wrong) -> Observed:
    found = list(GOOD.checks)
    found[at] = replace(found[at], **wrong)
    return replace(GOOD, checks=tuple(found))


MUTATIONS = {
    "target": replace(GOOD, target="default/other"),
    "digest": replace(GOOD, plan="0" * 16),
    "healed": replace(GOOD, plan="", healed_by="ttl"),
    "engine": replace(GOOD, engine="userspace"),
    "interface": replace(GOOD, interfaces=()),
    "residue": replace(GOOD, residue=("ifb netem1",)),
    **{f"class {n} not held": pairs("classes", n, held=False) for n in CLASSES},
    **{f"class {n} absent": without("classes", n) for n in CLASSES},
    **{f"stage {n} healthy": pairs("stages", n, held=NONE) for n in STAGES},
    **{f"stage {n} lags": pairs("stages", n, passed=1000, lagged=11) for n in STAGES},
    **{f"stage {n} lost a packet": pairs("stages", n, passed=1_000_000, lost=1) for n in STAGES},
    **{f"stage {n} absent": without("stages", n) for n in STAGES},
    **{f"check {n} absent": without("checks", n) for n in CHECKS},
    **{f"check {n} not sent": checks(n, error="no route to host") for n in CHECKS},
    **{f"check {n} too few sent": checks(n, sent=0) for n in CHECKS},
    **{f"check {n} not met": checks(n, met=0) for n in CHECKS},
    **{f"check {n} too fast": checks(n, rtts=(PLAN.checks[n].rtt_min - 1,)) for n in CHECKS},
    **{f"check {n} unanswered": checks(n, answered=0, rtts=()) for n in CHECKS},
    "all answered": checks(0, answered=PLAN.checks[0].count),
}  # fmt: skip


@pytest.mark.parametrize("wrong", MUTATIONS)
def test_with_one_thing_wrong_it_is_not(wrong):
    assert verified(PLAN, GOOD)
    verdict = judge(PLAN, MUTATIONS[wrong])["p"]
    assert not verdict.verified
    assert all(problem.why for problem in verdict.problems)


def leaves(value, path=()):
    for f in fields(value):
        inner = getattr(value, f.name)
        if is_dataclass(inner) and not isinstance(inner, Table):
            yield from leaves(inner, (*path, f.name))
        else:
            yield (*path, f.name), inner


def put(value, path, leaf):
    if len(path) == 1:
        return replace(value, **{path[0]: leaf})
    return replace(value, **{path[0]: put(getattr(value, path[0]), path[1:], leaf)})


def other(name: str, leaf):
    """A value just outside what the table of roundings allows."""
    if name in ROUNDING:
        step = ROUNDING[name] * 2
        return leaf + (int(step) if isinstance(leaf, int) else step * (1 if leaf < 0.5 else -1))
    if isinstance(leaf, bool):
        return not leaf
    if leaf is None or isinstance(leaf, Table):
        return Table("another", (0,))
    return leaf + 1


def of(impairment: Impairment) -> tuple[Plan, Observed]:
    side = Side((Rule(),), Timeline.constant(impairment))
    world = c.world(c.pod("web", 1), profiles=(TrafficProfile("p", pods=c.ALL, egress=side),))
    plan = resolve("default/web", world).plan
    return plan, simulated(plan)


@given(full_impairments, st.data())
@settings(max_examples=300, deadline=None)
def test_each_field_of_an_impairment_is_compared(impairment, data):
    plan, observed = of(impairment)
    assert verified(plan, observed)
    path, leaf = data.draw(st.sampled_from(list(leaves(impairment))))
    wrong = put(impairment, path, other(path[-1], leaf))
    assume({impairment.gap, wrong.gap} != {0, 1})
    assert not verified(plan, replace(observed, stages=(("p/egress", StageObserved(held=wrong)),)))


@given(full_impairments)
def test_a_kernels_roundings_are_no_differences(impairment):
    ticks = replace(impairment, delay=impairment.delay // 64 * 64, jitter=impairment.jitter // 64 * 64)
    loss = impairment.loss
    if isinstance(loss, Bernoulli):
        ticks = replace(ticks, loss=Bernoulli(int(loss.p * (2**32 - 1)) / (2**32 - 1), loss.correlation))
    assert differences(impairment, ticks) == []


def test_reorder_without_a_gap_is_a_gap_of_one():
    asked = Impairment(delay=1000, reorder=Bernoulli(0.25))
    assert differences(asked, replace(asked, gap=1)) == []
    assert differences(asked, replace(asked, gap=2))


def test_a_stage_may_hold_any_impairment_of_its_timeline_and_none_after_its_end():
    slow, slower = Impairment(delay=10_000_000), Impairment(delay=90_000_000)
    timeline = Timeline((Segment(10**9, slow), Segment(10**9, slower)))
    world = c.world(c.pod("web", 1), profiles=(TrafficProfile("p", pods=c.ALL, egress=Side((Rule(),), timeline)),))
    plan = resolve("default/web", world).plan

    def holding(held):
        return replace(simulated(plan), stages=(("p/egress", StageObserved(held=held)),))

    first, second = plan.stages[0].timeline.impairments
    assert verified(plan, holding(first))
    assert verified(plan, holding(second))
    assert verified(plan, holding(NONE))
    assert not verified(plan, holding(replace(first, delay=50_000_000)))


def test_one_profiles_fault_leaves_the_others_verified():
    two = (TrafficProfile("a", pods=c.ALL, egress=c.side()), TrafficProfile("b", pods=c.ALL, ingress=c.side()))
    plan = resolve("default/web", c.world(c.pod("web", 1), profiles=two)).plan
    good = simulated(plan)
    held = tuple((key, StageObserved(held=NONE) if key == "a/egress" else stage) for key, stage in good.stages)
    verdicts = judge(plan, replace(good, stages=held))
    assert (verdicts["a"].verified, verdicts["b"].verified) == (False, True)
    assert verdicts["a"].problems[0].path == "a/egress.delay"


@pytest.mark.parametrize(("verify", "proof"), [("probe", "probe"), ("read-back", "read-back"), ("none", "none")])
def test_the_proof_is_named(verify, proof):
    profile = replace(PROFILE, verify=verify)
    world = c.world(c.pod("web", 1, app="web"), c.pod("db", 2), profiles=(profile,))
    plan = resolve("default/web", world).plan
    assert judge(plan, simulated(plan))["p"].proof == proof
    assert judge(plan, replace(simulated(plan), classes=()))["p"].verified is (verify == "none")


def test_an_empty_plan_has_nothing_to_judge_and_healing_is_judged_by_what_is_left():
    assert judge(Plan("default/web"), Observed("default/web")) == {}
    assert healed(Observed("default/web")) == ()
    assert healed(Observed("default/web", baseline=False))
    assert healed(Observed("default/web", plan="x", baseline=False))
    assert "ifb0" in str(healed(Observed("default/web", baseline=False, residue=("ifb0",)))[0])


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (
            StageObserved(passed=100, lagged=20),
            "p/egress: 20 of 100 packets left the user-space engine more than 20 ms ",
        ),
        (StageObserved(passed=100, lost=1), "p/egress: 1 packet was lost that nobody asked to lose"),
        (StageObserved(passed=100, lost=2), "p/egress: 2 packets were lost that nobody asked to lose"),
    ],
)
def test_what_the_engine_did_not_mean_to_do_is_told_with_what_helps(seen, said):
    (problem,) = verdict._overloaded("p/egress", seen)
    assert str(problem).startswith(said)
    assert "--netem-engine=kernel" in problem.fix
    assert len(str(problem).splitlines()) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("check 0 too few sent", r": the \w+ probe of \S+ sent 0 packets of \d+$"),
        ("check 0 not met", r": 0 packets of the \w+ probe of \S+ went through \S+; at least \d+ were expected; is "),
        (
            "check 0 too fast",
            r": the fastest round trip of the \w+ probe of \S+ took \S+ms; at least \S+ms was expected$",
        ),
        ("check 0 unanswered", r": the \w+ probe of \S+ got 0 answers to \d+ packets; \d+ to \d+ were expected$"),
    ],
)
def test_a_probe_that_saw_something_else_is_told_in_a_sentence(wrong, said):
    assert any(re.search(said, str(problem)) for problem in judge(PLAN, MUTATIONS[wrong])["p"].problems)
