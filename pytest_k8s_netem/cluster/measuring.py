"""Assertions of a handle: measure every (pod, peer) pair by probes, judge, name the worst."""

from __future__ import annotations

import math
import operator
import statistics
from dataclasses import replace

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.judge.measure import Measured, judge_loss, judge_rate, judge_rtt
from pytest_k8s_netem.model.impairment import MILLISECOND
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.profile.findings import refusal
from pytest_k8s_netem.profile.units import format_rate, parse_duration, parse_rate, parse_share
from pytest_k8s_netem.resolve.objects import CONTAINERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_k8s_netem.cluster.imposition import Imposition
    from pytest_k8s_netem.cluster.provider import Provider
    from pytest_k8s_netem.model.observed import CheckObserved
    from pytest_k8s_netem.resolve.pairs import Pair

MEDIAN_OF, P99_OF = 51, 300
"""Round trips measured for a median, and for a 99th percentile."""
FASTEST = 100_000_000
"""Bit/s that probes see: they leave one by one, and no faster than a busy machine sends them."""
TRAIN, TRAIN_SIZE = 40, 1400
"""Packets sent back to back to measure a rate, at least, and their payload in bytes."""
TRAINS = 3
"""Trains of which one must be right: a machine is busy for a moment, a wrong rate is wrong each time."""
TRAIN_LASTS = 0.02
"""Seconds that a train is to take, so that a machine that is busy for a moment makes little difference."""
FRAME = 14 + 20 + 8
"""Bytes of Ethernet, IPv4 and ICMP headers, all of which a rate serialises."""
TOLERANCE = 0.1
"""By how much a measured rate may differ from the one that is asserted."""


class Measuring:
    """Measures through the agents' probes, which are never counted as the test's traffic."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def assert_rtt(
        self, imposition: Imposition, *, median: str | tuple[str, str] | None = None, p99: object = None
    ) -> None:
        """Round trip times within bounds.

        :raises AssertionError: naming the worst pair. :raises ConfigError: for bounds that cannot be read.
        """
        bounds = {
            name: _within(value, name, parse_duration, single=lambda most: (0.0, most))
            for name, value in (("median", median), ("p99", p99))
            if value is not None
        }
        if not bounds:
            raise ConfigError('assert_rtt needs median=("100ms", "140ms") or p99="200ms"')
        count = P99_OF if "p99" in bounds else MEDIAN_OF
        measured = await self._measured(imposition, count, 5 * MILLISECOND)
        _demand(judge_rtt(measured, **bounds))

    async def assert_loss(self, imposition: Imposition, share: str | tuple[str, str]) -> None:
        """Share of round trips lost, as precisely as some thousand probes can tell.

        :raises AssertionError: naming the worst pair. :raises ConfigError: for a share that cannot be read.
        """
        wanted = _within(share, "share", parse_share, single=lambda exactly: (exactly, exactly))
        least = min((part for part in wanted if part > 0), default=0.01)
        count = min(4000, max(400, math.ceil(40 / least)))
        measured = await self._measured(imposition, count, MILLISECOND // 4)
        _demand(judge_loss(measured, wanted))

    async def assert_rate(self, imposition: Imposition, rate: str | tuple[str, str]) -> None:
        """Rate at which full-size packets come back when they are sent all at once.

        :raises AssertionError: naming the worst pair.
        :raises ConfigError: for a rate that cannot be read, or is above :data:`FASTEST`.
        """
        wanted = _within(rate, "rate", parse_rate, single=lambda bits: (bits * (1 - TOLERANCE), bits * (1 + TOLERANCE)))
        if wanted[0] > FASTEST:
            why = f"probes see no more than {format_rate(FASTEST)}"
            raise refusal("rate", rate, why, "let programs of the test measure it")
        bits = (TRAIN_SIZE + FRAME) * 8
        count = max(TRAIN, math.ceil(wanted[0] * TRAIN_LASTS / bits))
        longer = int(count * bits / wanted[0] * 1e9)
        for _ in range(TRAINS):
            measured = await self._measured(imposition, count, 0, size=TRAIN_SIZE, longer=longer)
            if not (problems := judge_rate(measured, wanted)):
                return
        _demand(problems)

    async def _measured(
        self, imposition: Imposition, count: int, interval: int, size: int = 16, longer: int = 0
    ) -> list[Measured]:
        imposition.demand()
        witness = self._provider.witness
        pairs = await witness.pairs(imposition.key)
        checks: dict[str, list[Pair]] = {}
        for pair in pairs:
            check = replace(pair.check, count=count, interval=interval, size=size, timeout=pair.check.timeout + longer)
            checks.setdefault(pair.pod, []).append(replace(pair, check=check))
        results = await witness.measure({pod: [pair.check for pair in part] for pod, part in checks.items()})
        return [
            _measured(pair, seen) for pod, part in checks.items() for pair, seen in zip(part, results[pod], strict=True)
        ]


def _measured(pair: Pair, seen: CheckObserved) -> Measured:
    return Measured(
        _named(pair.pod),
        _named(pair.remote),
        seen.rtts,
        seen.sent,
        seen.sent - seen.answered,
        _rate(seen) if pair.check.size == TRAIN_SIZE else None,
    )


def _named(key: str) -> str:
    """With its namespace: pods of several may be measured at once."""
    if not key:
        return "its machine"
    return key if key.startswith(f"{CONTAINERS}/") else f"pod/{key}"


def _rate(seen: CheckObserved) -> float | None:
    """Bit/s from the spacing of a train's answers; they were all sent at the same time.

    The median over answers half a train apart: some that came late, since somebody was held up, do not count.
    """
    arrived, half = sorted(seen.rtts), len(seen.rtts) // 2
    took = statistics.median(map(operator.sub, arrived[half:], arrived)) if half else 0
    return half * (TRAIN_SIZE + FRAME) * 8e9 / took if took else None


def _within(
    value: object, path: str, parse: Callable[[object, str], float], single: Callable[[float], tuple[float, float]]
) -> tuple[float, float]:
    """A pair of bounds, the lower first; ``single``: what one value alone stands for."""
    if not isinstance(value, list | tuple):
        return single(float(parse(value, path)))
    if len(value) != 2:
        raise refusal(path, value, "expected one value, or two bounds", "write (least, most)")
    low, high = (float(parse(part, path)) for part in value)
    if low > high:
        raise refusal(path, value, "nothing is between these", "write the lower one first")
    return low, high


def _demand(problems: Iterable[Problem]) -> None:
    told = "\n".join(map(str, problems))
    if told:
        raise AssertionError(told)
