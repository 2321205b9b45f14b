"""The model's values as JSON, and back: total over any input, unknown fields refused, defaults left out."""

from __future__ import annotations

from pytest_k8s_netem.model import impairment, match, observed, peers, plan, ranges, tables, timeline
from pytest_k8s_netem.model.codec import (
    BOOL,
    INT,
    NUMBER,
    TEXT,
    Codec,
    WireError,
    guarded,
    many,
    optional,
    pair,
    record,
    tagged,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RANGES = Codec(
    lambda value: [list(p) for p in value],
    guarded(lambda data: ranges.Ranges.joined((int(first), int(last)) for first, last in data)),
)
PEERS = Codec(lambda value: value.to_wire(), guarded(peers.PeerSet.from_wire))
TABLE = record(tables.Table, name=TEXT, values=many(INT))
_BERNOULLI = record(impairment.Bernoulli, p=NUMBER, correlation=NUMBER)
_LOSS = tagged(
    {
        impairment.Bernoulli: _BERNOULLI,
        impairment.GilbertElliott: record(
            impairment.GilbertElliott, p=NUMBER, r=NUMBER, bad_loss=NUMBER, good_loss=NUMBER
        ),
        impairment.FourState: record(impairment.FourState, p13=NUMBER, p31=NUMBER, p32=NUMBER, p23=NUMBER, p14=NUMBER),
        impairment.EveryNth: record(impairment.EveryNth, n=INT),
    }
)
IMPAIRMENT = record(
    impairment.Impairment,
    delay=INT,
    jitter=INT,
    delay_corr=NUMBER,
    table=optional(TABLE),
    loss=_LOSS,
    duplicate=_BERNOULLI,
    corrupt=_BERNOULLI,
    reorder=_BERNOULLI,
    gap=INT,
    rate=record(impairment.Rate, bits=INT, packet_overhead=INT, cell_size=INT, cell_overhead=INT),
    slot=record(
        impairment.Slot,
        min_delay=INT,
        max_delay=INT,
        packets=INT,
        bytes=INT,
        delay=INT,
        jitter=INT,
        table=optional(TABLE),
    ),
    limit=INT,
    ecn=BOOL,
    ordered=BOOL,
)
TIMELINE = record(
    timeline.Timeline,
    segments=many(record(timeline.Segment, duration=optional(INT), impairment=IMPAIRMENT)),
    repeat=BOOL,
)
DIRECTION = Codec(lambda value: value.value, guarded(plan.Direction))


def class_codec(known: dict[str, peers.PeerSet]) -> Codec:
    """Classes whose peer sets travel as digests: encoding adds the sets to ``known``, decoding looks them up there."""

    def name(value: peers.PeerSet) -> str:
        known[value.digest] = value
        return value.digest

    def look_up(data: Any, path: str) -> peers.PeerSet:
        if not isinstance(data, str) or data not in known:
            raise WireError(f"{path}: no such peer set: {data!r}")
        return known[data]

    match_codec = record(
        match.Match,
        ether_types=optional(RANGES),
        protocols=optional(RANGES),
        remote=optional(Codec(name, look_up)),
        remote_ports=optional(RANGES),
        local_ports=optional(RANGES),
    )
    return record(
        plan.Class, id=TEXT, interface=TEXT, direction=DIRECTION, matches=many(match_codec), stages=many(TEXT)
    )


STAGE = record(plan.Stage, id=TEXT, profile=TEXT, direction=DIRECTION, timeline=TIMELINE, seed=optional(INT))
CHECK = record(
    plan.Check,
    id=TEXT,
    profile=TEXT,
    class_id=TEXT,
    kind=TEXT,
    address=TEXT,
    port=INT,
    local_port=BOOL,
    size=INT,
    count=INT,
    interval=INT,
    timeout=INT,
    rtt_min=INT,
    answers_min=INT,
    answers_max=INT,
    met_min=INT,
)


def plan_codec(known: dict[str, peers.PeerSet]) -> Codec:
    """Plans, with peer sets as in :func:`class_codec`."""
    return record(
        plan.Plan,
        target=TEXT,
        engine=TEXT,
        classes=many(class_codec(known)),
        stages=many(STAGE),
        checks=many(CHECK),
        carrier=many(TEXT),
        ttl=optional(NUMBER),
        durations=many(pair(TEXT, NUMBER)),
    )


CHECK_OBSERVED = record(observed.CheckObserved, id=TEXT, sent=INT, answered=INT, rtts=many(INT), met=INT, error=TEXT)
OBSERVED = record(
    observed.Observed,
    target=TEXT,
    plan=TEXT,
    engine=TEXT,
    baseline=BOOL,
    interfaces=many(TEXT),
    classes=many(pair(TEXT, record(observed.ClassObserved, held=BOOL, packets=INT, bytes=INT))),
    stages=many(
        pair(
            TEXT,
            record(
                observed.StageObserved,
                held=IMPAIRMENT,
                passed=INT,
                dropped=INT,
                delayed=optional(INT),
                duplicated=optional(INT),
                corrupted=optional(INT),
                reordered=optional(INT),
                backlog=INT,
                late_p99=optional(INT),
                lagged=INT,
                lost=INT,
            ),
        )
    ),
    checks=many(CHECK_OBSERVED),
    foreign=many(TEXT),
    healed_by=TEXT,
    residue=many(TEXT),
)
