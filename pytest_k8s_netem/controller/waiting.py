"""Waits for what a TrafficProfile's status says, by watch."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import aclosing

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES, Object
from pytest_k8s_netem.controller.refusals import MISSING_NEED
from pytest_k8s_netem.controller.status import INTERNAL_ERROR, PODS_EXCLUDED
from pytest_k8s_netem.errors import ApiError, ConfigError, ImpairmentError, ProofError, ProviderError, TeardownError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api

CONDITIONS = ("Accepted", "Applied", "Verified")
USERS_MOVE = frozenset({"NothingSelected", "NothingMatched", PODS_EXCLUDED})
"""Reasons of Applied=False that the user's own words have caused."""
LASTING = 10.0
"""Seconds for which a mistake of the controller may last before nobody waits any more; it has tried ten times then."""
AGAIN_AFTER = 0.2
"""Seconds after an answer that says nothing of the profile."""


async def verified(api: Api, name: str, generation: int, deadline: float, *, whole: bool = False) -> Object:
    """Wait until this generation (or a later one) of a profile is verified; the object then.

    :param deadline: seconds; a controller that has a mistake is waited for :data:`LASTING` at most.
    :param whole: no pod that it selects may be left out.
    :raises ConfigError: if it cannot be meant. :raises ImpairmentError: if it cannot be applied.
    :raises ProofError: if it cannot be proven, or not in time.
    :raises ProviderError: if the kernel has not the engine that it asks for.
    """
    last: list[Object] = []

    def done(obj: Object | None) -> bool:
        if obj is None:
            raise ImpairmentError(f"TrafficProfile {name} was deleted while it was waited for")
        last[:] = [obj]
        return _verified(obj, generation, whole)

    began = time.monotonic()
    try:
        await _until(api, name, done, deadline, hopeless=_mistaken)
    except TimeoutError as error:
        why, waited = str(error) or _state(last), time.monotonic() - began
        within = deadline if waited >= deadline else round(waited, 1)
        raise ProofError(f"TrafficProfile {name} was not verified within {within:g} s: {why}") from None
    return last[0]


async def gone(api: Api, name: str, deadline: float) -> None:
    """Wait until a profile is healed and its object gone.

    :param deadline: seconds. :raises TeardownError: if it is not in time, saying what is left.
    """
    last: list[Object] = []

    def done(obj: Object | None) -> bool:
        last[:] = [obj] if obj is not None else []
        return obj is None

    try:
        await _until(api, name, done, deadline)
    except TimeoutError as error:
        why = str(error) or _state(last)
        text = f"TrafficProfile {name} was not healed within {deadline:g} s: {why}; run netem sweep"
        raise TeardownError(text) from None


async def _until(
    api: Api,
    name: str,
    done: Callable[[Object | None], bool],
    deadline: float,
    hopeless: Callable[[Object | None], bool] = lambda _obj: False,
) -> None:
    """Follow a profile until it is as wanted.

    :param hopeless: what, once it has lasted, is waited for no longer.
    :raises TimeoutError: with what the API server said last, if that was no answer.
    """
    trouble, since, end = "", math.inf, asyncio.get_running_loop().time() + deadline

    def heard(obj: Object | None) -> bool:
        nonlocal trouble, since
        trouble = ""
        since = min(since, asyncio.get_running_loop().time()) if hopeless(obj) else math.inf
        limit.reschedule(min(end, since + LASTING))
        return done(obj)

    try:
        async with asyncio.timeout_at(end) as limit:
            while True:
                try:
                    if await _followed(api, name, heard):
                        return
                except ApiError as error:
                    if not _passing(error):
                        raise
                    trouble = str(error)
                await asyncio.sleep(AGAIN_AFTER)
    except TimeoutError:
        raise TimeoutError(trouble) from None


def _passing(error: ApiError) -> bool:
    """Whether it may be another answer soon: no answer, too old a version, too many requests, the server's failure."""
    return error.status in (0, 410, 429) or error.status >= 500


async def _followed(api: Api, name: str, done: Callable[[Object | None], bool]) -> bool:
    listing = await api.list(TRAFFICPROFILES)
    if done(next((obj for obj in listing.items if obj["metadata"]["name"] == name), None)):
        return True
    async with aclosing(api.watch(TRAFFICPROFILES, listing.resource_version)) as changes:
        async for change in changes:
            if change.object["metadata"].get("name") == name and done(
                None if change.type == "DELETED" else change.object
            ):
                return True
    raise ImpairmentError("the store of objects was closed")


def _mistaken(obj: Object | None) -> bool:
    """Whether the controller says that it has a mistake."""
    found = ((obj or {}).get("status") or {}).get("conditions") or ()
    return any(one["reason"] == INTERNAL_ERROR for one in found)


def _conditions(obj: Object, generation: int) -> dict[str, Object]:
    found = (obj.get("status") or {}).get("conditions") or ()
    return {one["type"]: one for one in found if int(one.get("observedGeneration", 0)) >= generation}


def _verified(obj: Object, generation: int, whole: bool) -> bool:
    conditions = _conditions(obj, generation)
    for kind in CONDITIONS:
        one = conditions.get(kind)
        if one is None or one["status"] == "Unknown":
            return False
        if one["status"] == "False":
            raise _error(kind, one)
        if whole and one.get("reason") == PODS_EXCLUDED:
            raise ConfigError(str(one.get("message")))
    return True


def _error(kind: str, one: Object) -> Exception:
    message = str(one.get("message") or one.get("reason"))
    if one.get("reason") == MISSING_NEED:
        return ProviderError(message)
    if kind == "Verified":
        return ProofError(message)
    users = kind == "Accepted" or one.get("reason") in USERS_MOVE
    return ConfigError(message) if users else ImpairmentError(message)


def _state(objects: list[Object]) -> str:
    for obj in objects:
        conditions = (obj.get("status") or {}).get("conditions") or ()
        said = [f"{one['type']}={one['status']} {one['reason']}: {one['message']}" for one in conditions]
        return "; ".join(said) or "its status says nothing; does a controller run?"
    return "it is not there"
