"""The model's values as JSON, and back: total over any input, unknown fields refused, defaults left out."""

from __future__ import annotations

import dataclasses

from pytest_k8s_netem.model import capabilities, impairment, match, observed, peers, plan, ranges, tables, timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class WireError(ValueError):
    """A value that is not what its place in a frame asks for; the message starts with the path."""


class Codec:
    """A pair of functions between a value and its JSON form."""

    def __init__(self, encode: Callable[[Any], Any], decode: Callable[[Any, str], Any]) -> None:
        self.encode = encode
        self._decode = decode

    def decode(self, data: Any, path: str = "") -> Any:
        """Read a JSON value.

        :raises WireError: if it is not one.
        """
        return self._decode(data, path)


def _same(value: Any) -> Any:
    return value


def scalar(*types: type) -> Codec:
    """A JSON scalar of one of these Python types; bool is no int."""

    def decode(data: Any, path: str) -> Any:
        if type(data) not in types:
            raise WireError(f"{path}: expected {' or '.join(t.__name__ for t in types)}, got {type(data).__name__}")
        return data

    return Codec(_same, decode)


def optional(codec: Codec) -> Codec:
    """The codec's value or null."""
    return Codec(
        lambda value: None if value is None else codec.encode(value),
        lambda data, path: None if data is None else codec.decode(data, path),
    )


def many(codec: Codec) -> Codec:
    """A tuple, as a JSON list."""

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, list):
            raise WireError(f"{path}: expected a list")
        return tuple(codec.decode(item, f"{path}[{at}]") for at, item in enumerate(data))

    return Codec(lambda value: [codec.encode(item) for item in value], decode)


def pair(first: Codec, second: Codec) -> Codec:
    """A tuple of two, as a JSON list of two."""

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, list) or len(data) != 2:
            raise WireError(f"{path}: expected two values")
        return (first.decode(data[0], f"{path}[0]"), second.decode(data[1], f"{path}[1]"))

    return Codec(lambda value: [first.encode(value[0]), second.encode(value[1])], decode)


def record(cls: type, **codecs: Codec) -> Codec:
    """A dataclass, as a JSON object without the fields that have their default."""
    defaults = {f.name: _default(f) for f in dataclasses.fields(cls) if f.name in codecs}

    def encode(value: Any) -> dict[str, Any]:
        said = {name: getattr(value, name) for name in codecs}
        return {name: codecs[name].encode(part) for name, part in said.items() if part != defaults[name]}

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            raise WireError(f"{path}: expected an object")
        for name in data:
            if name not in codecs:
                raise WireError(f"{path}.{name}: unknown field")
        missing = [name for name, value in defaults.items() if value is dataclasses.MISSING and name not in data]
        if missing:
            raise WireError(f"{path}.{missing[0]}: missing")
        return cls(**{name: codecs[name].decode(part, f"{path}.{name}") for name, part in data.items()})

    return Codec(encode, decode)


def _default(f: dataclasses.Field[Any]) -> Any:
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


def _tagged(codecs: Mapping[type, Codec]) -> Codec:
    """One of several records; the class's name stands in the field ``is``."""
    by_name = {cls.__name__: codec for cls, codec in codecs.items()}

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("is"), str) or data["is"] not in by_name:
            raise WireError(f"{path}.is: expected one of {', '.join(by_name)}")
        return by_name[data["is"]].decode({k: v for k, v in data.items() if k != "is"}, path)

    return Codec(lambda value: {"is": type(value).__name__, **codecs[type(value)].encode(value)}, decode)


def _guarded(decode: Callable[[Any], Any]) -> Callable[[Any, str], Any]:
    def guarded(data: Any, path: str) -> Any:
        try:
            return decode(data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WireError(f"{path}: {error}") from None

    return guarded


INT = scalar(int)
NUMBER = scalar(int, float)
TEXT = scalar(str)
BOOL = scalar(bool)

RANGES = Codec(
    lambda value: [list(p) for p in value],
    _guarded(lambda data: ranges.Ranges.joined((int(first), int(last)) for first, last in data)),
)
PEERS = Codec(lambda value: value.to_wire(), _guarded(peers.PeerSet.from_wire))
TABLE = record(tables.Table, name=TEXT, values=many(INT))
_BERNOULLI = record(impairment.Bernoulli, p=NUMBER, correlation=NUMBER)
_LOSS = _tagged(
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
DIRECTION = Codec(lambda value: value.value, _guarded(plan.Direction))


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
    rtt_max=optional(INT),
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
            ),
        )
    ),
    checks=many(record(observed.CheckObserved, id=TEXT, sent=INT, answered=INT, rtts=many(INT), met=INT, error=TEXT)),
    foreign=many(TEXT),
    healed_by=TEXT,
    residue=many(TEXT),
)
INTERFACE = record(
    capabilities.Interface,
    name=TEXT,
    index=INT,
    mtu=INT,
    mac=TEXT,
    up=BOOL,
    default=BOOL,
    addresses=many(TEXT),
)
CAPABILITIES = record(
    capabilities.Capabilities,
    kernel=TEXT,
    engines=many(
        record(
            capabilities.EngineCapability,
            name=TEXT,
            available=BOOL,
            missing=TEXT,
            refuses=many(TEXT),
            unpromised=many(TEXT),
        )
    ),
    classifiers=many(TEXT),
    privileges=many(TEXT),
)
