"""Waits on a store that fails now and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import PODS, Change, Kind, Listing
from pytest_k8s_netem.cluster import readiness
from pytest_k8s_netem.errors import ApiError, ClusterError

WITHIN = 5.0
POD = {"metadata": {"name": "late"}, "spec": {"containers": [{"name": "main", "image": "none"}]}}


class Restarting(MemoryApi):
    """Its first watch expires, and some lists after that fail."""

    failing = 3

    def __init__(self) -> None:
        super().__init__()
        self.lists, self.watches = 0, 0

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        self.lists += 1
        if 1 < self.lists <= 1 + self.failing:
            raise ApiError(0, "Unreachable", "the API server does not answer")
        return await super().list(kind, namespace, selector)

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str | None = None
    ) -> AsyncGenerator[Change, None]:
        self.watches += 1
        if self.watches == 1:
            raise ApiError(410, "Expired")
        if self.watches == 2:
            await self.create(PODS, POD, "default")
        async for change in super().watch(kind, resource_version, namespace):
            yield change


def test_a_watch_goes_on_after_lists_that_failed() -> None:
    async def scenario() -> None:
        api = Restarting()
        await readiness.made(api, PODS, "late", "default", WITHIN)
        assert (api.lists, api.watches) == (2 + Restarting.failing, 2)

    asyncio.run(scenario())


def test_a_server_that_is_away_is_not_pestered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        api = Restarting()
        monkeypatch.setattr(Restarting, "failing", 10**6)
        with pytest.raises(ClusterError, match="Pod late is not there"):
            await readiness.made(api, PODS, "late", "default", 0.5)
        assert api.lists < 50

    asyncio.run(scenario())
