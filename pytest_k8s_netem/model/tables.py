"""Delay distributions as netem takes them: inverse cumulative tables of 16-bit numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SCALE = 8192
"""NETEM_DIST_SCALE of linux/pkt_sched.h: a table value of 8192 is one sigma (one jitter)."""
MAX_SIZE = 16384
"""NETEM_DIST_MAX of linux/pkt_sched.h."""
SIZE = 4096
"""Values of the tables made here; the quantiles are those of the middles of SIZE equal steps."""
LOWEST, HIGHEST = -32768, 32767
NAMES = ("normal", "pareto", "paretonormal")
"""Distributions that :func:`named` makes; uniform needs no table."""
PARETO_SHAPE = 3.0


@dataclass(frozen=True, slots=True)
class Table:
    """A distribution: a draw is ``delay + jitter * values[random index] / SCALE``.

    :ivar name: ``normal``, ``pareto``, ``paretonormal``, or the user's name for it.
    :ivar values: -32768..32767, at most 16384.
    """

    name: str
    values: tuple[int, ...]


@lru_cache(maxsize=len(NAMES))
def named(name: str) -> Table:
    """One of the distributions of :data:`NAMES`.

    ``normal``: the standard normal. ``pareto``: (4/3) ((1 - u)^(-1/3) - 3/2), a Pareto distribution of shape 3
    about its mean, in the scale that tc gives it. ``paretonormal``: a quarter of the one and three quarters of the
    other, quantile by quantile. All end at four sigma, where 16 bits do.

    :raises ValueError: for any other name.
    """
    quantile = {"normal": normal_quantile, "pareto": pareto_quantile, "paretonormal": _paretonormal_quantile}.get(name)
    if quantile is None:
        raise ValueError(f"no distribution {name!r}; there are uniform, {', '.join(NAMES)}")
    return Table(name, tuple(_fixed(quantile((step + 0.5) / SIZE)) for step in range(SIZE)))


def parse_dist(text: str, name: str = "custom") -> Table:
    """Read a ``.dist`` file of iproute2: whole numbers between blanks, ``#`` starts a comment line.

    :raises ValueError: for anything else, for values beyond 16 bits, and for none or more than 16384 of them.
    """
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    values = tuple(_sixteen_bits(word) for line in lines for word in line.split())
    if not 0 < len(values) <= MAX_SIZE:
        raise ValueError(f"{len(values)} values; a distribution has 1 to {MAX_SIZE}")
    return Table(name, values)


def normal_quantile(u: float) -> float:
    """Inverse of the standard normal distribution, 0 < u < 1: Wichura's AS 241 (Applied Statistics 37, 1988)."""
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * _polynomial(_CENTRE, r) / _polynomial(_CENTRE_BELOW, r)
    r = math.sqrt(-math.log(min(u, 1 - u)))
    above, below, shift = (_TAIL, _TAIL_BELOW, 1.6) if r <= 5 else (_FAR, _FAR_BELOW, 5.0)
    return math.copysign(_polynomial(above, r - shift) / _polynomial(below, r - shift), q)


def pareto_quantile(u: float) -> float:
    """Quantile of ``pareto`` as :func:`named` defines it, 0 < u < 1."""
    mean = PARETO_SHAPE / (PARETO_SHAPE - 1)
    return float(((1 - u) ** (-1 / PARETO_SHAPE) - mean) * 4 / 3)


def _paretonormal_quantile(u: float) -> float:
    return normal_quantile(u) / 4 + pareto_quantile(u) * 3 / 4


def _fixed(sigmas: float) -> int:
    return min(max(round(sigmas * SCALE), LOWEST), HIGHEST)


def _sixteen_bits(word: str) -> int:
    value = int(word)
    if not LOWEST <= value <= HIGHEST:
        raise ValueError(f"{value} is beyond 16 bits")
    return value


def _polynomial(coefficients: Iterable[float], x: float) -> float:
    """Horner's scheme, highest power first."""
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


_CENTRE = (
    2.5090809287301226727e3,
    3.3430575583588128105e4,
    6.7265770927008700853e4,
    4.5921953931549871457e4,
    1.3731693765509461125e4,
    1.9715909503065514427e3,
    1.3314166789178437745e2,
    3.3871328727963666080e0,
)
_CENTRE_BELOW = (
    5.2264952788528545610e3,
    2.8729085735721942674e4,
    3.9307895800092710610e4,
    2.1213794301586595867e4,
    5.3941960214247511077e3,
    6.8718700749205790830e2,
    4.2313330701600911252e1,
    1.0,
)
_TAIL = (
    7.74545014278341407640e-4,
    2.27238449892691845833e-2,
    2.41780725177450611770e-1,
    1.27045825245236838258e0,
    3.64784832476320460504e0,
    5.76949722146069140550e0,
    4.63033784615654529590e0,
    1.42343711074968357734e0,
)
_TAIL_BELOW = (
    1.05075007164441684324e-9,
    5.47593808499534494600e-4,
    1.51986665636164571966e-2,
    1.48103976427480074590e-1,
    6.89767334985100004550e-1,
    1.67638483018380384940e0,
    2.05319162663775882187e0,
    1.0,
)
_FAR = (
    2.01033439929228813265e-7,
    2.71155556874348757815e-5,
    1.24266094738807843860e-3,
    2.65321895265761230930e-2,
    2.96560571828504891230e-1,
    1.78482653991729133580e0,
    5.46378491116411436990e0,
    6.65790464350110377720e0,
)
_FAR_BELOW = (
    2.04426310338993978564e-15,
    1.42151175831644588870e-7,
    1.84631831751005468180e-5,
    7.86869131145613259100e-4,
    1.48753612908506148525e-2,
    1.36929880922735805310e-1,
    5.99832206555887937690e-1,
    1.0,
)
