"""Exact intervals and sample sizes for shares and quantiles; nothing here assumes a normal distribution."""

from __future__ import annotations

from math import ceil

from pytest_k8s_netem.model.binomial import at_least, at_most

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ALPHA = 1e-6
"""Chance that an assertion of this project fails although all is right."""
MOST = 10**12
"""Largest sample that :func:`sample_size` looks at."""


def share_bounds(hits: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Interval that holds the true share but for a chance of ``alpha`` (Clopper and Pearson, 1934).

    :param n: trials; 0 = nothing is known: (0, 1).
    :raises ValueError: if ``hits`` is outside 0..n.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no share")
    low = 0.0 if hits == 0 else _crossing(lambda p: at_least(hits, n, p) >= alpha / 2)
    high = 1.0 if hits == n else _crossing(lambda p: at_most(hits, n, p) <= alpha / 2)
    return low, high


def _crossing(reached: Callable[[float], bool]) -> float:
    """The p in 0..1 from which a monotone condition holds, by bisection to the end of double precision."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if reached(middle) else (middle, high)
    return (low + high) / 2


def binomial_bounds(n: int, p: float, alpha: float = ALPHA) -> tuple[int, int]:
    """Fewest and most hits among ``n`` trials of chance ``p``, each end missed with a chance of at most alpha/2."""
    fewest = _first(n, lambda k: at_most(k, n, p) > alpha / 2)
    most = _first(n, lambda k: at_least(k + 1, n, p) <= alpha / 2)
    return fewest, most


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """The least of 0..n for which a monotone condition holds (it does for n)."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def sample_size(p: float, relative_precision: float, alpha: float = ALPHA) -> int:
    """Trials by which a share of about ``p`` is known to within that part of itself, but for a chance of ``alpha``.

    :raises ValueError: unless 0 < p < 1 and the precision is above 0.
    """
    if not 0 < p < 1 or relative_precision <= 0:
        raise ValueError(f"no sample shows {p} to within {relative_precision} of itself")
    low, high = 1, 1
    while not _precise(high, p, relative_precision, alpha):
        low, high = high, high * 2
        if high > MOST:
            raise ValueError(f"{p} to within {relative_precision} of itself takes more than {MOST} packets")
    return low + _first(high - low, lambda more: _precise(low + more, p, relative_precision, alpha))


def _precise(n: int, p: float, relative: float, alpha: float) -> bool:
    fewest, most = binomial_bounds(n, p, alpha)
    return most - n * p <= relative * n * p and n * p - fewest <= relative * n * p


def quantile_bounds(samples: Sequence[float], q: float, alpha: float = ALPHA) -> tuple[float, float]:
    """Interval that holds the true ``q``-quantile but for ``alpha``: two order statistics, whatever the distribution.

    An end that the sample is too small for is infinite.
    """
    ordered = sorted(samples)
    n = len(ordered)
    below, above = binomial_bounds(n, q, alpha) if n else (0, 0)
    low = ordered[below - 1] if below > 0 else float("-inf")
    high = ordered[above] if above < n else float("inf")
    return low, high


def quantile(samples: Sequence[float], q: float) -> float:
    """The sample's ``q``-quantile by nearest rank: a value that was really seen.

    :raises ValueError: if there is none.
    """
    if not samples:
        raise ValueError("no samples")
    return sorted(samples)[max(0, ceil(q * len(samples)) - 1)]
