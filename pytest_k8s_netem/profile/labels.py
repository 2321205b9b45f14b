"""Label selectors: kubectl's text form, Kubernetes' object form, and back."""

from __future__ import annotations

import re

from pytest_k8s_netem.profile.findings import Findings, nearest, refusal
from pytest_k8s_netem.profile.trafficprofile import LabelSelector, Operator, Requirement

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}"
_VALUE = rf"(?:{_NAME})?"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_WITH_VALUES = (Operator.IN, Operator.NOT_IN)


def parse_labels(text: str, path: str = "") -> LabelSelector:
    """``app=web,tier!=db``, ``tier in (a,b)``, ``tier notin (a)``, ``key``, ``!key``; commas are "and".

    :raises ConfigError: if a part is none of these.
    """
    return LabelSelector(tuple(_requirement(part.strip(), path) for part in re.split(r",(?![^()]*\))", text)))


def format_labels(selector: LabelSelector) -> str:
    """The text that :func:`parse_labels` reads as this selector; "" for one that takes everything."""
    return ",".join(_text(requirement) for requirement in selector.requirements)


def parse_label_selector(value: object, path: str = "") -> LabelSelector:
    """``{matchLabels: {..}, matchExpressions: [..]}`` of Kubernetes; ``{}`` takes everything.

    :raises ConfigError: with every mistake.
    """
    findings = Findings()
    told = findings.mapping(value, path, ("matchLabels", "matchExpressions"))
    labels = told.get("matchLabels")
    labels = findings.mapping({} if labels is None else labels, f"{path}.matchLabels")
    requirements = [_pair(key, labels[key], f"{path}.matchLabels", findings) for key in sorted(labels)]
    for where, item in findings.items(told.get("matchExpressions"), f"{path}.matchExpressions"):
        requirements.append(_expression(item, where, findings))
    findings.settle()
    return LabelSelector(tuple(requirements))


def render_label_selector(selector: LabelSelector) -> dict[str, object]:
    """The object that :func:`parse_label_selector` reads as this selector."""
    labels: dict[str, str] = {}
    rest = list(selector.requirements)
    while rest and _plain(rest[0]) and rest[0].key > max(labels, default=""):
        first = rest.pop(0)
        labels[first.key] = first.values[0]
    told: dict[str, object] = {"matchLabels": labels} if labels else {}
    if rest:
        told["matchExpressions"] = [_render(requirement) for requirement in rest]
    return told


def is_label_value(text: str) -> bool:
    """Whether Kubernetes takes it as a label's value."""
    return re.fullmatch(_VALUE, text) is not None


def _requirement(part: str, path: str) -> Requirement:
    if match := _SET.fullmatch(part):
        values = tuple(value.strip() for value in match[3].split(","))
        if all(map(is_label_value, values)) and any(values):
            return Requirement(match[1], Operator.IN if match[2] == "in" else Operator.NOT_IN, values)
    elif match := _EQUAL.fullmatch(part):
        return Requirement(match[1], Operator.NOT_IN if match[2] == "!=" else Operator.IN, (match[3],))
    elif match := _EXISTS.fullmatch(part):
        return Requirement(match[2], Operator.DOES_NOT_EXIST if match[1] else Operator.EXISTS)
    raise refusal(path, part, "not a label requirement", "write app=web, tier!=db, tier in (a,b), key or !key")


def _text(requirement: Requirement) -> str:
    key, values = requirement.key, requirement.values
    match requirement.operator:
        case Operator.EXISTS:
            return key
        case Operator.DOES_NOT_EXIST:
            return f"!{key}"
    equal, among = ("=", "in") if requirement.operator is Operator.IN else ("!=", "notin")
    return f"{key}{equal}{values[0]}" if len(values) == 1 else f"{key} {among} ({','.join(values)})"


def _plain(requirement: Requirement) -> bool:
    return requirement.operator is Operator.IN and len(requirement.values) == 1


def _render(requirement: Requirement) -> dict[str, object]:
    told: dict[str, object] = {"key": requirement.key, "operator": requirement.operator.value}
    return told | ({"values": list(requirement.values)} if requirement.values else {})


def _pair(key: str, value: object, path: str, findings: Findings) -> Requirement:
    _check_key(key, path, findings)
    return Requirement(key, Operator.IN, (_value(value, f"{path}.{key}", findings),))


def _expression(item: object, path: str, findings: Findings) -> Requirement:
    told = findings.mapping(item, path, ("key", "operator", "values"))
    key, name = told.get("key"), told.get("operator")
    operators = {operator.value: operator for operator in Operator}
    operator = operators.get(name) if isinstance(name, str) else None
    if operator is None:
        findings.add(f"{path}.operator", name, "unknown operator", nearest(name, operators))
        operator = Operator.EXISTS
    _check_key(key, path, findings)
    values = findings.items(told.get("values"), f"{path}.values")
    if operator in _WITH_VALUES and not values:
        findings.missing(f"{path}.values", f"{operator.value} needs values")
    if operator not in _WITH_VALUES and values and name in operators:
        findings.add(f"{path}.values", told["values"], f"{operator.value} has no values", "leave them out")
    return Requirement(str(key), operator, tuple(_value(value, where, findings) for where, value in values))


def _check_key(key: object, path: str, findings: Findings) -> None:
    if not isinstance(key, str) or not re.fullmatch(_KEY, key):
        findings.add(path, key, "not a label's key", "write it as app or example.org/app")


def _value(value: object, path: str, findings: Findings) -> str:
    if isinstance(value, str) and is_label_value(value):
        return value
    fix = "write it in quotes" if isinstance(value, int | float) else "letters, digits, -, _ and . (63 at most)"
    findings.add(path, value, "not a label's value", fix)
    return ""
