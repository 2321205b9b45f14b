"""Label selectors as the API server reads them in a query: equality and set-based, comma means and."""

from __future__ import annotations

import re

from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.profile.trafficprofile import LabelSelector, Operator, Requirement

_KEY = r"[A-Za-z0-9](?:[-\w.]*[A-Za-z0-9])?(?:/[A-Za-z0-9](?:[-\w.]*[A-Za-z0-9])?)?"
_VALUE = r"(?:[A-Za-z0-9](?:[-\w.]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_EXISTENCE = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r",(?![^()]*\))")


def parse_selector(text: str) -> LabelSelector:
    """``app=web,tier!=db,env in (a,b),!old`` as a selector; ``""`` takes everything.

    :raises ApiError: 400 BadRequest if it is none.
    """
    if not text.strip():
        return LabelSelector()
    return LabelSelector(tuple(_requirement(part.strip(), text) for part in _COMMA.split(text)))


def _requirement(part: str, text: str) -> Requirement:
    if found := _SET.fullmatch(part):
        operator = Operator.IN if found[2] == "in" else Operator.NOT_IN
        return Requirement(found[1], operator, tuple(value.strip() for value in found[3].split(",")))
    if found := _EQUALITY.fullmatch(part):
        return Requirement(found[1], Operator.NOT_IN if found[2] == "!=" else Operator.IN, (found[3],))
    if found := _EXISTENCE.fullmatch(part):
        return Requirement(found[2], Operator.DOES_NOT_EXIST if found[1] else Operator.EXISTS)
    raise ApiError(400, "BadRequest", f"label selector {text!r}: {part!r} is no requirement; write key=value")
