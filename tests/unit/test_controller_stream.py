"""Frames over a real socket pair, with a peer that answers as it likes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import Mock

import pytest

from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.controller.session import AgentSession
from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.frames import MAX_FRAME


class Peer:
    """The other end of a channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def got(self) -> dict[str, Any]:
        frame = json.loads(await asyncio.wait_for(self.reader.readline(), 10))
        assert isinstance(frame, dict)
        return frame

    def say(self, *frames: Any) -> None:
        for frame in frames:
            self.writer.write(json.dumps(frame).encode() + b"\n")


def connected(scenario: Callable[[StreamChannel, Peer], Awaitable[None]]) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        channel = await StreamChannel.over(ours, "agent of n1")
        peer = Peer(*await asyncio.open_unix_connection(sock=theirs, limit=2 * MAX_FRAME))
        async with asyncio.timeout(20):
            await scenario(channel, peer)
        await channel.close()
        peer.writer.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_answers_find_those_who_asked() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        asked = [asyncio.ensure_future(channel.request("observe", target=t)) for t in "ab"]
        frames = [await peer.got(), await peer.got()]
        assert [(f["op"], f["target"], f["v"]) for f in frames] == [("observe", "a", 1), ("observe", "b", 1)]
        peer.say({"id": 99, "ok": {}}, {"id": [], "ok": {}}, *({"id": f["id"], "ok": f} for f in reversed(frames)))
        assert [answer["target"] for answer in await asyncio.gather(*asked)] == ["a", "b"]

    connected(scenario)


def test_who_closes_it_and_is_cancelled_meanwhile_ends() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        closing = asyncio.ensure_future(channel.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    connected(scenario)


def test_problems_are_an_error() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        asked = asyncio.ensure_future(channel.request("renew", ttl=30))
        frame = await peer.got()
        assert "target" not in frame
        peer.say({"id": frame["id"], "problems": [{"path": "ttl", "value": "30", "why": "too long", "fix": "less"}]})
        with pytest.raises(ImpairmentError, match="ttl=30: too long; less") as caught:
            await asked
        assert not isinstance(caught.value, ChannelClosed)

    connected(scenario)


def test_events_are_kept_in_order() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        peer.say(*({"event": "segment", "index": index} for index in range(3)))
        events = channel.events()
        assert [(await anext(events))["index"] for _ in range(3)] == [0, 1, 2]
        peer.say({"event": "healed"})
        assert (await anext(events))["event"] == "healed"
        peer.writer.close()
        with pytest.raises(StopAsyncIteration):
            await anext(events)

    connected(scenario)


def test_the_end_of_the_stream_fails_all_who_wait() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        asked = [asyncio.ensure_future(channel.request("observe")) for _ in range(2)]
        await peer.got()
        peer.writer.close()
        for one in asked:
            with pytest.raises(ChannelClosed, match="agent of n1"):
                await one
        assert channel.closed
        with pytest.raises(ChannelClosed):
            await channel.request("observe")

    connected(scenario)


def test_a_bad_line_ends_the_stream() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        asked = asyncio.ensure_future(channel.request("observe"))
        await peer.got()
        peer.writer.write(b"{broken\n")
        with pytest.raises(ChannelClosed, match="not JSON"):
            await asked

    connected(scenario)


def test_a_frame_beyond_the_limit_is_not_sent() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        with pytest.raises(ImpairmentError, match="at most 1048576"):
            await channel.request("peers", sets="x" * MAX_FRAME)
        asked = asyncio.ensure_future(channel.request("peers", sets="x" * (MAX_FRAME - 100)))
        frame = await peer.got()
        peer.say({"id": frame["id"], "ok": {"big": "y" * (MAX_FRAME - 100)}})
        assert len((await asked)["big"]) == MAX_FRAME - 100

    connected(scenario)


def test_an_answer_that_is_none() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        asked = asyncio.ensure_future(channel.request("observe"))
        peer.say({"id": (await peer.got())["id"]})
        with pytest.raises(ImpairmentError, match="neither ok nor problems"):
            await asked

    connected(scenario)


def test_a_request_that_was_given_up_does_not_disturb() -> None:
    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.request("probe"), 0.01)
        late = await peer.got()
        asked = asyncio.ensure_future(channel.request("observe"))
        frame = await peer.got()
        peer.say({"id": late["id"], "ok": {"late": 1}}, {"id": frame["id"], "ok": {"now": 1}})
        assert await asked == {"now": 1}

    connected(scenario)


def test_a_hello_that_nobody_answers_ends_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent may take it later, and takes but one on each: another attempt needs another stream.

    That one goes on with what is in force, so this one has not been closed for good.
    """
    monkeypatch.setattr(AgentSession.request, "__defaults__", (0.05,))

    async def scenario(channel: StreamChannel, peer: Peer) -> None:
        for_good = channel.on_close = Mock()
        session = AgentSession(channel, lambda *_: None, lambda _: None)
        with pytest.raises(ImpairmentError, match=r"did not answer hello within 0\.05 s"):
            await session.hello("controller", 1)
        assert channel.closed
        assert (await peer.got())["op"] == "hello"
        assert await peer.reader.read() == b""
        for_good.assert_not_called()
        await session.close()
        for_good.assert_called_once_with()

    connected(scenario)
