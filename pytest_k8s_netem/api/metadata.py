"""What an API server writes into, and demands of, an object's metadata."""

from __future__ import annotations

import random
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Kind, Object

OWN = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
"""Fields that only the server sets."""
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_random = random.Random()  # of its own, so that a test's seed neither decides nor feels it


def timestamp(seconds_ahead: float = 0) -> str:
    """RFC 3339 in whole seconds, UTC, as Kubernetes writes it."""
    moment = datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds_ahead, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def generated(prefix: str) -> str:
    """``prefix`` and five random letters, cut to 63 characters as Kubernetes does."""
    return prefix[:58] + "".join(_random.choices(_LETTERS, k=5))


def stamp(obj: Object) -> None:
    """Give a new object its identity."""
    meta = obj["metadata"]
    for name in OWN:
        meta.pop(name, None)
    meta.update(uid=str(uuid.uuid4()), creationTimestamp=timestamp(), generation=1)


def validate(kind: Kind, obj: Object) -> None:
    """Refuse metadata that an API server refuses.

    :raises ApiError: 422 Invalid.
    """
    meta = obj["metadata"]
    problems = [*_name(kind, str(meta.get("name", "")))]
    for field in ("labels", "annotations"):
        problems += _strings(f"metadata.{field}", meta.get(field))
    if problems:
        raise ApiError(422, "Invalid", f"{kind.name} {meta.get('name', '')!r} is invalid", problems)


def _name(kind: Kind, name: str) -> list[Problem]:
    label = kind.name in ("Namespace", "Service")
    length = 63 if label else 253
    if name and len(name) <= length and (_LABEL if label else _SUBDOMAIN).fullmatch(name):
        return []
    rule = f"lower case letters, digits{' and -' if label else ', - and .'}, at most {length}"
    return [Problem("metadata.name", name, "not a valid name", rule)]


def _strings(path: str, value: Any) -> list[Problem]:
    if value is None:
        return []
    if not isinstance(value, dict):
        return [Problem(path, str(value), "not a mapping")]
    return [
        Problem(f"{path}.{key}", str(part), f"is a {type(part).__name__}", "put it in quotes")
        for key, part in value.items()
        if not isinstance(part, str)
    ]
