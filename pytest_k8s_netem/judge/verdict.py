"""Whether what was read back, and what the probes saw, is the plan: profile by profile."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from pytest_k8s_netem.judge.rounding import differences
from pytest_k8s_netem.model.impairment import MILLISECOND
from pytest_k8s_netem.model.observed import LATE, LATE_FEW, LATE_SHARE, ClassObserved, StageObserved
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.model.observed import CheckObserved, Observed
    from pytest_k8s_netem.model.plan import Check, Plan, Stage

PROBE, READ_BACK, NONE = "probe", "read-back", "none"
RELIEF = (
    "run fewer tests beside each other, send less, or use the kernel engine (--netem-engine=kernel, and --netem-guest "
    "where the machine's own kernel has no netem)"
)
REAPPLY = "the agent is told the plan again; if it stays so, see the agent's log"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said of one profile on one target.

    :ivar proof: ``probe`` (a packet showed it), ``read-back`` (the kernel's state alone) or ``none`` (not looked at).
    :ivar problems: why it is not verified.
    """

    verified: bool
    proof: str
    problems: tuple[Problem, ...] = ()


def judge(plan: Plan, observed: Observed) -> dict[str, Verdict]:
    """A verdict for each profile of the plan; {} for an empty plan."""
    whole = tuple(_whole(plan, observed))
    profiles = dict.fromkeys(stage.profile for stage in plan.stages)
    return {profile: _verdict(plan, observed, profile, whole) for profile in profiles}


def healed(observed: Observed) -> tuple[Problem, ...]:
    """What speaks against the target being as it was before; () = healed."""
    left = [Problem(observed.target, text, "could not be removed", "run netem sweep") for text in observed.residue]
    if observed.plan:
        left.append(Problem(observed.target, observed.plan, "the plan is still in force"))
    if not observed.baseline and not left:
        left.append(Problem(observed.target, "", "something of ours is still there", "run netem sweep"))
    return tuple(left)


def _verdict(plan: Plan, observed: Observed, profile: str, whole: tuple[Problem, ...]) -> Verdict:
    proof = _proof(plan, profile)
    if proof == NONE:
        return Verdict(not whole, proof, whole)
    problems = (
        *whole,
        *_classes(plan, observed, profile),
        *_stages(plan, observed, profile),
        *_checks(plan, observed, profile),
    )
    return Verdict(not problems, proof, tuple(dict.fromkeys(problems)))


def _proof(plan: Plan, profile: str) -> str:
    kinds = {check.kind for check in plan.checks if check.profile == profile}
    if kinds - {READ_BACK}:
        return PROBE
    return READ_BACK if kinds else NONE


def _whole(plan: Plan, observed: Observed) -> Iterator[Problem]:
    """What concerns every profile: which plan, which engine, which target."""
    if observed.target != plan.target:
        yield Problem("target", observed.target, f"this is not {plan.target}")
    if observed.plan != plan.digest:
        state = f"healed by {observed.healed_by}" if observed.healed_by else "another plan is in force"
        yield Problem(plan.target, observed.plan, f"{state}, not {plan.digest}", REAPPLY)
    if observed.engine != plan.engine:
        yield Problem("engine", observed.engine, f"the plan asks for {plan.engine}", REAPPLY)
    if observed.residue:
        yield Problem(plan.target, ", ".join(observed.residue), "left by an earlier plan", "run netem sweep")
    for interface in dict.fromkeys(one.interface for one in plan.classes):
        if interface not in observed.interfaces:
            yield Problem("interface", interface, "is gone or down")


def _classes(plan: Plan, observed: Observed, profile: str) -> Iterator[Problem]:
    """Spared classes count for every profile: without their filters a profile would take too much."""
    found = dict(observed.classes)
    mine = {stage.id for stage in plan.stages if stage.profile == profile}
    for one in plan.classes:
        if (mine & {*one.stages} or not one.stages) and not found.get(one.id, ClassObserved()).held:
            yield Problem(one.id, "", "its filters are not in the kernel as they were compiled", REAPPLY)


def _stages(plan: Plan, observed: Observed, profile: str) -> Iterator[Problem]:
    found = dict(observed.stages)
    for stage in plan.stages:
        if stage.profile != profile:
            continue
        if stage.id not in found:
            yield Problem(stage.id, "", "is not in the kernel", REAPPLY)
            continue
        yield from _held(stage, found[stage.id])
        yield from _overloaded(stage.id, found[stage.id])


def _held(stage: Stage, found: StageObserved) -> Iterator[Problem]:
    """The stage holds one of its timeline's impairments, or none after the end of a timeline that ends."""
    timeline = stage.timeline
    ends = not timeline.repeat and all(segment.duration is not None for segment in timeline.segments)
    if ends and found.held.identity:
        return
    nearest = min((differences(one, found.held) for one in timeline.impairments), key=len)
    for field, planned, held in nearest:
        yield Problem(f"{stage.id}.{field}", _brief(held), f"the plan asks for {_brief(planned)}", REAPPLY)


def _overloaded(stage_id: str, found: StageObserved) -> Iterator[Problem]:
    """Packets that met something else than was asked, because a worker could not keep up."""
    if found.lost:
        lost = f"{found.lost} packet was" if found.lost == 1 else f"{found.lost} packets were"
        why = f"{lost} lost that nobody asked to lose: the user-space engine had no room for what came"
        yield Problem(stage_id, "", why, RELIEF)
    if found.late:
        excused = f"{LATE_FEW}, or {LATE_SHARE:.0%}, are excused"
        why = (
            f"{found.lagged} of {found.passed} packets left the user-space engine more than {LATE // MILLISECOND} ms "
            f"after they were due ({excused}): it had to wait for a processor"
        )
        yield Problem(stage_id, "", why, RELIEF)


def _brief(value: object) -> str:
    name = getattr(value, "name", None)
    return f"the table {name}" if isinstance(name, str) else str(value)


def _checks(plan: Plan, observed: Observed, profile: str) -> Iterator[Problem]:
    found = {seen.id: seen for seen in observed.checks}
    for check in sorted(plan.checks, key=attrgetter("id")):
        if check.profile != profile or check.kind == READ_BACK:
            continue
        seen = found.get(check.id)
        if seen is None:
            yield Problem(check.id, "", "not probed yet")
        elif seen.error:
            yield Problem(check.id, check.address, f"the probe could not be sent: {seen.error}")
        else:
            yield from _seen(check, seen)


def _seen(check: Check, seen: CheckObserved) -> Iterator[Problem]:
    """One probe against its bounds."""
    probe = f"the {check.kind} probe of {check.address}"
    if seen.sent < check.count:
        yield Problem(check.id, "", f"{probe} sent {seen.sent} packets of {check.count}")
    if seen.met < check.met_min:
        why = f"{seen.met} packets of {probe} went through {check.class_id}; at least {check.met_min} were expected"
        yield Problem(check.id, "", why, "is the path another than the plan's interface?")
    if not check.answers_min <= seen.answered <= check.answers_max:
        low, high = check.answers_min, check.answers_max
        expected = f"{low}" if low == high else f"{low} to {high}"
        why = f"{probe} got {seen.answered} answers to {check.count} packets; {expected} were expected"
        yield Problem(check.id, "", why)
    if seen.rtts and (fastest := min(seen.rtts)) < check.rtt_min:
        why = f"the fastest round trip of {probe} took {_ms(fastest)}; at least {_ms(check.rtt_min)} was expected"
        yield Problem(check.id, "", why)


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.3f}ms"
