"""What an ended impairment says about its test: proven, lost on the way, inert, unexercised."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from pytest_k8s_netem.judge.effect import Outcome, decide
from pytest_k8s_netem.run.events import CAUSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_k8s_netem.cluster.record import Record
    from pytest_k8s_netem.controller.evidence import Gap


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell.

    :ivar level: ``error`` or ``warn``. :ivar kind: ``lost``, ``inert``, ``unexercised``. :ivar text: complete sentence.
    """

    level: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Strictness:
    """How strictly inert and unexercised are taken: ``error``, ``warn`` or ``ignore``."""

    inert: str = "error"
    unexercised: str = "warn"

    def with_(self, said: Mapping[str, str]) -> Strictness:
        """With what a marker says of its own."""
        return replace(self, **{key: said[key] for key in ("inert", "unexercised") if key in said})


def lost(name: str, gaps: Iterable[Gap]) -> list[Finding]:
    """What gaps in the proof say, one by one."""
    return [Finding("error", "lost", f"impairment {name!r} lost {_gap(gap)}") for gap in gaps]


def judge(record: Record, strictness: Strictness) -> list[Finding]:
    """What is to be told of an ended impairment, gravest first."""
    who = f"impairment {record.name!r}"
    found = lost(record.name, record.gaps)
    found += [Finding("error", "lost", f"{who} no longer held: {problem}") for problem in record.problems]
    if not record.pods or record.blind or record.gaps:  # what nobody could count was not nothing
        return found
    outcome = decide(record.effect)
    if outcome is Outcome.INERT and strictness.inert != "ignore":
        found.append(Finding(strictness.inert, "inert", _inert(record)))
    elif outcome is Outcome.UNEXERCISED and strictness.unexercised != "ignore":
        found.append(Finding(strictness.unexercised, "unexercised", _unexercised(record)))
    return found


def _gap(gap: Gap) -> str:
    end = "the end" if gap.end is None else _clock(gap.end)
    return f"from {_clock(gap.start)} to {end} on pod/{gap.pod}: {CAUSES.get(gap.cause, gap.cause)}"


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def _inert(record: Record) -> str:
    pods = ", ".join(sorted(record.pods))
    return (
        f"impairment {record.name!r} ({record.phrase}) met no packet of the test on {pods}: "
        'the network was healthy for this test; check pods=, to=, from_= and ports=, or say inert="warn"'
    )


def _unexercised(record: Record) -> str:
    return (
        f"impairment {record.name!r} ({record.phrase}) met {record.effect.packets} packets, but none was lost, "
        f"delayed or changed; {record.effect.expected_changes:.2g} were to be expected"
    )
