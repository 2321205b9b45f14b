"""The memory store: the conformance suite, and what only a store in this process can be asked."""

from __future__ import annotations

import asyncio
from typing import Any

import api_conformance as suite
import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import NAMESPACES, TRAFFICPROFILES, Change
from pytest_k8s_netem.errors import ApiError, ConfigError
from pytest_k8s_netem.model.problem import Problem

TestObjects = suite.TestObjects
TestBindings = suite.TestBindings
TestUpdates = suite.TestUpdates
TestDeletion = suite.TestDeletion
TestWatches = suite.TestWatches
TestCascades = suite.TestCascades


@pytest.fixture
def run() -> Any:
    def run(scenario: Any) -> None:
        async def main() -> None:
            api = MemoryApi()
            await api.create(NAMESPACES, {"metadata": {"name": "here"}})
            await scenario(api, "here")
            await api.close()

        asyncio.run(main())

    return run


def profile(number: int) -> dict[str, Any]:
    return {"metadata": {"name": f"p{number}"}, "spec": {}}


def test_a_watch_that_fell_behind_is_expired() -> None:
    async def scenario() -> None:
        api = MemoryApi(history=10)
        start = (await api.list(TRAFFICPROFILES)).resource_version
        for number in range(40):
            await api.create(TRAFFICPROFILES, profile(number))
        with pytest.raises(ApiError) as caught:
            await anext(api.watch(TRAFFICPROFILES, start))
        assert (caught.value.status, caught.value.reason) == (410, "Expired")
        recent = str(int((await api.list(TRAFFICPROFILES)).resource_version) - 10)
        assert len(await suite.take(api.watch(TRAFFICPROFILES, recent), 10)) == 10

    asyncio.run(scenario())


def test_other_kinds_do_not_age_a_watch() -> None:
    async def scenario() -> None:
        api = MemoryApi(history=2)
        start = (await api.list(TRAFFICPROFILES)).resource_version
        for number in range(40):
            await api.create(NAMESPACES, {"metadata": {"name": f"n{number}"}})
        await api.create(TRAFFICPROFILES, profile(1))
        assert len(await suite.take(api.watch(TRAFFICPROFILES, start), 1)) == 1

    asyncio.run(scenario())


def test_closing_ends_watches() -> None:
    async def scenario() -> None:
        api = MemoryApi()

        async def collect() -> list[Change]:
            return [change async for change in api.watch(TRAFFICPROFILES, "0")]

        await api.create(TRAFFICPROFILES, profile(1))
        watching = asyncio.ensure_future(collect())
        await asyncio.sleep(0)
        await api.close()
        assert [change.type for change in await asyncio.wait_for(watching, 10)] == ["ADDED"]

    asyncio.run(scenario())


def test_admission_fills_in_and_refuses() -> None:
    def admit(obj: dict[str, Any], old: dict[str, Any] | None) -> None:
        if "bad" in obj["spec"]:
            raise ConfigError("no", [Problem("spec.bad", "1", "unknown field", "leave it out")])
        obj["spec"].setdefault("engine", "auto" if old is None else "changed")

    async def scenario() -> None:
        api = MemoryApi(admit={TRAFFICPROFILES: admit})
        assert (await api.create(TRAFFICPROFILES, profile(1)))["spec"] == {"engine": "auto"}
        with pytest.raises(ApiError, match=r"spec\.bad=1: unknown field; leave it out") as caught:
            await api.patch(TRAFFICPROFILES, "p1", {"spec": {"bad": 1}})
        assert (caught.value.status, caught.value.reason) == (422, "Invalid")
        assert len(caught.value.problems) == 1
        assert (await api.get(TRAFFICPROFILES, "p1"))["spec"] == {"engine": "auto"}

    asyncio.run(scenario())


def test_a_namespaced_object_needs_a_namespace() -> None:
    with pytest.raises(ApiError, match="a namespace is needed"):
        asyncio.run(MemoryApi().create(suite.PODS, suite.pod("a")))


def test_names_do_not_follow_the_tests_seed() -> None:
    import random

    async def name() -> str:
        random.seed(1)
        made = await MemoryApi().create(TRAFFICPROFILES, {"metadata": {"generateName": "p-"}, "spec": {}})
        return str(made["metadata"]["name"])

    before = random.getstate()
    names = {asyncio.run(name()) for _ in range(4)}
    random.setstate(before)
    assert len(names) > 1
