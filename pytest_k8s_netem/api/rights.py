"""What we may do on an API server, asked of the server itself; the words in which a missing right is told."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from pytest_k8s_netem.api.protocol import ACCESS_REVIEWS, Kind
from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.api.protocol import Api, Object


class Right(NamedTuple):
    """One verb on one kind.

    :ivar subresource: "" = the objects themselves. :ivar namespace: "" = all, or none for cluster-scoped kinds.
    """

    verb: str
    kind: Kind
    subresource: str = ""
    namespace: str = ""

    @property
    def resource(self) -> str:
        """As Roles write it: ``pods/exec``."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


def told(rights: Iterable[Right]) -> str:
    """``get and list of pods, create of pods/exec in namespace shop``; they are of one namespace."""
    verbs: dict[str, list[str]] = {}
    where = ""
    for right in rights:
        verbs.setdefault(right.resource, []).append(right.verb)
        where = f" in namespace {right.namespace}" if right.namespace else _everywhere(right.kind)
    return ", ".join(f"{_joined(several)} of {resource}" for resource, several in verbs.items()) + where


def _everywhere(kind: Kind) -> str:
    return " in all namespaces" if kind.namespaced else ""


def _joined(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


async def answers(api: Api) -> bool:
    """Whether the server lets us ask at all; a cluster may have taken that from its users."""
    try:
        await api.create(ACCESS_REVIEWS, _review(Right("get", ACCESS_REVIEWS)))
    except ApiError as error:
        if error.status == 403:
            return False
        raise
    return True


async def missing(api: Api, rights: Iterable[Right]) -> list[Right]:
    """Those of them that we have not."""
    several = list(rights)
    reviews = await asyncio.gather(*(api.create(ACCESS_REVIEWS, _review(right)) for right in several))
    return [right for right, review in zip(several, reviews, strict=True) if not review["status"].get("allowed")]


def _review(right: Right) -> Object:
    group, _, version = right.kind.api_version.rpartition("/")
    asked = {
        "verb": right.verb,
        "group": group,
        "version": version,
        "resource": right.kind.plural,
        "subresource": right.subresource,
        "namespace": right.namespace,
    }
    return {"spec": {"resourceAttributes": asked}}
