"""A controller elsewhere as a witness here: asks its evidence server, over a channel that is opened anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from pytest_k8s_netem.controller import evidence_codec
from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.codec import WireError
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_k8s_netem.controller.evidence import Evidence
    from pytest_k8s_netem.controller.stream import StreamChannel
    from pytest_k8s_netem.model.observed import CheckObserved
    from pytest_k8s_netem.model.plan import Check
    from pytest_k8s_netem.resolve.pairs import Pair

Open = Callable[[], Awaitable["StreamChannel"]]
"""Opens a channel to the controller that leads now; raises ImpairmentError if there is none."""
ANSWER_WITHIN = 20.0
"""Seconds for evidence: the controller reads all pods back, beside each other."""
AGAIN_WITHIN = 60.0
"""Seconds in which a controller that went away is asked again: its place is taken within 40."""


class RemoteWitness:
    """Implements :class:`pytest_k8s_netem.controller.witness.Witness`.

    :param again_within: seconds in which one that went away is asked again.
    """

    def __init__(self, open_channel: Open, again_within: float = AGAIN_WITHIN) -> None:
        self._open, self._again_within = open_channel, again_within
        self._channel: StreamChannel | None = None
        self._opening = asyncio.Lock()

    async def evidence(self, profile: str) -> Evidence:
        """See :meth:`Witness.evidence`."""
        evidence: Evidence = await self._asked(evidence_codec.decode, "evidence", ANSWER_WITHIN, profile=profile)
        return evidence

    async def measure(self, checks: Mapping[str, Sequence[Check]]) -> dict[str, tuple[CheckObserved, ...]]:
        """See :meth:`Witness.measure`."""
        times = (check.count * check.interval + check.timeout for several in checks.values() for check in several)
        encoded = evidence_codec.CHECKS.encode({pod: tuple(several) for pod, several in checks.items()})
        within = ANSWER_WITHIN + max(times, default=0) / 1e9
        measured: dict[str, tuple[CheckObserved, ...]] = await self._asked(
            evidence_codec.MEASURED.decode, "measure", within, checks=encoded
        )
        return measured

    async def pairs(self, profile: str) -> tuple[Pair, ...]:
        """See :meth:`Witness.pairs`."""
        pairs: tuple[Pair, ...] = await self._asked(
            evidence_codec.PAIRS.decode, "pairs", ANSWER_WITHIN, profile=profile
        )
        return pairs

    async def state(self) -> dict[str, Any]:
        """What a run says of itself, and its TrafficProfiles.

        :raises ImpairmentError: if it cannot be asked.
        """
        state: dict[str, Any] = await self._asked(dict, "state", ANSWER_WITHIN)
        return state

    async def close(self) -> None:
        """Ask no more."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _asked(self, decode: Callable[[Any], Any], op: str, within: float, **fields: Any) -> Any:
        async for attempt in attempts(self._again_within, ChannelClosed):
            with attempt:
                try:
                    async with asyncio.timeout(within):
                        return decode(await self._whole(op, **fields))
                except TimeoutError:
                    raise ImpairmentError(f"the controller did not answer {op} within {within:g} s") from None
                except (WireError, ValueError) as error:
                    raise ImpairmentError(f"the controller answers {op} in another language: {error}") from None
        raise AssertionError("the last attempt raises")

    async def _whole(self, op: str, **fields: Any) -> Any:
        channel = await self._current()
        answer = await channel.request(op, **fields)
        text, left = str(answer["text"]), int(answer["left"])
        while left:
            answer = await channel.request("more", of=int(answer["question"]))
            text, left = text + str(answer["text"]), int(answer["left"])
        return json.loads(text)

    async def _current(self) -> StreamChannel:
        async with self._opening:
            if self._channel is None or self._channel.closed:
                self._channel = await self._open()
            return self._channel
