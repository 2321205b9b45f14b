"""Probes: for each stage one packet that must meet it, and what its answer must be on a healthy, right system.

Bounds hold for any moment of the timelines and for an idle path, with a chance of false alarm below 2e-7 a check.
They reckon with both ends, so checks are run when every pod's plan of the same profiles is in force.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from pytest_k8s_netem.model.binomial import at_least, at_most
from pytest_k8s_netem.model.impairment import MILLISECOND
from pytest_k8s_netem.model.match import ICMP, TCP, Match, Packet
from pytest_k8s_netem.model.plan import Check, Class, Direction, Plan, Stage
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.expected import (
    Expected,
    addresses,
    classify,
    main_interface,
    path,
    reply,
    request,
)
from pytest_k8s_netem.resolve.layout import layout
from pytest_k8s_netem.resolve.outcome import Outcome, in_a_row
from pytest_k8s_netem.resolve.remotes import candidates, main_addresses
from pytest_k8s_netem.resolve.select import profiles_by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.resolve.index import Index

ALPHA = 1e-7
"""Chance that a right system answers fewer, and that it answers more, than a check allows."""
PLAIN, LOSSY, MOST = 3, 12, 80
"""Packets sent where none is lost or all are; where some are; at most, to see a share."""
SHARE = 0.2
"""Loss from which a probe looks at the share lost: 73 packets see 20 %, but 14,000 would be needed for 0.1 %."""
ROUNDING = 1e-9
"""What products of shares may lose in double precision."""
INTERVALS = {PLAIN: 10 * MILLISECOND, LOSSY: 4 * MILLISECOND}
INTERVAL = MILLISECOND
GRACE = 200 * MILLISECOND
"""How long a loaded machine may take to answer, beyond the delay that is set."""
SILENCE = 100 * MILLISECOND
"""How long to listen, beyond the delay that is set, where no answer may come."""
LONGEST = 15_000 * MILLISECOND
"""How long an answer may be waited for; beyond, a setup would take longer than anybody waits, and is read back only."""
TIMER = 100_000
"""ns by which a round trip may seem shorter than it was: clocks of engine and prober are not read at one moment."""
SKEW = 500
"""One part in so many: the rates at which those clocks may run (500 ppm is the most that adjtimex(2) slews)."""
TRIED = 3
"""Probes that would do, of which the best is taken."""
DISCARD = 9
"""The port probed where any will do (RFC 863); nobody listens there, so RST answers."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of packet; ``port`` is the remote's, or with ``local_port`` the sender's."""

    protocol: int
    port: int = 0
    local_port: bool = False

    def request(self, family: int, address: int) -> Packet:
        """Such a packet to that address."""
        if self.local_port:
            return request(family, address, self.protocol, DISCARD, self.port)
        return request(family, address, self.protocol, self.port)


@dataclass(frozen=True, slots=True)
class _Option:
    """A probe that would do."""

    check: Check
    foreign: int
    """Stages at the remote's end: the fewer, the less does the proof lean on others."""


def checks(index: Index, pod_key: str) -> tuple[Check, ...]:
    """One check a stage of the pod's plan; none for profiles with ``verify="none"``."""
    plan = layout(index, pod_key).plan
    found = []
    for stage in plan.stages:
        verify = profiles_by_name(index)[stage.profile].verify
        if verify != "none":
            option = _best(index, pod_key, plan, stage) if verify == "probe" else None
            found.append(option.check if option else _read_back(plan, stage))
    return tuple(found)


def _read_back(plan: Plan, stage: Stage) -> Check:
    first = next(one for one in plan.classes if stage.id in one.stages)
    return Check(stage.id, stage.profile, first.id, "read-back")


def _best(index: Index, pod_key: str, plan: Plan, stage: Stage) -> _Option | None:
    best: _Option | None = None
    for option in islice(_options(index, pod_key, plan, stage), TRIED):
        if option.foreign == 0:
            return option
        if best is None or option.foreign < best.foreign:
            best = option
    return best


def _options(index: Index, pod_key: str, plan: Plan, stage: Stage) -> Iterator[_Option]:
    """Probes that meet the stage: each remote, each kind of packet; ICMP before TCP."""
    interface = layout(index, pod_key).interfaces[stage.profile]
    if interface != main_interface(index, pod_key):
        return
    mine = main_addresses(index, pod_key)
    for kind in kinds([one for one in plan.classes if stage.id in one.stages]):
        for remote in candidates(index, stage.profile, stage.direction, pod_key):
            for family, source, address in addresses(mine, remote.addresses):
                out = kind.request(family, address)
                if not (met := met_class(index, pod_key, stage, out)):
                    continue
                seen = path(index, pod_key, remote.pod, source, out)
                if check := _check(stage, met, kind, objects.textual(family, address), seen):
                    yield _Option(check, sum(len(leg.stages) for leg in seen.legs if leg.pod == remote.pod))
                    break


def kinds(classes: list[Class]) -> list[_Kind]:
    """Packets that these classes may take, ICMP first."""
    found = [kind for one in classes for match in one.matches for kind in _kinds_of(match)]
    return sorted(dict.fromkeys(found), key=lambda kind: kind.protocol != ICMP)


def _kinds_of(match: Match) -> Iterator[_Kind]:
    if match.remote_ports is None and match.local_ports is None:
        yield _Kind(ICMP)
    if match.protocols is not None and TCP not in match.protocols:
        return
    if match.remote_ports is not None:
        yield from (_Kind(TCP, first) for first, _ in match.remote_ports.pairs[:2])
    elif match.local_ports is not None:
        yield from (_Kind(TCP, first, True) for first, _ in match.local_ports.pairs[:2])
    else:
        yield _Kind(TCP, DISCARD)


def met_class(index: Index, pod_key: str, stage: Stage, out: Packet) -> Class | None:
    """The class that the probe (or its answer) falls in, if it passes the stage."""
    packet = out if stage.direction is Direction.EGRESS else reply(out)
    found = classify(index, pod_key, stage.direction, packet)
    return found if found and stage.id in found.stages else None


def _check(stage: Stage, met: Class, kind: _Kind, address: str, seen: Expected) -> Check | None:
    """The probe with its bounds; None if nothing would ever come to the stage, or its answer too late."""
    whole = seen.round_trip
    before = in_a_row(leg.outcome for leg in seen.legs[:-1])
    ingress = stage.direction is Direction.INGRESS
    if (ingress and before.loss_high >= 1) or whole.high > LONGEST:
        return None
    count = _count(whole)
    return Check(
        stage.id,
        stage.profile,
        met.id,
        "tcp" if kind.protocol == TCP else "icmp",
        address,
        kind.port,
        kind.local_port,
        count=count,
        interval=INTERVALS.get(count, INTERVAL),
        timeout=(SILENCE if whole.loss_low >= 1 else GRACE) + whole.high,
        rtt_min=max(0, whole.low - TIMER - whole.low // SKEW),
        answers_min=_fewest(whole, count),
        answers_max=_most(whole, count),
        met_min=_fewest(before, count) if ingress else count,
    )


def _shared(whole: Outcome) -> bool:
    """Whether the share lost can be seen by a probe."""
    return whole.independent and whole.copies == 1 and SHARE - ROUNDING <= whole.loss_low < 1


def _count(whole: Outcome) -> int:
    if _shared(whole):
        enough = (number for number in range(LOSSY, MOST) if (1 - whole.loss_low) ** number <= ALPHA)
        return next(enough, MOST)
    return LOSSY if whole.loss_high > 0 and whole.loss_low < 1 else PLAIN


def _fewest(whole: Outcome, count: int) -> int:
    """Answers that come but for a chance of :data:`ALPHA`; one is enough where shares are not looked at."""
    if whole.loss_high >= 1 or (whole.loss_high > 0 and not whole.independent):
        return 0
    passing = 1 - whole.loss_high
    sure = next((k for k in range(count, 0, -1) if at_most(k - 1, count, passing) <= ALPHA), 0)
    return sure if _shared(whole) else min(1, sure)


def _most(whole: Outcome, count: int) -> int:
    if whole.loss_low >= 1:
        return 0
    if not _shared(whole):
        return count * whole.copies
    passing = 1 - whole.loss_low
    return next((k for k in range(count) if at_least(k + 1, count, passing) <= ALPHA), count)
