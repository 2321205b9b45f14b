"""What the controller can say for a profile: what each pod holds now, and where it did not hold. Times: unix, s."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pytest_k8s_netem.judge.effect import Effect
from pytest_k8s_netem.run.events import CAUSES, GapClosed, GapOpened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_k8s_netem.judge.verdict import Verdict
    from pytest_k8s_netem.model.observed import Observed
    from pytest_k8s_netem.model.plan import Plan
    from pytest_k8s_netem.run.events import Event

LATE = 1.0
"""Seconds that a pod which joins later may run unimpaired before that is a gap."""
LATE_BROUGHT = 5.0
"""The same where an agent is first to be brought to it: an ephemeral container, a helper of an attached one."""
TOLD = 0.05
"""Seconds from which it is told, if it is no gap."""
MOST_GAPS = 1000
"""Gaps that are kept apart for one profile; of more the oldest are merged."""
MOST_LATE = 100
"""Pods of one profile that came late, if that was no gap, which are kept by name."""
SEVERAL = "more than once in this time"
ELSEWHERE = ", on other pods too"


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a pod was not impaired although the profile said so; ``end`` None = it is not yet over."""

    pod: str
    start: float
    end: float | None
    cause: str


@dataclass(frozen=True, slots=True)
class PodEvidence:
    """One pod under a profile.

    :ivar observed: read back just now. :ivar verdicts: by profile, for all profiles of the pod's plan.
    :ivar earlier: what the profile did under plans that this one replaced, since its own last change.
    """

    plan: Plan
    observed: Observed
    verdicts: dict[str, Verdict]
    earlier: Effect = Effect()


@dataclass(frozen=True, slots=True)
class Ended:
    """A pod that held a profile and does so no more: the pod has ended, or the profile's duration there.

    :ivar effect: what the profile did there, since its own last change. :ivar known: whether that is all.
    """

    pod: str
    effect: Effect = Effect()
    known: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one profile.

    :ivar pods: those that hold it now. :ivar ended: those that did, since its own last change.
    :ivar gaps: since it was applied first. :ivar spared: what it leaves alone.
    :ivar excluded: by pod, why the profile cannot touch it. :ivar notes: what may surprise.
    :ivar partial: a controller that took over has not seen all of it: what was counted by plans of before is not here.
    """

    pods: dict[str, PodEvidence] = field(default_factory=dict)
    ended: tuple[Ended, ...] = ()
    gaps: tuple[Gap, ...] = ()
    spared: tuple[str, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    partial: bool = False


def condensed(gaps: Iterable[Gap], most: int) -> list[Gap]:
    """The gaps by their beginning; of more than ``most`` the oldest that are over are merged, so that none is lost.

    Those of one pod first. A merged one lasts from the first beginning to the last end. There are more than ``most`` if
    so many are not over.
    """
    found = sorted(gaps, key=lambda gap: gap.start)
    found = _folded(found, len(found) - most, lambda gap: gap.pod)
    return _folded(found, len(found) - most, lambda _: "")


def _folded(gaps: Sequence[Gap], excess: int, like: Callable[[Gap], str]) -> list[Gap]:
    """Merge the oldest that are alike, until there are ``excess`` less."""
    places: dict[str, int] = {}
    kept: list[Gap] = []
    for gap in gaps:
        place = places.get(like(gap)) if excess > 0 and gap.end is not None else None
        if place is not None:
            kept[place] = _merged(kept[place], gap)
            excess -= 1
            continue
        if gap.end is not None:
            places[like(gap)] = len(kept)
        kept.append(gap)
    return kept


def _merged(one: Gap, other: Gap) -> Gap:
    elsewhere = one.pod != other.pod or any(gap.cause.startswith(SEVERAL + ELSEWHERE) for gap in (one, other))
    last = CAUSES.get(other.cause, other.cause)
    if last.startswith(SEVERAL):
        last = last.partition("; at last: ")[2]
    cause = f"{SEVERAL}{ELSEWHERE if elsewhere else ''}; at last: {last}"
    return Gap(one.pod, one.start, max(one.end or one.start, other.end or other.start), cause)


@dataclass(slots=True)
class _Late:
    """Pods of one profile that came late, if that was no gap: the latest by name, of the others number and longest."""

    pods: dict[str, float] = field(default_factory=dict)
    others: int = 0
    longest: float = 0.0

    def add(self, pod: str, seconds: float) -> None:
        self.pods.pop(pod, None)
        self.pods[pod] = seconds
        if len(self.pods) > MOST_LATE:
            self.others += 1
            self.longest = max(self.longest, self.pods.pop(next(iter(self.pods))))

    def notes(self) -> tuple[str, ...]:
        notes = [f"pod/{pod} ran {seconds:.1f} s before it was impaired" for pod, seconds in self.pods.items()]
        more = f"{self.others} pods more ran up to {self.longest:.1f} s before they were impaired"
        return (*notes, more) if self.others else tuple(notes)


class GapBook:
    """The gaps of all profiles, by profile name; a profile may live for weeks, so what is kept of each is bounded."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._gaps: dict[str, list[Gap]] = {}
        self._late: dict[str, _Late] = {}

    def of(self, profile: str) -> tuple[Gap, ...]:
        """A profile's gaps, in order of their beginning."""
        return tuple(sorted(self._gaps.get(profile, ()), key=lambda gap: gap.start))

    def remember(self, profile: str, gaps: tuple[Gap, ...]) -> None:
        """Gaps that an earlier controller saw; they are told already."""
        self._gaps[profile] = condensed([*self._gaps.get(profile, ()), *gaps], MOST_GAPS)

    def open(self, profile: str, pod: str, cause: str, since: float) -> None:
        """The pod is not impaired since then; one gap a pod and profile is open at a time."""
        gaps = self._gaps.get(profile, [])
        if not any(gap.pod == pod and gap.end is None for gap in gaps):
            self._gaps[profile] = condensed([*gaps, Gap(pod, since, None, cause)], MOST_GAPS)
            self._emit(GapOpened(pod, profile, cause, at=since))

    def close(self, profile: str, pod: str, at: float) -> None:
        """The pod is impaired again, or it ended."""
        gaps = self._gaps.get(profile, [])
        for number, gap in enumerate(gaps):
            if gap.pod == pod and gap.end is None:
                gaps[number] = replace(gap, end=at)
                self._emit(GapClosed(pod, profile, gap.cause, at - gap.start, at=at))

    def late(self, profile: str, pod: str, since: float, at: float, *, allowed: float = LATE) -> None:
        """A pod that joined later ran unimpaired from ``since`` to ``at``; at most ``allowed`` seconds are no gap."""
        if at - since > allowed:
            self.open(profile, pod, "it ran before it was impaired", since)
            self.close(profile, pod, at)
        elif at - since > TOLD:
            self._late.setdefault(profile, _Late()).add(pod, at - since)

    def notes(self, profile: str) -> tuple[str, ...]:
        """What is no gap, and yet to be told."""
        return self._late[profile].notes() if profile in self._late else ()

    def forget(self, profile: str) -> None:
        """The profile is gone."""
        self._gaps.pop(profile, None)
        self._late.pop(profile, None)
