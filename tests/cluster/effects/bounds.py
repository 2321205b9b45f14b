"""How far chance may lead: every bound here is missed by a right implementation less than once in a million tests."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence

SIGMAS = 5.0
"""Two-sided normal tail beyond: 5.7e-7."""
LATE = 8.0
"""ms that a packet may come late on a busy machine and still count as on time; none may come early."""
EARLY = 0.05
"""ms: the sender's clock is read before the packet leaves, kernels of netem count ticks of 64 ns."""


class LateError(AssertionError):
    """Packets came later than asked: by what impairs them, or because the machine stood still."""


def undisturbed(judge: Callable[[], None]) -> None:
    """Judge a flow, and another one if its packets were late, three at most.

    A stall moves hundreds of packets of a dense flow to one moment, which no distribution allows for. What is wrong by
    itself is so every time; a packet that comes early fails at once.
    """
    for _ in range(2):
        try:
            return judge()
        except LateError:
            continue
    return judge()


def share(found: int, of: int, p: float, widening: float = 1.0) -> None:
    """``found`` of ``of`` is what ``p`` gives; ``widening``: of the deviation, where draws are correlated."""
    deviation = math.sqrt(of * p * (1 - p)) * widening
    assert abs(found - of * p) <= SIGMAS * deviation + 1, f"{found} of {of}, expected {of * p:.1f} +- {deviation:.1f}"


def distribution(values: Sequence[float], cumulative: Callable[[float], float]) -> None:
    """The values follow a distribution, some a little late.

    The bound of Dvoretzky, Kiefer, Wolfowitz and Massart: P(sup |F_n - F| > eps) <= 2 exp(-2 n eps^2), here 1e-6.
    """
    ordered = sorted(values)
    eps = math.sqrt(math.log(2e6) / (2 * len(ordered)))
    for x in ordered[:: max(len(ordered) // 500, 1)]:
        assert bisect.bisect_left(ordered, x - EARLY) / len(ordered) <= cumulative(x) + eps, f"too many below {x:.2f}"
        if bisect.bisect_right(ordered, x + LATE) / len(ordered) < cumulative(x) - eps:
            raise LateError(f"too few below {x:.2f}")


def autocorrelation(values: Sequence[float]) -> float:
    """Of first order."""
    mean = sum(values) / len(values)
    spread = sum((value - mean) ** 2 for value in values)
    return sum((a - mean) * (b - mean) for a, b in itertools.pairwise(values)) / spread


def none_early(delays: Sequence[float], asked: float) -> None:
    """Not one packet came before its time."""
    assert min(delays) >= asked - EARLY, f"one came after {min(delays):.3f} ms, asked {asked:g} ms"


def on_time(delays: Sequence[float], asked: float) -> None:
    """Not one came early, and the first of them within :data:`LATE`: load makes packets late, but not all of them."""
    none_early(delays, asked)
    assert min(delays) <= asked + LATE, f"none before {min(delays):.3f} ms, asked {asked:g} ms"
