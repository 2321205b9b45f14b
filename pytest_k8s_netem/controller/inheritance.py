"""What a controller finds of the one before it: the part of a profile's status that only its writer reads again.

Agents keep their plans while controllers change; this keeps what the controller alone knew: what was in force, since
when, which pods were chosen, which gaps there were.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pytest_k8s_netem.controller.evidence import Gap, condensed
from pytest_k8s_netem.controller.moments import microtime, unix
from pytest_k8s_netem.profile.native import render_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile

ENDED = "Ended"
"""Reason of Applied=False: the profile's duration is over."""
MOST_GAPS = 20
"""Gaps that a status lists: of more the oldest are merged; of those that are not over a later controller finds all."""
MOST_CHOSEN = 5000
"""Entries of pods chosen once that a status keeps; of more a later controller chooses anew, by the same seed."""
LONGEST_SPEC = 200_000
"""Characters of a spec that a status keeps a second time: an object of Kubernetes has 1.5 MB."""


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a profile's status says of its past.

    :ivar generation: the one that was in force; 0 = none was. :ivar ended: the one whose duration is over; 0 = none.
    :ivar started: unix time of its first time in force.
    :ivar chosen: see World.chosen; None = it does not say. :ivar gaps: those that were seen.
    :ivar spec: what was in force, whatever the object has been edited to since; None = it does not say.
    """

    generation: int = 0
    ended: int = 0
    started: float | None = None
    chosen: frozenset[str] | None = None
    gaps: tuple[Gap, ...] = ()
    spec: Object | None = None


NOTHING = Inheritance()


def written(
    started: float | None, chosen: Collection[str] | None, gaps: Iterable[Gap], good: TrafficProfile | None = None
) -> Object:
    """The fields of a status that :func:`read` reads.

    What is in force is one text, for a merge patch would mix the fields of two.
    """
    found: Object = {} if started is None else {"startedAt": microtime(started)}
    if good is not None and len(text := json.dumps(render_profile(good)["spec"])) <= LONGEST_SPEC:
        found["inForce"] = text
    if chosen is not None and len(chosen) <= MOST_CHOSEN:
        found["chosen"] = sorted(chosen)
    kept = list(gaps)
    if len(kept) > MOST_GAPS:
        kept = sorted(condensed(kept, MOST_GAPS), key=lambda gap: gap.end is None)[:MOST_GAPS]
    if kept:
        found["gaps"] = [_gap(gap) for gap in kept]
    return found


def read(obj: Object) -> Inheritance:
    """What the object's status tells; nothing of it is believed that has not the form it is written in."""
    status = obj.get("status")
    if not isinstance(status, dict) or not isinstance(status.get("conditions"), list):
        return NOTHING
    applied = [one for one in status["conditions"] if isinstance(one, dict) and one.get("type") == "Applied"]
    in_force = next((one for one in applied if one.get("status") == "True"), {})
    over = next((one for one in applied if one.get("reason") == ENDED), {})
    chosen = status.get("chosen")
    gaps = status.get("gaps")
    return Inheritance(
        _number(in_force.get("observedGeneration")),
        _number(over.get("observedGeneration")),
        unix(status.get("startedAt")),
        frozenset(map(str, chosen)) if isinstance(chosen, list) else None,
        tuple(gap for part in gaps if (gap := _read_gap(part))) if isinstance(gaps, list) else (),
        _spec(status.get("inForce")),
    )


def _gap(gap: Gap) -> Object:
    ended = {"end": microtime(gap.end)} if gap.end is not None else {}
    return {"pod": gap.pod, "start": microtime(gap.start), **ended, "cause": gap.cause[:256]}


def _read_gap(said: Any) -> Gap | None:
    if not isinstance(said, dict) or (start := unix(said.get("start"))) is None:
        return None
    return Gap(str(said.get("pod", "")), start, unix(said.get("end")), str(said.get("cause", "")))


def _spec(said: object) -> Object | None:
    try:
        found = json.loads(said) if isinstance(said, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(said: object) -> int:
    return said if type(said) is int else 0
