"""One impairment on a store whose controller is a stand-in: what is told, and what is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES, Kind, Object
from pytest_k8s_netem.cluster import imposition as impositions
from pytest_k8s_netem.cluster.imposition import Imposition, abandon_all, begin_all
from pytest_k8s_netem.controller.evidence import Evidence, PodEvidence
from pytest_k8s_netem.errors import ApiError, ConfigError, NetemError, ProofError, TeardownError
from pytest_k8s_netem.judge.effect import Effect
from pytest_k8s_netem.model.observed import Observed
from pytest_k8s_netem.model.plan import Plan
from pytest_k8s_netem.profile.arguments import from_arguments

ERRORS = [partial(ApiError, 503, "ServiceUnavailable"), ConfigError, ProofError]


class Provider:
    def __init__(self) -> None:
        self.api: Any = MemoryApi()
        self.witness: Any = None


class Witness:
    """Saw seven packets, whenever it is asked."""

    async def evidence(self, _profile: str) -> Evidence:
        return Evidence({"shop/web": PodEvidence(Plan("shop/web"), Observed("shop/web"), {}, Effect(packets=7))})


class Slow(MemoryApi):
    """Makes an object whoever waits for the answer, as a thread that has sent a request does."""

    def __init__(self, refusing: bool = False) -> None:
        super().__init__()
        self.refusing, self.asked, self.go = refusing, asyncio.Event(), asyncio.Event()

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        async def work() -> Object:
            self.asked.set()
            await self.go.wait()
            if self.refusing:
                raise ApiError(422, "Invalid")
            return await super(Slow, self).create(kind, obj, namespace)

        return await asyncio.shield(asyncio.ensure_future(work()))


def profile(delay: str, name: str = "slow") -> dict[str, Any]:
    obj = from_arguments({"delay": delay}, name=name, namespace="shop")
    return {**obj, "metadata": {"name": name}}


def imposition(provider: Any, name: str = "slow") -> Imposition:
    async def failing(_: BaseException) -> None: ...

    return Imposition(provider, name, profile("1ms", name), failing)


async def stored(provider: Provider) -> list[str]:
    return [one["metadata"]["name"] for one in (await provider.api.list(TRAFFICPROFILES)).items]


class Verifying:
    """In place of a controller: profiles that are called "quick" are verified at once, others never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def noted(*_: object, **__: object) -> None: ...

        self.waits = asyncio.Event()
        monkeypatch.setattr(impositions.waiting, "verified", self._verified)
        monkeypatch.setattr(Imposition, "_note", noted)

    async def _verified(self, api: object, name: str, *_: object, **__: object) -> None:
        if name != "quick":
            self.waits.set()
            await asyncio.Event().wait()


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


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


@pytest.mark.parametrize("heard", [False, True])
def test_what_was_met_before_a_refused_change_is_counted_once(heard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller begins a new sum with each generation, so what it said of the one before counts as well."""

    async def verified(*_: object, **__: object) -> None:
        if heard:
            raise ProofError("try again")

    monkeypatch.setattr(impositions.waiting, "verified", verified)

    async def scenario() -> None:
        provider = Provider()
        made = await provider.api.create(TRAFFICPROFILES, profile("1ms"))
        patch, refusals = provider.api.patch, [] if heard else [ApiError(403, "Forbidden", "no")]

        async def refusing(*given: Any) -> Object:
            if refusals:
                raise refusals.pop()
            changed: Object = await patch(*given)
            return changed

        provider.api.patch = refusing
        provider.witness = Witness()
        one = imposition(provider)
        one.applied, one._generation = True, made["metadata"]["generation"]
        with pytest.raises(NetemError):
            await one.change(profile("2ms"))
        await one.conclude()
        assert one.record.effect.packets == (14 if heard else 7)
        assert one.record.problems == []

    asyncio.run(scenario())


def test_who_is_cancelled_while_it_begins_takes_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        verifying, provider = Verifying(monkeypatch), Provider()
        one = imposition(provider)
        task = asyncio.create_task(one.begin())
        await verifying.waits.wait()
        assert await stored(provider) == ["slow"]
        await cancelled(task)
        assert (await stored(provider), one.applied) == ([], False)

    asyncio.run(scenario())


@pytest.mark.parametrize("refusing", [False, True])
def test_who_is_cancelled_before_the_store_answers_takes_it_back(
    refusing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        Verifying(monkeypatch)
        provider = Provider()
        provider.api = api = Slow(refusing)
        one = imposition(provider)
        task = asyncio.create_task(one.begin())
        await api.asked.wait()
        task.cancel()
        abandoned = asyncio.create_task(abandon_all([one]))
        await asyncio.wait([task, abandoned], timeout=0.05)
        assert not abandoned.done(), "it waits for what is under way"
        api.go.set()
        await abandoned
        assert (await stored(provider), one.applied) == ([], False)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_who_is_cancelled_while_several_begin_takes_all_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        verifying, provider = Verifying(monkeypatch), Provider()
        both = [imposition(provider, "quick"), imposition(provider, "slow")]
        task = asyncio.create_task(begin_all(both))
        await verifying.waits.wait()
        while not both[0].applied:
            await asyncio.sleep(0)
        await cancelled(task)
        assert (await stored(provider), [one.applied for one in both]) == ([], [False, False])

    asyncio.run(scenario())


def test_what_is_abandoned_is_healed_whatever_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        verifying, provider = Verifying(monkeypatch), Provider()
        quick, slow, idle = (imposition(provider, name) for name in ("quick", "slow", "idle"))
        await quick.begin()
        task = asyncio.create_task(slow.begin())
        await verifying.waits.wait()
        assert await stored(provider) == ["quick", "slow"]
        await abandon_all([quick, slow, idle])
        assert (await stored(provider), quick.applied, slow.applied) == ([], False, False)
        with pytest.raises(asyncio.CancelledError):
            await task
        await abandon_all([quick, slow, idle])

    asyncio.run(scenario())


def test_a_healing_that_was_cancelled_is_done_when_it_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        Verifying(monkeypatch)
        provider = Provider()
        quick = imposition(provider, "quick")
        await quick.begin()
        delete = provider.api.delete

        async def hangs(*_: object) -> None:
            await asyncio.Event().wait()

        provider.api.delete = hangs
        task = asyncio.create_task(quick.heal())
        while quick.applied:
            await asyncio.sleep(0)
        await cancelled(task)
        assert await stored(provider) == ["quick"]
        provider.api.delete = delete
        await quick.abandon()
        assert await stored(provider) == []

    asyncio.run(scenario())


def test_what_cannot_begin_nor_be_healed_says_why_before_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> None:
        raise ProofError("the controller failed")

    async def stays(*_: Any) -> None:
        raise TeardownError("TrafficProfile slow was not healed within 15 s")

    monkeypatch.setattr(impositions.waiting, "verified", never)
    monkeypatch.setattr(impositions.waiting, "gone", stays)
    with pytest.raises(TeardownError) as told:
        asyncio.run(imposition(Provider()).begin())
    assert str(told.value).splitlines() == [
        "impairment 'slow': the controller failed",
        "TrafficProfile slow was not healed within 15 s",
    ]
