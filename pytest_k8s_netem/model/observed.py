"""What an agent found: read back from the kernel, never remembered."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.impairment import NONE, Impairment


@dataclass(frozen=True, slots=True)
class ClassObserved:
    """A class's filters as read back, and what they took since the plan was verified.

    :ivar held: whether every filter of the class is in the kernel with the very program that was compiled.
    :ivar packets: taken since Verified, probes left out. :ivar bytes: likewise.
    """

    held: bool = False
    packets: int = 0
    bytes: int = 0


LATE_FEW, LATE_SHARE = 3, 0.01
"""Packets, and share of the packets, that may leave a worker late before its impairment is no longer what was asked."""


@dataclass(frozen=True, slots=True)
class StageObserved:
    """A stage as its engine holds it; counters since Verified, probes left out; None = the engine cannot tell.

    :ivar late_p99: ns by which the slowest 1 % left after their due time (user-space engine).
    :ivar lagged: packets that a worker sent later than its bound, or had no room for.
    """

    held: Impairment = NONE
    passed: int = 0
    dropped: int = 0
    delayed: int | None = None
    duplicated: int | None = None
    corrupted: int | None = None
    reordered: int | None = None
    backlog: int = 0
    late_p99: int | None = None
    lagged: int = 0

    @property
    def overloaded(self) -> bool:
        """The worker could not keep up since Verified; a packet in a hundred may be late on a machine that is busy."""
        return self.lagged > max(LATE_FEW, self.passed * LATE_SHARE)


@dataclass(frozen=True, slots=True)
class CheckObserved:
    """What a probe saw; RTTs in ns in order of arrival.

    :ivar met: packets that the class's counter took while probing. :ivar error: why it could not be sent, or "".
    """

    id: str
    sent: int = 0
    answered: int = 0
    rtts: tuple[int, ...] = ()
    met: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """One target, read back.

    :ivar plan: digest of the plan in force; "" = none.
    :ivar baseline: nothing of ours is there but one clsact an interface.
    :ivar interfaces: those the plan touches that exist and are up. :ivar checks: of the last probe.
    :ivar foreign: qdiscs and filters of other people that were seen and left alone.
    :ivar healed_by: why the last plan ended: ``request``, ``ttl``, ``duration``, ``session``, ``worker``; "" = not.
    :ivar residue: what a heal could not remove.
    """

    target: str
    plan: str = ""
    engine: str = ""
    baseline: bool = True
    interfaces: tuple[str, ...] = ()
    classes: tuple[tuple[str, ClassObserved], ...] = ()
    stages: tuple[tuple[str, StageObserved], ...] = ()
    checks: tuple[CheckObserved, ...] = ()
    foreign: tuple[str, ...] = ()
    healed_by: str = ""
    residue: tuple[str, ...] = ()
