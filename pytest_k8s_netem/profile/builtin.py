"""k8s-netem's type Builtin: ``parameters.netem`` in seconds, kbit/s and ratios 0..1.

Zero is "off", as the defaults of its schema say. The distribution is ``normal`` unless told otherwise, as its schema
says too (https://github.com/ERIGrid2/k8s-netem).
"""

from __future__ import annotations

from decimal import Decimal

from pytest_k8s_netem.model.impairment import NONE, Bernoulli, Impairment, Rate, Slot
from pytest_k8s_netem.profile.distributions import CHOICES, table_of
from pytest_k8s_netem.profile.findings import Findings, nearest, refusal, under, written
from pytest_k8s_netem.profile.units import MAX_COUNT, MAX_DURATION, MAX_RATE, MAX_SIZE, format_share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def number(value: object, path: str, lowest: float, highest: float) -> Decimal:
    """A number within bounds, exactly as written.

    :raises ConfigError: for anything else; strings with units belong in ``spec.impairment``.
    """
    if isinstance(value, str):
        raise refusal(path, value, "expected a number", "values with units belong in spec.impairment")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise refusal(path, value, "expected a number")
    if not lowest <= value <= highest:
        raise refusal(path, value, f"out of range: {lowest:g} to {highest:g}")
    return Decimal(repr(value))


def whole(lowest: int, highest: int, scale: int = 1) -> Callable[[object, str], int]:
    """A reader of whole numbers, times ``scale``."""

    def read(value: object, path: str) -> int:
        told = number(value, path, lowest, highest)
        if told != int(told):
            raise refusal(path, value, "expected a whole number")
        return int(told) * scale

    return read


def seconds(value: object, path: str) -> int:
    """Seconds, as ns."""
    return round(number(value, path, 0, MAX_DURATION / 1e9) * 10**9)


def ratio(value: object, path: str) -> float:
    """0..1.

    :raises ConfigError: for anything else; above 1 the right form is told.
    """
    if isinstance(value, int | float) and 1 < value <= 100:
        meant = Decimal(repr(value)).scaleb(-2)
        why = f"above 1: k8s-netem's ratios go from 0 to 1, where 1 is {format_share(1)}"
        raise refusal(path, value, why, f"for {value:g}% write {written(path, f'{meant:f}')}")
    return float(number(value, path, 0, 1))


def distribution(value: object, path: str) -> str:
    """``uniform`` or one of the named tables.

    :raises ConfigError: for anything else.
    """
    if not isinstance(value, str) or value not in CHOICES:
        raise refusal(path, value, "unknown distribution", nearest(value, CHOICES))
    return value


_COUNT = whole(0, MAX_COUNT)
_BYTES = whole(0, MAX_SIZE)
READERS: dict[str, Callable[[object, str], int | float | str]] = {
    "loss_ratio": ratio,
    "loss_correlation": ratio,
    "duplication_ratio": ratio,
    "duplication_correlation": ratio,
    "delay": seconds,
    "jitter": seconds,
    "delay_jitter_correlation": ratio,
    "distribution": distribution,
    "reorder_ratio": ratio,
    "reorder_correlation": ratio,
    "reorder_gap": _COUNT,
    "limit": _COUNT,
    "rate": whole(0, MAX_RATE // 1000, 1000),
    "rate_packetoverhead": whole(-MAX_SIZE, MAX_SIZE),
    "rate_cellsize": _BYTES,
    "rate_celloverhead": _BYTES,
    "slot_min_delay": seconds,
    "slot_max_delay": seconds,
    "slot_distribution": distribution,
    "slot_delay": seconds,
    "slot_jitter": seconds,
    "slot_packets": _COUNT,
    "slot_bytes": _BYTES,
}
"""Every key of ``parameters.netem``."""
NEEDS = {
    "reorder_ratio": "delay",
    "reorder_gap": "reorder_ratio",
    "rate_packetoverhead": "rate",
    "rate_cellsize": "rate",
    "rate_celloverhead": "rate_cellsize",
    "slot_packets": "slot_min_delay",
    "slot_bytes": "slot_min_delay",
}
"""What does nothing without something else; zeros need nothing."""


def parse_builtin(parameters: Mapping[str, object], path: str, findings: Findings) -> Impairment:
    """The impairment of ``parameters``; without ``netem`` it is none. Mistakes are noted."""
    told = findings.mapping(dict(parameters), path, ("netem",))
    if "netem" not in told:
        return NONE
    path = under(path, "netem")
    netem = findings.mapping(told["netem"], path, READERS)
    values = read_all(READERS, netem, path, findings)
    for key, need in NEEDS.items():
        alone = not values.get(need) and not (key.startswith("slot_") and values.get("slot_delay"))
        if values.get(key) and alone and need not in _refused(findings, path):
            findings.add(under(path, key), netem[key], f"has no effect without {need}", f"add {need}")
    return _impairment({key: values.get(key, 0) for key in READERS}, netem)


def read_all(
    readers: Mapping[str, Callable[[object, str], int | float | str]],
    told: Mapping[str, object],
    path: str,
    findings: Findings,
) -> dict[str, int | float | str]:
    """Each value by its key's reader; 0 stands in for one that could not be read."""
    unread: int | float | str = 0
    return {key: findings.read(readers[key], value, under(path, key), unread) for key, value in told.items()}


def _refused(findings: Findings, path: str) -> set[str]:
    return {problem.path.removeprefix(f"{path}.") for problem in findings.problems}


def _impairment(value: Mapping[str, Any], netem: Mapping[str, object]) -> Impairment:
    """From numbers in the model's units; what is absent is 0."""
    shape = value["distribution"] if "distribution" in netem else "normal"
    return Impairment(
        delay=value["delay"],
        jitter=value["jitter"],
        delay_corr=float(value["delay_jitter_correlation"]),
        table=table_of(shape or "uniform") if value["jitter"] else None,
        loss=_chance(value, "loss"),
        duplicate=_chance(value, "duplication"),
        reorder=_chance(value, "reorder"),
        gap=value["reorder_gap"],
        rate=Rate(*(value[key] for key in ("rate", "rate_packetoverhead", "rate_cellsize", "rate_celloverhead"))),
        slot=_slot(value, value["slot_distribution"] if "slot_distribution" in netem else "normal"),
        limit=value["limit"],
    )


def _chance(value: Mapping[str, Any], name: str) -> Bernoulli:
    return Bernoulli(float(value[f"{name}_ratio"]), float(value[f"{name}_correlation"]))


def _slot(value: Mapping[str, Any], shape: str) -> Slot:
    """The bounds where a shortest time is given, else the distribution."""
    most = {"packets": value["slot_packets"], "bytes": value["slot_bytes"]}
    shortest, delay, jitter = value["slot_min_delay"], value["slot_delay"], value["slot_jitter"]
    if shortest:
        return Slot(min_delay=shortest, max_delay=max(shortest, value["slot_max_delay"]), **most)
    if not delay:
        return Slot()
    table = table_of(shape or "uniform")
    if table is None or not jitter:
        return Slot(min_delay=max(0, delay - jitter), max_delay=delay + jitter, **most)
    return Slot(delay=delay, jitter=jitter, table=table, **most)
