"""The binomial distribution's exact tail; needed to plan probes and to judge what was measured."""

from __future__ import annotations

from math import exp, lgamma, log, log1p

_TINY = 1e-300
_PRECISION = 1e-15


def at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) for X ~ Binomial(n, p), relative error below 1e-9.

    By the identity with the regularised incomplete beta function, I_{1-p}(n-k, k+1) (NIST DLMF 8.17.5).
    """
    if k < 0:
        return 0.0
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    return regularised_beta(n - k, k + 1, p)


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) for X ~ Binomial(n, p); not by subtraction, so that small tails keep their precision."""
    return at_most(n - k, n, 1 - p)


def regularised_beta(a: float, b: float, p: float) -> float:
    """I_{1-p}(a, b), by the continued fraction of NIST DLMF 8.17.22 on whichever side converges fast."""
    x = 1 - p
    if not 0 < x < 1:
        return float(x >= 1)
    front = lgamma(a + b) - lgamma(a) - lgamma(b)
    if x < (a + 1) / (a + b + 2):
        return exp(front + a * log(x) + b * log(p)) * _fraction(a, b, x) / a
    return 1 - exp(front + a * log1p(-p) + b * log(p)) * _fraction(b, a, p) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, evaluated by the modified method of Lentz (NIST DLMF 3.10(iii))."""
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _off_zero(1 + term * d)
            c = _off_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
