"""What an agent found: read back from the kernel, never remembered."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.impairment import MILLISECOND, NONE, Impairment


@dataclass(frozen=True, slots=True)
class ClassObserved:
    """A class's filters as read back, and what they took since the plan was verified.

    :ivar held: whether every filter of the class is in the kernel with the very program that was compiled.
    :ivar packets: taken since Verified, probes left out. :ivar bytes: likewise.
    """

    held: bool = False
    packets: int = 0
    bytes: int = 0


LATE = 20 * MILLISECOND
"""A packet that leaves a worker later than this after its due time is late.

A few time slices of a scheduler: the programs under test wait as long for a busy processor, and a test that fails by
it fails without any impairment.
"""
LATE_FEW, LATE_SHARE = 3, 0.01
"""Late packets that do not matter: so many, or this share of those that passed, whichever is more.

Their median and the 99th percentile are then still what was asked. Packets that are *lost* for want of room have no
such excuse: nobody asked for a loss, and one of them shows in a test as a timeout.
"""


@dataclass(frozen=True, slots=True)
class StageObserved:
    """A stage as its engine holds it; counters since Verified, probes left out; None = the engine cannot tell.

    :ivar late_p99: ns by which the slowest 1 % left after their due time (user-space engine).
    :ivar dropped: lost because the impairment says so. :ivar lost: lost on the way to a worker, in it or behind it, for
        want of room.
    :ivar lagged: packets that a worker sent more than :data:`LATE` after their due time.
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
    lost: int = 0

    @property
    def late(self) -> bool:
        """More packets left the worker late since Verified than a busy machine excuses."""
        return self.lagged > max(LATE_FEW, self.passed * LATE_SHARE)

    @property
    def overloaded(self) -> bool:
        """The worker could not keep up since Verified: the impairment was not what was asked."""
        return self.late or self.lost > 0


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
