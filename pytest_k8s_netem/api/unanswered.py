"""Creations whose answer was lost: what became of them is read back, by the labels that its maker wrote."""

from __future__ import annotations

from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.run.identity import RUN
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_k8s_netem.api.protocol import Object

    Ask = Callable[[], Awaitable[Object]]

SETTLED_WITHIN = 10.0
"""Seconds for the API server to say whether it is there; one that ends is replaced by another in less."""


class _Silent(Exception):
    """Nobody has said yet."""


def recognised(new: Object) -> bool:
    """Whether an object that is there could be told to be this one: by its name, and the run's label."""
    return bool(new["metadata"].get("name")) and RUN in (new["metadata"].get("labels") or {})


async def settled(new: Object, get: Ask, create: Ask, unanswered: ApiError) -> Object:
    """The object that a creation has made, or makes when it is said once more since nothing is there.

    :param get: asks for what is there under its name. :param create: makes it.
    :raises ApiError: the server's refusal, which is 409 AlreadyExists if another's is there; ``unanswered`` if it stays
        silent.
    """
    try:
        async for attempt in attempts(SETTLED_WITHIN, _Silent):
            with attempt:
                found = await _asked(get, 404)
                return _own(new, found) if found is not None else await _again(new, get, create)
    except _Silent:
        raise unanswered from None
    raise AssertionError("the last attempt raises")


async def _again(new: Object, get: Ask, create: Ask) -> Object:
    made = await _asked(create, 409)
    if made is None:  # the first one has come late, or somebody else was faster
        made = await _asked(get, 404)
    if made is None:
        raise _Silent
    return _own(new, made)


async def _asked(ask: Ask, nothing: int) -> Object | None:
    """The answer; None for the status that says that there is none."""
    try:
        return await ask()
    except ApiError as error:
        if error.status == 0:
            raise _Silent from None
        if error.status == nothing:
            return None
        raise


def _own(new: Object, found: Object) -> Object:
    """What was found, if it wears each label of ours; one of them says to the second when it was asked for."""
    labels = found["metadata"].get("labels") or {}
    if any(labels.get(name) != value for name, value in new["metadata"]["labels"].items()):
        raise ApiError(409, "AlreadyExists", f"{new['kind']} {new['metadata']['name']} already exists")
    return found
