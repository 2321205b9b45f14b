"""One impairment on a store whose controller is a stand-in: what is told, and what is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.cluster import imposition as impositions
from pytest_k8s_netem.cluster.imposition import Imposition
from pytest_k8s_netem.errors import ApiError, ConfigError, NetemError, ProofError
from pytest_k8s_netem.profile.arguments import from_arguments

ERRORS = [partial(ApiError, 503, "ServiceUnavailable"), ConfigError, ProofError]


class Provider:
    def __init__(self) -> None:
        self.api: Any = MemoryApi()


def profile(delay: str) -> dict[str, Any]:
    obj = from_arguments({"delay": delay}, name="slow", namespace="shop")
    return {**obj, "metadata": {"name": "slow"}}


def imposition(provider: Any) -> Imposition:
    async def failing(_: BaseException) -> None: ...

    return Imposition(provider, "slow", profile("1ms"), failing)


@pytest.mark.parametrize("kind", ERRORS)
def test_a_change_that_cannot_be_verified_is_told_by_name_and_taken_back(
    kind: Callable[[str], NetemError], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def verified(*_: object, **__: object) -> None:
        raise kind("try again")

    async def noted(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(impositions.waiting, "verified", verified)
    monkeypatch.setattr(Imposition, "_note", noted)

    async def scenario() -> None:
        provider = Provider()
        await provider.api.create(TRAFFICPROFILES, profile("1ms"))
        one = imposition(provider)
        one.applied = True
        with pytest.raises(type(kind("")), match=r"^impairment 'slow': try again$"):
            await one.change(profile("2ms"))
        stored = await provider.api.get(TRAFFICPROFILES, "slow")
        assert stored["spec"] == profile("1ms")["spec"]

    asyncio.run(scenario())
