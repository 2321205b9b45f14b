"""What one target's kernel shall hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import Enum

from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.timeline import Timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CLASSES = 64
"""Most classes a direction of an interface; beyond: Accepted=False, reason TooManyOverlaps."""


class Direction(str, Enum):
    """As seen from the target: what it sends, what it receives."""

    EGRESS = "egress"
    INGRESS = "ingress"


@dataclass(frozen=True, slots=True)
class Stage:
    """One queue, one rate, one random state: what one profile does in one direction.

    :ivar id: unique in the plan, stable while the profile lives. :ivar profile: name of the TrafficProfile.
    :ivar seed: of the random state; None = the agent draws one.
    """

    id: str
    profile: str
    direction: Direction
    timeline: Timeline
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Class:
    """A set of packets on one interface and direction, and the stages it passes in order; no stages = spared.

    :ivar matches: the set is their union. Classes of a plan are ordered, the first that takes a packet has it.
    """

    id: str
    interface: str
    direction: Direction
    matches: tuple[Match, ...]
    stages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One probe: which packet, how many, and what the answer must be.

    :ivar profile: whose effect it proves. :ivar class_id: the class whose counter must see the probe's packets.
    :ivar kind: ``icmp`` (echo), ``tcp`` (a bare ACK, answered by RST) or ``read-back`` (no packet fits; nothing sent).
    :ivar address: textual IP of the remote. :ivar port: of ``tcp``; with ``local_port`` it is the sender's.
    :ivar size: payload bytes of each packet. :ivar count: packets sent.
    :ivar interval: ns between them; 0 = all at once, and round trips count from the first. :ivar timeout: ns to wait
        for the last answer.
    :ivar rtt_min: ns; no answer may come sooner.
    :ivar answers_min: fewest answers. :ivar answers_max: most answers.
    :ivar met_min: fewest packets that must have gone through the class.
    """

    id: str
    profile: str
    class_id: str
    kind: str
    address: str = ""
    port: int = 0
    local_port: bool = False
    size: int = 16
    count: int = 0
    interval: int = 0
    timeout: int = 0
    rtt_min: int = 0
    answers_min: int = 0
    answers_max: int = 0
    met_min: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one target's kernel shall hold; empty = nothing (healed).

    :ivar target: ``namespace/pod`` (a wire: its node and link). :ivar engine: ``kernel`` or ``userspace``.
    :ivar carrier: interfaces whose carrier is to be down (topologies).
    :ivar ttl: seconds it may live without a renewal; None = until the session ends. Not part of the digest.
    :ivar durations: per profile, seconds after which it ends by itself. Not part of the digest.
    """

    target: str
    engine: str = "kernel"
    classes: tuple[Class, ...] = ()
    stages: tuple[Stage, ...] = ()
    checks: tuple[Check, ...] = ()
    carrier: tuple[str, ...] = ()
    ttl: float | None = None
    durations: tuple[tuple[str, float], ...] = ()
    _digest: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Sixteen hex digits over everything that a kernel can hold."""
        if not self._digest:
            from pytest_k8s_netem.model.wire import plan_codec  # wire imports this module

            text = json.dumps(plan_codec({}).encode(replace(self, ttl=None, durations=(), _digest=[])), sort_keys=True)
            self._digest.append(hashlib.sha256(text.encode()).hexdigest()[:16])
        return self._digest[0]

    @property
    def empty(self) -> bool:
        """Whether it asks for nothing."""
        return not self.classes and not self.carrier

    @property
    def profiles(self) -> frozenset[str]:
        """Those that have a stage in it."""
        return frozenset(stage.profile for stage in self.stages)

    def stage(self, stage_id: str) -> Stage:
        """The stage of that id.

        :raises KeyError: if the plan has none.
        """
        for stage in self.stages:
            if stage.id == stage_id:
                return stage
        raise KeyError(stage_id)

    def sides(self) -> Iterator[tuple[str, Direction, tuple[Class, ...]]]:
        """(interface, direction, its classes in order) for each side that has any."""
        keys = dict.fromkeys((c.interface, c.direction) for c in self.classes)
        for interface, direction in keys:
            yield (
                interface,
                direction,
                tuple(c for c in self.classes if (c.interface, c.direction) == (interface, direction)),
            )
