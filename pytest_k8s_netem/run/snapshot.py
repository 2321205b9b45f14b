"""What was known at one moment, of a failing test or of all; collected in cluster, shown by report. Times: unix, s."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_k8s_netem.run.events import Event

    Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HeldSeen:
    """What one pod held of a profile, read back at that moment.

    :ivar effect: what it did to the test's packets: ``packets``, ``dropped``, ``delayed`` ...
    :ivar problems: why it was not verified; () = it was. :ivar raw: plan and observation, JSON-simple.
    """

    engine: str
    effect: Mapping[str, float]
    problems: tuple[str, ...]
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProfileSeen:
    """A TrafficProfile at that moment.

    :ivar name: as the user calls it. :ivar object: with its status. :ivar held: by pod (``namespace/name``).
    :ivar gaps: (pod, what happened) where it was lost so far. :ivar notes: what may surprise.
    """

    name: str
    object: Object
    held: Mapping[str, HeldSeen] = field(default_factory=dict)
    gaps: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What is impaired now, of one run or cluster.

    :ivar where: of whom, in words. :ivar problem: why it could not be asked; "" = it could.
    """

    where: str
    profiles: tuple[ProfileSeen, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod at that moment.

    :ivar role: ``impaired``, ``peer`` (it talks to an impaired one through the impairment) or "".
    :ivar logs: the end of what each container has written, by container; its former life's as ``NAME.previous``.
    """

    key: str
    object: Object
    role: str = ""
    logs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a run knew.

    :ivar taken: when. :ivar began: when the test began. :ivar lost: why the cluster was no more; "" = it was there.
    :ivar pods: those that an impairment touches first. :ivar events: Kubernetes' own, oldest first.
    :ivar logs: the end of what the provider's own parts have written, by part.
    :ivar happened: the run's events since the test began. :ivar missing: what could not be had, and why.
    """

    taken: float
    began: float
    lost: str = ""
    profiles: tuple[ProfileSeen, ...] = ()
    pods: tuple[PodSeen, ...] = ()
    events: tuple[Object, ...] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    happened: tuple[Event, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell: nothing had begun, or nothing of it is left."""
        seen = (self.lost, self.profiles, self.pods, self.events, self.happened, self.missing)
        return not any((*seen, *self.logs.values()))
