"""Building blocks of the definition's schema: fields with a meaning, and checks in CEL with plain messages.

CEL is what an API server evaluates (Kubernetes documentation, "CustomResourceDefinitions, Validation rules"). Strings
and lists have a greatest length, since the server wants to know beforehand what a check can cost.
"""

from __future__ import annotations

import json

from pytest_k8s_netem.profile.units import (
    DURATION_UNITS,
    MAX_COUNT,
    MAX_DURATION,
    MAX_RATE,
    MAX_SIZE,
    MIN_RATE,
    RATE_UNITS,
    SIZE_UNITS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

Schema = dict[str, "Any"]
MAX_TEXT = 64
"""Characters of a quantity."""
_NUMBER = r"([0-9]+([.][0-9]*)?|[.][0-9]+)"
SHARE = r"^\s*[+]?0*(100([.]0*)?|[0-9]{1,2}([.][0-9]*)?|[.][0-9]+)\s*%\s*$"
_NEARLY = 0.002
"""How far from a whole number a float may be that stands for one: floats of 4e12 are 0.001 apart."""


def text(meaning: str, pattern: str = "", most: int = 0) -> Schema:
    """A string."""
    schema: Schema = {"type": "string", "description": meaning}
    return schema | ({"pattern": pattern} if pattern else {}) | ({"maxLength": most} if most else {})


def word(meaning: str, choices: Iterable[str]) -> Schema:
    """One of some words."""
    return {"type": "string", "description": meaning, "enum": list(choices)}


def flag(meaning: str) -> Schema:
    """True or false."""
    return {"type": "boolean", "description": meaning}


def number(meaning: str, low: float, high: float, *, whole: bool = False) -> Schema:
    """A number within bounds."""
    kind = {"type": "integer", "format": "int64"} if whole else {"type": "number"}
    return {**kind, "description": meaning, "minimum": low, "maximum": high}


def items(meaning: str, item: Schema, most: int = 0) -> Schema:
    """A list; the server takes null as none, as it does for every field."""
    schema: Schema = {"type": "array", "description": meaning, "items": item}
    return schema | ({"maxItems": most} if most else {})


def mapping(meaning: str, fields: Mapping[str, Schema], *rules: Schema, required: Iterable[str] = ()) -> Schema:
    """An object; a field with another name is kept, so that it can be refused and not be lost."""
    schema: Schema = {"type": "object", "description": meaning, "x-kubernetes-preserve-unknown-fields": True}
    schema["properties"] = dict(fields)
    wanted = list(required)
    return schema | ({"required": wanted} if wanted else {}) | (checked(*rules) if rules else {})


def checked(*rules: Schema) -> Schema:
    """What a schema needs for these rules; several that CEL cannot see (:func:`together`) are joined."""
    cel = [rule for rule in rules if "rule" in rule]
    others = [rule for rule in rules if "rule" not in rule]
    return ({"x-kubernetes-validations": cel} if cel else {}) | ({"allOf": others} if others else {})


def rule(expression: str, message: str) -> Schema:
    """A check."""
    return {"rule": expression, "message": message}


def either(meaning: str, pattern: str, **others: Any) -> Schema:
    """A string of this pattern or a value of another type, but no number and no boolean.

    CEL cannot see such fields, and types cannot be named here; bounds that cross refuse all numbers.
    """
    schema: Schema = {"description": meaning, "x-kubernetes-preserve-unknown-fields": True, "pattern": pattern}
    return schema | {"minimum": 1, "maximum": -1, "not": {"enum": [True, False]}, **others}


NO_LIST: Schema = {"minItems": 1, "maxItems": 0}
NO_MAPPING: Schema = {"minProperties": 1, "maxProperties": 0}
"""For :func:`either`: what else it is not."""


def numbered(meaning: str, low: int, high: int | None, pattern: str) -> Schema:
    """A whole number, or a string of this pattern."""
    schema: Schema = {"x-kubernetes-int-or-string": True, "description": meaning, "pattern": pattern, "minimum": low}
    return schema | ({} if high is None else {"maximum": high})


def count(meaning: str) -> Schema:
    """A number of packets, as number or string of digits."""
    return numbered(meaning, 1, MAX_COUNT, rf"^\s*0*{between(1, MAX_COUNT)}\s*$")


def between(low: int, high: int) -> str:
    """A pattern for the numbers from ``low`` to ``high``, without leading zeros."""
    parts = []
    while low <= high:
        power = 0  # the widest block of numbers from low on that differ in their last digits only
        while low and low % 10 ** (power + 1) == 0 and low + 10 ** (power + 1) - 1 <= high:
            power += 1
        first = low // 10**power
        last = min(first // 10 * 10 + 9, (high + 1) // 10**power - 1)
        head = str(first)[:-1]
        tail = f"[0-9]{{{power}}}" if power else ""
        parts.append(f"{head}[{first % 10}-{last % 10}]{tail}")
        low = (last + 1) * 10**power
    return f"({'|'.join(parts)})"


def duration(meaning: str, *, above_zero: bool = False) -> Schema:
    """A time with its unit."""
    micro = {"µs": DURATION_UNITS["us"], "μs": DURATION_UNITS["us"]}
    low = 1 if above_zero else 0
    said = f"write a time{' above zero' if above_zero else ''} with its unit, at most {MAX_DURATION / 1e9:.6f}s: 100ms"
    return _quantity(meaning, DURATION_UNITS | micro, (low, MAX_DURATION, 1), said)


def share(meaning: str) -> Schema:
    """A percentage."""
    return text(meaning, most=MAX_TEXT) | checked(
        rule(f"self.matches({_quoted(SHARE)})", "write a share between 0% and 100%: 1.5%")
    )


def rate(meaning: str) -> Schema:
    """A rate with its unit; netem counts whole bytes a second."""
    units = _plural(RATE_UNITS)
    said = "write a rate with its unit, in whole bytes a second, from 8bit to 1000tbit: 10mbit or 10mbyte"
    return _quantity(meaning, units, (MIN_RATE, MAX_RATE, 8), said, tail="(/s)?")


def size(meaning: str, *, signed: bool = False) -> Schema:
    """A number of bytes."""
    said = f"write a size with its unit, at most {MAX_SIZE}byte: 1500byte"
    return _quantity(meaning, _plural(SIZE_UNITS), (0, MAX_SIZE, 1), said, sign="[+-]?" if signed else "[+]?")


def needs(field: str, others: Iterable[str], message: str) -> Schema:
    """A check that ``field`` does not stand without any of the others."""
    ways = " || ".join(f"has(self.{other})" for other in others)
    return rule(f"!has(self.{field}) || {ways}", message)


def together(*alternatives: Schema) -> Schema:
    """As a rule, where one of the fields is of several types: some alternative must hold."""
    return {"anyOf": list(alternatives)}


def having(*fields: str) -> Schema:
    """An alternative: all these fields are there."""
    return {"required": list(fields)}


def without(field: str) -> Schema:
    """An alternative: this field is not there."""
    return {"not": {"required": [field]}}


def unchecked(schema: Schema) -> Schema:
    """The same without its rules, for a field inside one of several types: no rule can be there."""
    return {name: part for name, part in schema.items() if name != "x-kubernetes-validations"}


def any_of(fields: Iterable[str]) -> str:
    """An expression: one of these fields is there."""
    return " || ".join(f"has(self.{field})" for field in fields)


def _quantity(
    meaning: str,
    units: Mapping[str, int],
    bounds: tuple[int, int, int],
    message: str,
    *,
    sign: str = "[+]?",
    tail: str = "",
) -> Schema:
    """A number with a unit, between two bounds, in whole steps."""
    low, high, step = bounds
    names = "|".join(sorted(units, key=len, reverse=True))
    form = rf"(?i)^\s*{sign}{_NUMBER}\s*({names}){tail}\s*$"
    table = ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {float(scale)}" for name, scale in units.items())
    value = f"double(self.find('[0-9.]+')) * {{{table}}}[self.lowerAscii().find('[a-zµμ]+')]"
    within = f"v >= {float(low)} && v < {high + step / 2}"
    whole = f"v / {float(step)} + {_NEARLY} - double(int(v / {float(step)} + {_NEARLY})) < {2 * _NEARLY}"
    check = f"self.matches({_quoted(form)}) && [{value}].all(v, {within} && {whole})"
    return text(meaning, most=MAX_TEXT) | checked(rule(check, message))


def _plural(units: Mapping[str, int]) -> dict[str, int]:
    long = {f"{name}s": scale for name, scale in units.items() if name.endswith(("bit", "byte"))}
    return {**units, **long}


def _quoted(pattern: str) -> str:
    return "r" + json.dumps(pattern, ensure_ascii=False).replace("\\\\", "\\")
