"""Who leads, and which runs still live: Leases in a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import LEASES, NAMESPACES, TRAFFICPROFILES
from pytest_k8s_netem.controller import holders, leadership, moments, runlease
from pytest_k8s_netem.controller.holders import Holders
from pytest_k8s_netem.controller.leadership import Leadership
from pytest_k8s_netem.controller.runlease import RunLease
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.errors import ApiError

HOME = "k8s-netem"


class Clock:
    """Both clocks of the modules under test; sleeping moves them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._allowed: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(20):
            await REAL_SLEEP(0)

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        self._allowed.append(seconds)
        yield

    async def hang(self, *_: object) -> None:
        """What does not answer: all the time that it is given passes."""
        self.now += self._allowed[-1]
        raise TimeoutError


REAL_SLEEP = asyncio.sleep


class Shadow:
    """A module, some of whose names are others."""

    def __init__(self, module: object, **others: object) -> None:
        self._module = module
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (leadership, holders, runlease):
        monkeypatch.setattr(module, "asyncio", Shadow(asyncio, sleep=made.sleep, timeout=made.timeout))
        if hasattr(module, "time"):
            monkeypatch.setattr(module, "time", Shadow(time, monotonic=made.monotonic))
    return made


def play(scenario: Callable[[MemoryApi], Awaitable[None]]) -> None:
    async def main() -> None:
        api = MemoryApi()
        await api.create(NAMESPACES, {"metadata": {"name": HOME}})
        async with asyncio.timeout(20):
            await scenario(api)
        await api.close()

    asyncio.run(main())


def candidate(api: MemoryApi, name: str) -> Leadership:
    return Leadership(api, HOME, "controller", name)


def test_the_first_leads_and_the_same_identity_again() -> None:
    async def scenario(api: MemoryApi) -> None:
        assert await candidate(api, "a").acquire() == 1
        assert await candidate(api, "a").acquire() == 1, "its container was started anew"
        spec = (await api.get(LEASES, "controller", HOME))["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("a", 1)

    play(scenario)


def test_a_dead_leader_is_followed_after_its_lease_and_not_before(clock: Clock) -> None:
    async def scenario(api: MemoryApi) -> None:
        await candidate(api, "a").acquire()
        began = clock.now
        assert await candidate(api, "b").acquire() == 2
        assert clock.now - began > leadership.HELD_FOR

    play(scenario)


def test_a_leader_that_goes_in_order_is_followed_at_once(clock: Clock) -> None:
    async def scenario(api: MemoryApi) -> None:
        first = candidate(api, "a")
        await first.acquire()
        await first.release()
        began = clock.now
        assert await candidate(api, "b").acquire() == 2
        assert clock.now == began
        await first.release()
        assert (await api.get(LEASES, "controller", HOME))["spec"]["holderIdentity"] == "b"

    play(scenario)


def test_who_is_deposed_stops(clock: Clock) -> None:
    async def scenario(api: MemoryApi) -> None:
        first = candidate(api, "a")
        await first.acquire()
        holding = asyncio.ensure_future(first.hold())
        await api.patch(LEASES, "controller", {"spec": {"holderIdentity": "b"}}, HOME)
        await holding

    play(scenario)


def test_who_cannot_renew_stops_before_another_can_lead(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(api: MemoryApi) -> None:
        first = candidate(api, "a")
        await first.acquire()
        began = clock.now

        async def away(*_: object, **__: object) -> None:
            raise ApiError(0, "Unreachable", "no answer")

        monkeypatch.setattr(api, "get", away)
        await first.hold()
        assert leadership.RENEW_WITHIN <= clock.now - began < leadership.HELD_FOR

    play(scenario)


def test_one_request_that_hangs_does_not_depose(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(api: MemoryApi) -> None:
        first = candidate(api, "a")
        await first.acquire()
        before = (await api.get(LEASES, "controller", HOME))["spec"]["renewTime"]
        with monkeypatch.context() as hanging:
            hanging.setattr(api, "get", clock.hang)
            holding = asyncio.ensure_future(first.hold())
            began = clock.now
            while clock.now < began + leadership.RETRY_EVERY + leadership.ANSWERED_WITHIN:
                await REAL_SLEEP(0)
        while (await api.get(LEASES, "controller", HOME))["spec"]["renewTime"] == before:
            assert not holding.done(), "it stepped down"
            await REAL_SLEEP(0)
        holding.cancel()

    play(scenario)


async def profile(api: MemoryApi, name: str, lease: str = "") -> None:
    spec = {"egress": [{}], "impairment": {"delay": "1ms"}, **({"lease": lease} if lease else {})}
    await api.create(TRAFFICPROFILES, {"metadata": {"name": name}, "spec": spec})


async def names(api: MemoryApi) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in (await api.list(TRAFFICPROFILES)).items)


async def followed(api: MemoryApi, scenario: Callable[[Holders], Awaitable[None]]) -> None:
    runtime = Runtime(api)
    following = Holders(runtime)
    await runtime.start()
    await scenario(following)
    await following.stop()
    await runtime.stop()


def test_profiles_go_when_their_run_has_stopped_to_renew(clock: Clock) -> None:
    async def scenario(api: MemoryApi) -> None:
        lease = RunLease(api, HOME, "run-1", {"k8s-netem.riasc.eu/run": "1"})
        await lease.start()
        await profile(api, "a", lease.key)
        await profile(api, "b", lease.key)
        await profile(api, "forever")

        async def watched(_: Holders) -> None:
            renewing, lease._task = lease._task, None
            for _ in range(60):
                await REAL_SLEEP(0)
            assert await names(api) == ["a", "b", "forever"], "it is renewed"
            renewing.cancel()
            died = clock.now
            while await names(api) != ["forever"]:
                await REAL_SLEEP(0)
            assert 30 < clock.now - died <= 33

        await followed(api, watched)

    play(scenario)


@pytest.mark.parametrize("error", [None, ApiError(503, "ServiceUnavailable"), ValueError("the token file is empty")])
def test_a_renewal_that_fails_is_tried_again_soon(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    async def scenario(api: MemoryApi) -> None:
        patch, at = api.patch, []

        async def patched(*args: object, **more: object) -> object:
            at.append(clock.now)
            if len(at) > 1:
                return await patch(*args, **more)  # type: ignore[arg-type]
            if error is None:
                await clock.hang()
            raise error or TimeoutError

        monkeypatch.setattr(api, "patch", patched)
        lease = RunLease(api, HOME, "run-1", {})
        await lease.start()
        before = (await api.get(LEASES, "run-1", HOME))["spec"]["renewTime"]
        while (await api.get(LEASES, "run-1", HOME))["spec"]["renewTime"] == before:
            assert not lease._task.done()
            await REAL_SLEEP(0)
        assert at[1] - at[0] <= runlease.ANSWERED_WITHIN + runlease.AGAIN_AFTER
        await lease.stop()

    play(scenario)


def test_a_controller_that_takes_over_gives_a_dead_run_no_whole_lease_more(clock: Clock) -> None:
    """What was renewed 25 s ago, by its own word, is waited for as long as who lives needs to renew it."""

    async def scenario(api: MemoryApi) -> None:
        spec = {"leaseDurationSeconds": 30, "renewTime": moments.microtime(time.time() - 25)}
        await api.create(LEASES, {"metadata": {"name": "run-1"}, "spec": spec}, HOME)
        await profile(api, "a", f"{HOME}/run-1")

        async def watched(_: Holders) -> None:
            began = clock.now
            while await names(api):
                await REAL_SLEEP(0)
            assert holders.GRACE < clock.now - began <= holders.GRACE + 3

        await followed(api, watched)

    play(scenario)


def test_a_lease_that_could_not_be_read_is_waited_for_anew(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the API server is out of reach, a run that lives cannot renew its lease either."""

    async def scenario(api: MemoryApi) -> None:
        spec = {"leaseDurationSeconds": 30, "renewTime": moments.microtime()}
        await api.create(LEASES, {"metadata": {"name": "run-1"}, "spec": spec}, HOME)
        await profile(api, "a", f"{HOME}/run-1")
        reached, away = api.get, clock.now + 60

        async def get(*args: object) -> object:
            if 1010 < clock.now < away:
                raise ApiError(0, "Unreachable")
            return await reached(*args)  # type: ignore[arg-type]

        async def watched(_: Holders) -> None:
            monkeypatch.setattr(api, "get", get)
            while clock.now < away + 5:
                await REAL_SLEEP(0)
            assert await names(api) == ["a"]
            while await names(api):
                await REAL_SLEEP(0)
            assert clock.now <= away + 33

        await followed(api, watched)

    play(scenario)


def test_a_lease_that_is_nowhere_ends_as_one_that_is_not_renewed(clock: Clock) -> None:
    async def scenario(api: MemoryApi) -> None:
        await profile(api, "a", f"{HOME}/nobody")

        async def watched(_: Holders) -> None:
            began = clock.now
            while await names(api):
                await REAL_SLEEP(0)
            assert 30 < clock.now - began <= 33

        await followed(api, watched)

    play(scenario)


def test_a_run_that_ends_in_order_leaves_no_lease() -> None:
    async def scenario(api: MemoryApi) -> None:
        lease = RunLease(api, HOME, "run-1", {})
        await lease.stop()
        await lease.start()
        assert moments.unix((await api.get(LEASES, "run-1", HOME))["spec"]["renewTime"]) is not None
        await lease.stop()
        await lease.stop()
        assert (await api.list(LEASES, HOME)).items == []

    play(scenario)
