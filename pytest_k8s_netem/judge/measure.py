"""Assertions on what was measured: every pair must hold, the message names the worst."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pytest_k8s_netem.judge.intervals import ALPHA, quantile, share_bounds
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one pair saw of each other.

    :ivar source: who measured. :ivar remote: whom. :ivar rtts: ns. :ivar sent: probes. :ivar lost: not answered.
    :ivar rate: bit/s; None = not measured.
    """

    source: str
    remote: str
    rtts: tuple[int, ...] = ()
    sent: int = 0
    lost: int = 0
    rate: float | None = None

    def __str__(self) -> str:
        return f"{self.source} -> {self.remote}"


def judge_rtt(
    measured: Iterable[Measured], *, median: Range | None = None, p99: Range | None = None
) -> tuple[Problem, ...]:
    """Whether the sample's median and 99th percentile (nearest rank) of every pair lie in a range of ns.

    The range is the caller's tolerance: a true value well inside it is needed for a low rate of false alarms.
    """
    pairs = list(measured)
    problems = []
    for name, wanted, q in (("median", median, 0.5), ("p99", p99, 0.99)):
        if wanted is not None:
            problems += _worst(f"rtt.{name}", pairs, wanted, partial(_quantile, q=q), _ms)
    return tuple(problems)


def judge_rate(measured: Iterable[Measured], wanted: Range) -> tuple[Problem, ...]:
    """Whether the rate of every pair lies in a range of bit/s."""
    return tuple(_worst("rate", list(measured), wanted, lambda pair: pair.rate, _bits))


def judge_loss(measured: Iterable[Measured], wanted: float | Range, alpha: float = ALPHA) -> tuple[Problem, ...]:
    """Whether the true loss of every pair can be the wanted share, or lie in the wanted range.

    :param alpha: chance of a false alarm, over all pairs together.
    """
    pairs = list(measured)
    low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    if not pairs or any(pair.sent == 0 for pair in pairs):
        return (_nothing("loss", next((str(pair) for pair in pairs if pair.sent == 0), "")),)
    failed = []
    for pair in pairs:
        least, most = share_bounds(pair.lost, pair.sent, alpha / len(pairs))
        if most < low or least > high:
            failed.append((max(low - most, least - high), pair))
    if not failed:
        return ()
    _, worst = max(failed, key=lambda entry: entry[0])
    asked = _percent(low) if low == high else f"{_percent(low)} to {_percent(high)}"
    seen = f"{worst.lost} of {worst.sent} lost ({_percent(worst.lost / worst.sent)})"
    why = f"{worst}: asked {asked}, measured {seen}{_others(len(failed), len(pairs))}"
    return (Problem("loss", "", why, f"false alarm below {alpha:g}"),)


def _worst(
    path: str,
    pairs: list[Measured],
    wanted: Range,
    value: Callable[[Measured], float | None],
    text: Callable[[float], str],
) -> list[Problem]:
    """One problem, naming the pair that is farthest off; a pair that measured nothing is farther than all."""
    low, high = wanted
    found = [(pair, value(pair)) for pair in pairs]
    if silent := [pair for pair, one in found if one is None]:
        return [_nothing(path, str(silent[0]))]
    if not found:
        return [_nothing(path, "")]
    failed = [
        (max(low - one, one - high), pair, one) for pair, one in found if one is not None and not low <= one <= high
    ]
    if not failed:
        return []
    _, pair, one = max(failed, key=lambda entry: entry[0])
    why = f"{pair}: asked {text(low)} to {text(high)}, measured {text(one)}{_others(len(failed), len(pairs))}"
    return [Problem(path, "", why)]


def _nothing(path: str, pair: str) -> Problem:
    where = f"{pair}: nothing was measured" if pair else "there is no pair to measure"
    return Problem(path, "", where, "every probe was lost, or no pod matches")


def _others(failed: int, pairs: int) -> str:
    return f" ({failed} of {pairs} pairs are off)" if pairs > 1 else ""


def _quantile(pair: Measured, q: float) -> float | None:
    return quantile(pair.rtts, q) if pair.rtts else None


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.3g}ms" if ns < 1e9 else f"{ns / 1e9:.4g}s"


def _bits(rate: float) -> str:
    return f"{rate / 1e6:.4g}mbit"


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
