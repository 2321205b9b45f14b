"""The owner's session with one agent: what it serves, what it has been told, what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.codec import WireError, many
from pytest_k8s_netem.model.greeting import CAPABILITIES, INTERFACE
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.resolve.world import TargetFacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_k8s_netem.controller.channel import Channel
    from pytest_k8s_netem.model.capabilities import Capabilities

ANSWER_WITHIN = 10.0
"""Seconds for an answer that needs no waiting on the agent's side; it blocks for 50 ms at most."""
PORTION = 10_000
"""Ranges of peers a frame: an IPv6 range is at most 70 bytes of JSON, so that stays below frames.MAX_FRAME."""

_INTERFACES = many(INTERFACE)


class Unanswered(ImpairmentError):
    """The agent has not answered in time; it may yet do what it was asked."""


class AgentSession:
    """One channel, after its hello.

    :ivar facts: by target name, what the agent said of it; absent = it does not serve that target (any more).
    :ivar lost: why the session has ended, "" while it lives.
    """

    def __init__(
        self,
        channel: Channel,
        on_event: Callable[[AgentSession, dict[str, Any]], None],
        on_lost: Callable[[AgentSession], None],
    ) -> None:
        self.channel = channel
        self.facts: dict[str, TargetFacts] = {}
        self.lost = ""
        self._on_event = on_event
        self._on_lost = on_lost
        self._known: set[str] = set()
        self._news = asyncio.Condition()
        self._capabilities: Capabilities | None = None
        self._task: asyncio.Task[None] | None = None

    async def hello(self, identity: str, epoch: int) -> None:
        """Become the owner.

        :raises ImpairmentError: if the agent is another controller's, or speaks otherwise. :raises Unanswered: if it
            says nothing; the channel is closed then, for an agent takes one hello on each.
        """
        try:
            answer = await self.request("hello", role="owner", identity=identity, epoch=epoch)
        except Unanswered:
            await self.channel.abandon()
            raise
        try:
            self._capabilities = CAPABILITIES.decode(answer.get("capabilities"), "capabilities")
            for name, interfaces in dict(answer.get("targets") or {}).items():
                self._serve(name, interfaces)
        except (WireError, TypeError, ValueError) as error:
            raise ImpairmentError(f"the agent answers hello in another language: {error}") from None
        self._task = asyncio.get_running_loop().create_task(self._listen(), name="events of an agent")

    async def request(self, op: str, within: float = ANSWER_WITHIN, **fields: Any) -> dict[str, Any]:
        """Ask the agent.

        :raises ImpairmentError: with its problems, or if it does not answer in time. :raises ChannelClosed: likewise.
        """
        try:
            async with asyncio.timeout(within):
                return await self.channel.request(op, **fields)
        except TimeoutError:
            await self.channel.unanswered()
            raise Unanswered(f"the agent did not answer {op} within {within:g} s") from None
        except ChannelClosed:
            await self._lose()
            raise

    async def tell_peers(self, sets: Mapping[str, PeerSet]) -> None:
        """Make sets known to the agent; those it knows already are not sent again."""
        for digest, peers in sets.items():
            if digest in self._known:
                continue
            for frame in _portions(peers):
                await self.request("peers", sets=frame)
            self._known.add(digest)

    async def serves(self, target: str, within: float) -> TargetFacts:
        """What the agent says of a target, once it serves it.

        :raises ImpairmentError: if it does not in time.
        """
        try:
            async with asyncio.timeout(within), self._news:
                await self._news.wait_for(lambda: target in self.facts or bool(self.lost))
        except TimeoutError:
            raise ImpairmentError(f"the agent does not serve {target}") from None
        if target not in self.facts:
            raise ChannelClosed(self.lost)
        return self.facts[target]

    async def close(self) -> None:
        """End the session; the agent heals what it owns."""
        self.lost = self.lost or "closed by the controller"
        await self.channel.close()  # first: nobody is to be given a channel whose session has ended
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        async for event in self.channel.events():
            if event.get("event") == "target":
                self._serve(str(event.get("target")), event.get("interfaces"))
                async with self._news:
                    self._news.notify_all()
            self._on_event(self, event)
        await self._lose()

    async def _lose(self) -> None:
        """The stream has ended; told once, by whoever finds out first."""
        if not self.lost:
            self.lost = "its stream has ended"
            self._on_lost(self)
            async with self._news:
                self._news.notify_all()

    def _serve(self, name: str, interfaces: Any) -> None:
        if interfaces and self._capabilities is not None:
            self.facts[name] = TargetFacts(self._capabilities, _INTERFACES.decode(interfaces, "interfaces"))
        else:
            self.facts.pop(name, None)


def _portions(peers: PeerSet) -> Iterator[dict[str, Any]]:
    """``sets`` of one or several ``peers`` frames: the first set whole, each later one as what it adds."""
    items = [(4, pair) for pair in peers.v4] + [(6, pair) for pair in peers.v6]
    before: PeerSet | None = None
    for start in range(0, max(len(items), 1), PORTION):
        part = items[: start + PORTION]
        now = PeerSet(*(Ranges(tuple(pair for family, pair in part if family == wanted)) for wanted in (4, 6)))
        yield {now.digest: now.to_wire() if before is None else now.delta(before)}
        before = now
