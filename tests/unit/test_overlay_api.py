"""One namespace of pods from a store of this process, in front of another store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.overlay import OverlayApi
from pytest_k8s_netem.api.protocol import NAMESPACES, PODS
from pytest_k8s_netem.controller.informer import Informer
from pytest_k8s_netem.errors import ApiError


class Stores:
    def __init__(self) -> None:
        self.here, self.there = MemoryApi(), MemoryApi(history=4)
        self.api = OverlayApi(self.here, self.there, PODS, "container")


def with_stores(scenario: Callable[[Stores], Awaitable[None]]) -> None:
    async def main() -> None:
        stores = Stores()
        await stores.here.create(NAMESPACES, {"metadata": {"name": "container"}})
        async with asyncio.timeout(20):
            await scenario(stores)
        await stores.api.close()

    asyncio.run(main())


def pod(name: str, app: str = "web") -> dict[str, Any]:
    spec = {"nodeName": "n", "containers": [{"name": "main", "image": "none"}]}
    return {"metadata": {"name": name, "labels": {"app": app}}, "spec": spec}


def test_each_object_goes_where_it_belongs() -> None:
    async def scenario(stores: Stores) -> None:
        api = stores.api
        await api.create(PODS, pod("redis"), "container")
        await api.create(PODS, pod("redis"), "default")
        await api.patch(PODS, "redis", {"status": {"phase": "Running"}}, "container", "status")
        assert (await stores.here.get(PODS, "redis", "container"))["status"]["phase"] == "Running"
        assert (await api.get(PODS, "redis", "default"))["status"]["phase"] == "Pending"
        await api.replace(PODS, await api.get(PODS, "redis", "container"))
        await api.delete(PODS, "redis", "container", grace=0)
        assert [one["metadata"]["namespace"] for one in (await api.list(PODS)).items] == ["default"]
        assert [one["metadata"]["name"] for one in (await api.list(NAMESPACES)).items] == ["default"]

    with_stores(scenario)


def test_a_listing_has_both() -> None:
    async def scenario(stores: Stores) -> None:
        await stores.here.create(PODS, pod("redis", "db"), "container")
        await stores.there.create(PODS, pod("web"), "default")
        every = (await stores.api.list(PODS)).items
        assert {one["metadata"]["name"] for one in every} == {"redis", "web"}
        assert [one["metadata"]["name"] for one in (await stores.api.list(PODS, None, "app=db")).items] == ["redis"]
        assert [one["metadata"]["name"] for one in (await stores.api.list(PODS, "container")).items] == ["redis"]

    with_stores(scenario)


def test_a_watch_tells_of_both() -> None:
    async def scenario(stores: Stores) -> None:
        await stores.there.create(PODS, pod("before"), "default")
        version = (await stores.api.list(PODS)).resource_version
        async with aclosing(stores.api.watch(PODS, version)) as changes:
            await stores.here.create(PODS, pod("redis"), "container")
            await stores.there.create(PODS, pod("web"), "default")
            assert {(await anext(changes)).object["metadata"]["name"] for _ in range(2)} == {"redis", "web"}
        async with aclosing(stores.api.watch(PODS, "0")) as changes:
            names = {(await anext(changes)).object["metadata"]["name"] for _ in range(3)}
            assert names == {"before", "redis", "web"}

    with_stores(scenario)


def test_one_that_fell_behind_ends_both() -> None:
    async def scenario(stores: Stores) -> None:
        version = (await stores.api.list(PODS)).resource_version
        for number in range(20):
            await stores.there.create(PODS, pod(f"web-{number}"), "default")
        with pytest.raises(ApiError) as caught:
            await anext(stores.api.watch(PODS, version))
        assert caught.value.status == 410

    with_stores(scenario)


def test_an_informer_follows_both() -> None:
    async def scenario(stores: Stores) -> None:
        informer = Informer(stores.api, PODS)
        following = asyncio.create_task(informer.run())
        await informer.synced.wait()
        await stores.here.create(PODS, pod("redis"), "container")
        for number in range(20):  # more than the other store remembers: it is listed anew
            await stores.there.create(PODS, pod(f"web-{number}"), "default")
        while len(informer.objects) < 21:
            await asyncio.sleep(0.01)
        await stores.here.delete(PODS, "redis", "container", grace=0)
        while "container/redis" in informer.objects:
            await asyncio.sleep(0.01)
        following.cancel()

    with_stores(scenario)
