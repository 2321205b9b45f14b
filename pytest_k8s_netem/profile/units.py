"""Quantities with units, as users write them, and back: durations, shares, rates, sizes, counts.

Every ``parse_`` takes the value and the path for its refusal, and raises :class:`ConfigError` with one problem.
Every ``format_`` is its exact inverse: ``parse(format(x)) == x``.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from pytest_k8s_netem.profile.findings import refusal, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DURATION_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""ns a unit."""
RATE_UNITS = {
    **{f"{prefix}bit": 10**power for prefix, power in (("t", 12), ("g", 9), ("m", 6), ("k", 3), ("", 0))},
    **{f"{prefix}byte": 8 * 10**power for prefix, power in (("t", 12), ("g", 9), ("m", 6), ("k", 3), ("", 0))},
}
"""bit/s a unit; all are per second."""
SIZE_UNITS = {"byte": 1, "kbyte": 10**3, "mbyte": 10**6, "kib": 2**10, "mib": 2**20}
"""bytes a unit."""

MAX_DURATION = 2**32 * 1000 - 1000
"""ns; 2^32-1 us, the bound of k8s-netem's schema (4294.967295 s)."""
MIN_RATE = 8
"""bit/s; netem counts whole bytes a second (struct tc_netem_rate, linux/pkt_sched.h)."""
MAX_RATE = 10**15
MAX_COUNT = 2**32 - 1
"""Packets; netem's limit and gap are 32 bit wide (struct tc_netem_qopt, linux/pkt_sched.h)."""
MAX_SIZE = 2**31 - 1

_QUANTITY = re.compile(r"\s*([+-]?)(\d{1,40}(?:\.\d{0,400})?|\.\d{1,400})\s*([^\d\s.][^\s]*)?\s*")
_BPS = re.compile(r"(?i)([kmgt]?)i?(?:bps|bits?ps|bytesps)")


def parse_duration(value: object, path: str = "") -> int:
    """``"100ms"``, ``"1.5s"``, ``"250us"``, ``"2m"`` or a timedelta, as ns.

    :raises ConfigError: for a bare number, an unknown unit, a negative, or more than :data:`MAX_DURATION`.
    """
    if isinstance(value, timedelta):
        nanoseconds = Decimal(value // timedelta(microseconds=1)) * 1000
    else:
        nanoseconds = _scaled(value, path, "a duration", DURATION_UNITS, _hint(value, "ms", "s"))
    return _whole(nanoseconds, value, path, _DURATION)


def format_duration(nanoseconds: int) -> str:
    """ns in the largest unit from seconds down that fits: ``"100ms"``, ``"1.5s"``."""
    return _compact(nanoseconds, {unit: DURATION_UNITS[unit] for unit in ("s", "ms", "us", "ns")}, zero="0s")


def parse_share(value: object, path: str = "") -> float:
    """``"1.5%"`` as 0.015.

    :raises ConfigError: for a bare number (0.01 might be either), and outside 0..100 %.
    """
    share = _scaled(value, path, "a share", {"%": 1}, _share_hint(value)).scaleb(-2)
    if not 0 <= share <= 1:
        raise refusal(path, value, "a share lies between 0% and 100%")
    return float(share)


def format_share(ratio: float) -> str:
    """0.015 as ``"1.5%"``."""
    return f"{_plain(Decimal(repr(float(ratio))).scaleb(2))}%"


def parse_rate(value: object, path: str = "") -> int:
    """``"10mbit"``, ``"1.5gbit"``, ``"10mbyte"`` (all per second; ``/s`` may follow) as bit/s.

    :raises ConfigError: for a bare number, a suffix in ``bps``, what is no whole number of bytes a second (no kernel
        could hold it), and outside :data:`MIN_RATE`..:data:`MAX_RATE`.
    """
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value)) and _BPS.fullmatch(match[3] or ""):
        _refuse_bps(value, path, match)
    bits = _scaled(value, path, "a rate", RATE_UNITS, _hint(value, "mbit", "bit"))
    found = _whole(bits, value, path, _RATE)
    if found % 8:
        below, above = (written(path, format_rate(found // 8 * 8 + more)) for more in (0, 8))
        raise refusal(
            path, value, "no whole number of bytes a second, in which netem counts", f"write {below} or {above}"
        )
    return found


def format_rate(bits: int) -> str:
    """bit/s in the largest unit of bits that fits: ``"1.5gbit"``."""
    return _compact(bits, {unit: size for unit, size in RATE_UNITS.items() if unit.endswith("bit")}, zero="0bit")


def parse_size(value: object, path: str = "") -> int:
    """``"1500byte"``, ``"64kbyte"``, ``"64KiB"`` as bytes.

    :raises ConfigError: for a bare number, an unknown unit, a negative.
    """
    return _size(value, path, _SIZE)


def parse_signed_size(value: object, path: str = "") -> int:
    """As :func:`parse_size`; may be negative (``"-14byte"``)."""
    return _size(value, path, _SIZE._replace(lowest=-MAX_SIZE))


def format_size(size: int) -> str:
    """bytes as ``"1500byte"``."""
    return f"{size}byte"


def parse_count(value: object, path: str = "") -> int:
    """A number of packets, 1..:data:`MAX_COUNT`: ``1000`` or ``"1000"``; the one quantity without a unit.

    :raises ConfigError: for anything else.
    """
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and re.fullmatch(r"[0-9]{1,10}", text):
        text = int(text)
    if type(text) is not int:
        raise refusal(path, value, "expected a number of packets", f"write {written(path, '1000')}")
    if not 1 <= text <= MAX_COUNT:
        raise refusal(path, value, f"a number of packets lies between 1 and {MAX_COUNT}")
    return text


def _size(value: object, path: str, quantity: _Quantity) -> int:
    return _whole(_scaled(value, path, "a size", SIZE_UNITS, _hint(value, "byte")), value, path, quantity)


class _Quantity(NamedTuple):
    """What a number with a unit measures, in whole ``step`` between two bounds."""

    what: str
    units: Mapping[str, int]
    step: str
    lowest: int
    highest: int
    form: Callable[[int], str]


_DURATION = _Quantity("a duration", DURATION_UNITS, "1 ns", 0, MAX_DURATION, format_duration)
_RATE = _Quantity("a rate", RATE_UNITS, "1 bit/s", MIN_RATE, MAX_RATE, format_rate)
_SIZE = _Quantity("a size", SIZE_UNITS, "1 byte", 0, MAX_SIZE, format_size)


def _scaled(value: object, path: str, what: str, units: Mapping[str, int], hint: str) -> Decimal:
    """The number times its unit, exactly."""
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if type(value) in (int, float) or (match and not match[3]):
        raise refusal(path, value, "a bare number has no unit", f"write {_choices(path, hint)}")
    if not match:
        raise refusal(path, value, f"not {what}", f"write {_choices(path, hint)}")
    unit = _unit(match[3], units)
    if unit is None:
        raise refusal(path, value, f'"{match[3][:20]}" is no unit of {what}', f"units: {', '.join(units)}")
    number = Decimal(match[2])
    return (-number if match[1] == "-" else number) * units[unit]


def _unit(text: str, units: Mapping[str, int]) -> str | None:
    """The unit in lower case; both signs for micro, plurals and ``/s`` of bits and bytes are taken too."""
    unit = text.lower().replace("\u00b5", "u").replace("\u03bc", "u")
    if units is RATE_UNITS:
        unit = unit.removesuffix("/s")
    unit = unit.removesuffix("s") if unit.endswith(("bits", "bytes")) else unit
    return unit if unit in units else None


def _whole(number: Decimal, value: object, path: str, quantity: _Quantity) -> int:
    if number < 0 <= quantity.lowest:
        raise refusal(path, value, "must not be negative")
    if not quantity.lowest <= number <= quantity.highest:
        bounds = f"{quantity.form(quantity.lowest)} to {quantity.form(quantity.highest)}"
        raise refusal(path, value, f"out of range: {bounds}")
    if number != int(number):
        raise refusal(path, value, f"finer than {quantity.step}")
    return int(number)


def _choices(path: str, hint: str) -> str:
    return " or ".join(written(path, form) for form in hint.split("|"))


def _hint(value: object, *units: str) -> str:
    """The right forms for a value without a unit: its own number where it has one."""
    examples = {"ms": "100ms", "mbit": "10mbit", "byte": "1500byte"}
    number = _short_number(value)
    if not number:
        return examples[units[0]]
    return "|".join(f"{number}{unit}" for unit in _likely(number, units))


def _short_number(value: object) -> str:
    """The number as written, if it is one that an example can repeat; else ""."""
    if type(value) is int and abs(value) >= 10**12:
        return ""
    number = str(value).strip() if type(value) in (int, float, str) else ""
    return number if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", number) else ""


def _likely(number: str, units: tuple[str, ...]) -> tuple[str, ...]:
    """``100`` was most likely ms, ``0.1`` s; ``10`` mbit, ``1000000`` bit; a size has one unit."""
    if len(units) == 1:
        return units
    small, large = Decimal(number) < 1, abs(Decimal(number)) >= 10**4
    if units[0] == "ms":
        return units[1:] if small else units[:1]
    return units[1:] if large else units[:1]


def _share_hint(value: object) -> str:
    """0.01 was most likely meant as 1 %, and 5 as 5 %."""
    number = _short_number(value)
    if not number or number.startswith("-"):
        return "1%"
    if 0 < Decimal(number) < 1:
        return f"{_plain(Decimal(number).scaleb(2))}%|{number}%"
    return f"{number}%"


def _refuse_bps(value: str, path: str, match: re.Match[str]) -> None:
    prefix = re.match("(?i)[kmgt]?", match[3])
    scale = prefix[0].lower() if prefix else ""
    why = 'a suffix in "bps" means bits to people and bytes to tc'
    fix = f"write {written(path, f'{match[2]}{scale}bit')} or, for bytes, {written(path, f'{match[2]}{scale}byte')}"
    raise refusal(path, value, why, fix)


def _compact(number: int, units: Mapping[str, int], zero: str) -> str:
    """Exact decimal form in the largest unit that is not above the number."""
    if not number:
        return zero
    unit = next(unit for unit, size in units.items() if size <= number)
    whole, rest = divmod(number, units[unit])
    digits = len(str(units[unit])) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".") + unit if rest else f"{whole}{unit}"


def _plain(number: Decimal) -> str:
    """Without an exponent and without trailing zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
