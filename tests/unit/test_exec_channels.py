"""The controller's streams to agents in pods: one a pod, and none of pods that are gone."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.kube.channels import AGAIN_WITHIN, FIRST_WITHIN, ExecChannels


class Stream:
    closed = False


class Agents:
    def __init__(self) -> None:
        self.uids: set[str] = set()

    def there(self) -> set[str]:
        return self.uids


class Channels(ExecChannels):
    """Connects to nothing; keeps how long it was to be tried."""

    def __init__(self, agents: Agents) -> None:
        super().__init__(None, agents)  # type: ignore[arg-type]
        self.within: list[float] = []
        self.refuse = False

    async def _connected(self, pod: Any, within: float) -> Any:
        self.within.append(within)
        if self.refuse:
            raise ImpairmentError("no")
        return Stream()


def pod(uid: str) -> dict[str, Any]:
    return {"metadata": {"name": uid, "namespace": "default", "uid": uid}}


def test_streams_of_pods_that_are_gone_are_forgotten() -> None:
    async def scenario() -> None:
        agents = Agents()
        channels, refs = Channels(agents), []
        for number in range(20):
            agents.uids = {str(number)}
            stream = await channels.open(pod(str(number)))
            refs.append(weakref.ref(stream))
            stream.closed = True
            del stream
        channels.refuse = True
        for number in range(20, 40):
            agents.uids = {str(number)}
            with pytest.raises(ImpairmentError):
                await channels.open(pod(str(number)))
        gc.collect()
        assert [ref for ref in refs if ref() is not None] == []
        assert len(channels._locks) <= 2

    asyncio.run(scenario())


def test_a_stream_that_this_end_closed_is_not_one_that_was_lost() -> None:
    async def scenario() -> None:
        agents = Agents()
        agents.uids = {"a"}
        channels = Channels(agents)
        first = await channels.open(pod("a"))
        ref = weakref.ref(first)
        first.closed = True  # type: ignore[misc]
        first.on_close()  # type: ignore[misc]
        del first
        gc.collect()
        assert ref() is None
        await channels.open(pod("a"))
        assert channels.within == [FIRST_WITHIN, FIRST_WITHIN]

    asyncio.run(scenario())


def test_a_lost_stream_of_a_pod_that_is_there_is_tried_for_longer() -> None:
    async def scenario() -> None:
        agents = Agents()
        agents.uids = {"a", "b"}
        channels = Channels(agents)
        first = await channels.open(pod("a"))
        assert await channels.open(pod("a")) is first
        first.closed = True  # type: ignore[misc]
        await channels.open(pod("b"))
        assert await channels.open(pod("a")) is not first
        assert channels.within == [FIRST_WITHIN, FIRST_WITHIN, AGAIN_WITHIN]

    asyncio.run(scenario())
