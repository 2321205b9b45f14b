"""Informers, the work queue and the runtime, over the memory store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import NODES, Change, Kind, Listing
from pytest_k8s_netem.api.watching import Watch
from pytest_k8s_netem.controller import informer as informers
from pytest_k8s_netem.controller.informer import Informer
from pytest_k8s_netem.controller.queue import WorkQueue
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.run.retry import attempts, backoff, blocking_attempts


def node(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def in_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


class Flaky(MemoryApi):
    """A store whose watches end with an error after each change, and whose listing fails at first."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status
        self.lists = 0

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        self.lists += 1
        if self.lists == 1:
            raise ApiError(503, "ServiceUnavailable")
        return await super().list(kind, namespace, selector)

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str | None = None
    ) -> AsyncGenerator[Change, None]:
        async for change in super().watch(kind, resource_version, namespace):
            yield change
            raise ApiError(self.status, "Expired")


@pytest.mark.parametrize("status", [410, 500])
def test_an_informer_survives_lost_watches(status: int) -> None:
    async def scenario() -> None:
        api = Flaky(status)
        informer = Informer(api, NODES)
        seen: list[tuple[str, bool, bool]] = []
        informer.subscribe(lambda key, old, new: seen.append((key, old is not None, new is not None)))
        task = asyncio.ensure_future(informer.run())
        await informer.synced.wait()
        await api.create(NODES, node("a"))
        await until(lambda: "a" in informer.objects)
        await api.patch(NODES, "a", {"metadata": {"labels": {"x": "y"}}})
        await api.create(NODES, node("b"))
        await until(lambda: "b" in informer.objects)
        await api.delete(NODES, "a")
        await until(lambda: "a" not in informer.objects)
        assert seen == [("a", False, True), ("a", True, True), ("b", False, True), ("a", True, False)]
        assert api.lists > 2
        task.cancel()

    in_loop(scenario)


class Refusing(MemoryApi):
    """A store whose first listings and watches fail."""

    def __init__(self, lists: list[Exception], watches: list[Exception]) -> None:
        super().__init__()
        self.lists, self.watches = lists, watches

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        if self.lists:
            raise self.lists.pop(0)
        return await super().list(kind, namespace, selector)

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str | None = None
    ) -> AsyncGenerator[Change, None]:
        if self.watches:
            raise self.watches.pop(0)
        async for change in super().watch(kind, resource_version, namespace):
            yield change


def test_an_informer_survives_whatever_fails(caplog: pytest.LogCaptureFixture) -> None:
    """As when the file with the token is empty for a moment, or a proxy answers in its own words."""

    async def scenario() -> None:
        api = Refusing([ValueError("no token"), OSError("no file")], [KeyError("metadata"), ValueError("no JSON")])
        informer = Informer(api, NODES)
        task = asyncio.ensure_future(informer.run())
        await until(lambda: not api.watches)
        await api.create(NODES, node("a"))
        await until(lambda: "a" in informer.objects)
        task.cancel()

    in_loop(scenario)
    assert [what for what in ("no token", "no file", "metadata", "no JSON") if what not in caplog.text] == []


@pytest.mark.parametrize("status", [410, 429, 503])
def test_an_informer_whose_watch_is_refused_waits_longer_and_longer(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    waits: list[int] = []

    def recorded(failures: int) -> float:
        waits.append(failures)
        return 0.0

    monkeypatch.setattr(informers, "backoff", recorded)

    async def scenario() -> None:
        api = Refusing([], [ApiError(status, "Refused")] * 8)
        informer = Informer(api, NODES)
        task = asyncio.ensure_future(informer.run())
        await until(lambda: not api.watches)
        await api.create(NODES, node("a"))
        await until(lambda: "a" in informer.objects)
        task.cancel()

    in_loop(scenario)
    assert waits == [*range(2 if status == 410 else 1, 9)], "only the first 410 is the watch's own age"


def test_a_watch_whose_thread_fails_says_so() -> None:
    """Else whoever waits for the next change waits for ever."""

    async def scenario() -> None:
        def opened(_: str) -> Any:
            raise ValueError("the token file is empty")

        watch = Watch(opened, "1", "nodes")
        async with asyncio.timeout(10):
            with pytest.raises(ApiError, match="watch of nodes: ValueError: the token file is empty"):
                await watch.next()

    in_loop(scenario)


def test_an_object_made_anew_between_two_listings_is_told_as_two_changes() -> None:
    async def scenario() -> None:
        api = Flaky(410)
        informer = Informer(api, NODES)
        await api.create(NODES, node("a"))
        task = asyncio.ensure_future(informer.run())
        await informer.synced.wait()
        seen: list[tuple[bool, bool]] = []
        informer.subscribe(lambda key, old, new: seen.append((old is not None, new is not None)))
        await api.create(NODES, node("other"))
        await api.delete(NODES, "a")
        await api.create(NODES, node("a"))
        await until(lambda: len(seen) >= 4)
        assert (True, False) in seen
        assert (True, True) not in seen
        task.cancel()

    in_loop(scenario)


def test_indexes_follow() -> None:
    async def scenario() -> None:
        api = MemoryApi()
        runtime = Runtime(api)
        informer = runtime.informer(NODES)
        assert runtime.informer(NODES) is informer
        informer.index("zone", lambda obj: [obj["metadata"]["labels"].get("zone", "")])
        await api.create(NODES, node("a", zone="x"))
        await runtime.start()
        await api.create(NODES, node("b", zone="x"))
        await until(lambda: informer.indexed("zone", "x") == {"a", "b"})
        await api.patch(NODES, "a", {"metadata": {"labels": {"zone": "y"}}})
        await api.delete(NODES, "b")
        await until(lambda: informer.indexed("zone", "y") == {"a"} and not informer.indexed("zone", "x"))
        await runtime.stop()

    in_loop(scenario)


def test_a_key_is_in_work_once() -> None:
    async def scenario() -> None:
        queue = WorkQueue()
        queue.add("a")
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        second = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not second.done()
        queue.done("a")
        assert await second == "a"
        queue.done("a")

    in_loop(scenario)


def test_the_earliest_timer_counts() -> None:
    async def scenario() -> None:
        queue = WorkQueue()
        queue.add_after("a", 60)
        queue.add_after("a", 0)
        queue.add_after("a", 60)
        assert await asyncio.wait_for(queue.get(), 10) == "a"
        queue.close()

    in_loop(scenario)


def test_failures_come_back_until_they_succeed() -> None:
    async def scenario() -> None:
        tried: list[str] = []

        async def reconcile(key: str) -> None:
            tried.append(key)
            if len(tried) < 3:
                raise ApiError(409, "Conflict")

        runtime = Runtime(MemoryApi())
        controller = runtime.controller("test", reconcile)
        await runtime.start()
        controller.queue.add("a")
        await until(lambda: len(tried) == 3)
        await asyncio.sleep(0.1)
        assert tried == ["a"] * 3
        await runtime.stop()

    in_loop(scenario)


def test_a_controller_that_asks_for_another_look_gets_it() -> None:
    async def scenario() -> None:
        tried: list[str] = []

        async def reconcile(key: str) -> float | None:
            tried.append(key)
            return 0.001 if len(tried) == 1 else None

        runtime = Runtime(MemoryApi())
        await runtime.start()
        runtime.controller("test", reconcile).queue.add("a")
        await until(lambda: len(tried) == 2)
        await runtime.stop()

    in_loop(scenario)


def test_stopping_leaves_no_task() -> None:
    async def scenario() -> None:
        runtime = Runtime(MemoryApi())
        runtime.informer(NODES)
        await runtime.start()
        await runtime.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    in_loop(scenario)


def test_backoff_grows_to_its_bound() -> None:
    waits = [backoff(failures, first=0.1, most=2) for failures in (1, 2, 3, 10, 1000)]
    assert waits == sorted(waits)[:3] + waits[3:]
    assert 0.09 <= waits[0] <= 0.1
    assert all(1.8 <= wait <= 2 for wait in waits[3:])


def fails(error: OSError | ValueError, tried: list[int], **policy: Any) -> None:
    for attempt in blocking_attempts(60, OSError, first=0.001, **policy):
        with attempt:
            tried.append(1)
            raise error


def test_attempts_end_with_the_last_error() -> None:
    tried: list[int] = []
    with pytest.raises(OSError, match="refused"):
        fails(OSError("refused"), tried, tries=3)
    assert len(tried) == 3
    with pytest.raises(ValueError, match="at once"):
        fails(ValueError("at once"), tried)
    assert len(tried) == 4


def test_attempts_end_at_the_deadline() -> None:
    tried: list[int] = []

    async def scenario() -> None:
        async for attempt in attempts(1, OSError, first=0.001, most=0.01):
            with attempt:
                tried.append(1)
                raise OSError("late")

    with pytest.raises(OSError, match="late"):
        in_loop(scenario)
    assert len(tried) > 1
