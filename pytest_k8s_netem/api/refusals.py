"""An API server's refusals as :class:`ApiError`: ``metav1.Status`` and what comes in its place. Pure."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

UNREACHABLE = "Unreachable"
"""Reason of an error with status 0: no answer came, and the server cannot have heard the question."""
UNANSWERED = "Unanswered"
"""The same where it may have: the connection was there, and ended or stayed silent."""
_MOST = 2000
"""Characters of an answer in no known form that a message repeats."""
_LEAD = re.compile(r'(?:Invalid|Unsupported|Required) value: (?:"(?:object|array|string|number|integer|boolean)": )?')
"""How the server begins the message of a check, before its own words (k8s.io/apimachinery, util/validation/field)."""
_DENIED = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "[^"]*"'
    r'(?: in the namespace "(?P<namespace>[^"]*)"| at the cluster scope)'
)
"""How it says which right is missing (k8s.io/apiserver, pkg/endpoints/handlers/responsewriters/errors.go)."""
UNSPACED = frozenset({"namespaces", "nodes", "trafficprofiles", "customresourcedefinitions"})
"""Resources that are in no namespace; of others, the cluster's scope is all namespaces."""


def refusal(status: int, body: bytes) -> ApiError:
    """The error for an answer that is none."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return ApiError(status, _phrase(status), body.decode(errors="replace").strip()[:_MOST] or _phrase(status))
    return of_status(said, status)


def of_status(said: dict[str, Any], status: int = 0) -> ApiError:
    """The error for a Status object, whose own code counts more than the answer's."""
    code = int(said.get("code") or status)
    message = str(said.get("message") or "")
    head, invalid, _ = message.partition(" is invalid: ")
    problems = [_problem(cause) for cause in (said.get("details") or {}).get("causes") or () if not _aside(cause)]
    if invalid and problems:
        message = f"{head} is invalid"
    else:
        problems = []
    if code == HTTPStatus.FORBIDDEN and (right := _right(message)):
        message = f"{message}; that needs {right}"
    return ApiError(code, str(said.get("reason") or _phrase(code)), message, problems)


def unreachable(host: str, error: Exception, *, heard: bool = False) -> ApiError:
    """The error for no answer at all.

    :param heard: whether the server may have got the request.
    """
    reason = getattr(error, "reason", None) or error
    return ApiError(0, UNANSWERED if heard else UNREACHABLE, f"the API server {host} does not answer: {reason}")


@contextmanager
def tolerated(*statuses: int) -> Iterator[None]:
    """Go on after refusals of these statuses; any other is raised, so that who reconciles tries again."""
    try:
        yield
    except ApiError as error:
        if error.status not in statuses:
            raise


def _right(message: str) -> str:
    """The right that the server says is missing, as a Role would grant it."""
    found = _DENIED.search(message)
    if found is None:
        return ""
    where = f" in namespace {found['namespace']}" if found["namespace"] else " in all namespaces"
    return f"{found['verb']} of {found['resource']}{'' if found['resource'] in UNSPACED else where}"


def _problem(cause: dict[str, Any]) -> Problem:
    why = str(cause.get("message") or cause.get("reason") or "not valid")
    return Problem(str(cause.get("field") or "").replace("<nil>", ""), "", _LEAD.sub("", why, count=1) or why)


def _aside(cause: dict[str, Any]) -> bool:
    """The server's remark that one mistake kept it from looking for others."""
    return "some validation rules were not checked" in str(cause.get("message"))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.replace(" ", "")
    except ValueError:
        return f"Status{status}"
