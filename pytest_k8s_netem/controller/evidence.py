"""What the controller can say for a profile: what each pod holds now, and where it did not hold. Times: unix, s."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pytest_k8s_netem.judge.effect import Effect
from pytest_k8s_netem.run.events import GapClosed, GapOpened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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


class GapBook:
    """The gaps of all profiles, by profile name."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._gaps: dict[str, list[Gap]] = {}
        self._late: dict[str, dict[str, float]] = {}

    def of(self, profile: str) -> tuple[Gap, ...]:
        """A profile's gaps, in order of their beginning."""
        return tuple(sorted(self._gaps.get(profile, ()), key=lambda gap: gap.start))

    def remember(self, profile: str, gaps: tuple[Gap, ...]) -> None:
        """Gaps that an earlier controller saw; they are told already."""
        self._gaps.setdefault(profile, []).extend(gaps)

    def open(self, profile: str, pod: str, cause: str, since: float) -> None:
        """The pod is not impaired since then; one gap a pod and profile is open at a time."""
        gaps = self._gaps.setdefault(profile, [])
        if not any(gap.pod == pod and gap.end is None for gap in gaps):
            gaps.append(Gap(pod, since, None, cause))
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
            self._late.setdefault(profile, {})[pod] = at - since

    def notes(self, profile: str) -> tuple[str, ...]:
        """What is no gap, and yet to be told."""
        late = self._late.get(profile, {})
        return tuple(f"pod/{pod} ran {seconds:.1f} s before it was impaired" for pod, seconds in late.items())

    def forget(self, profile: str) -> None:
        """The profile is gone."""
        self._gaps.pop(profile, None)
        self._late.pop(profile, None)
