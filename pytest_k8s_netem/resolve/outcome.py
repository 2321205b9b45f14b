"""What stages do to a packet on the whole: bounds and means of delay, loss and copies, at any time of a timeline."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.impairment import NONE, SECOND, Bernoulli, EveryNth
from pytest_k8s_netem.model.tables import SCALE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.tables import Table
    from pytest_k8s_netem.model.timeline import Timeline

SMALLEST = 40
"""Bytes of the smallest probe (IPv4 and TCP headers): what a rate takes at least, whatever an engine counts besides."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a packet meets.

    :ivar low: ns it is delayed at least. :ivar mean: ns on average. :ivar high: ns at most, on an idle link.
    :ivar loss_low: share lost at least. :ivar loss: on average. :ivar loss_high: at most, corrupted packets included.
    :ivar independent: whether each packet's fate is independent of the others', with the same chances at all times.
    :ivar copies: most packets that one may become.
    """

    low: int = 0
    mean: int = 0
    high: int = 0
    loss_low: float = 0.0
    loss: float = 0.0
    loss_high: float = 0.0
    independent: bool = True
    copies: int = 1

    def then(self, other: Outcome) -> Outcome:
        """Both in a row."""
        return Outcome(
            self.low + other.low,
            self.mean + other.mean,
            self.high + other.high,
            1 - (1 - self.loss_low) * (1 - other.loss_low),
            1 - (1 - self.loss) * (1 - other.loss),
            1 - (1 - self.loss_high) * (1 - other.loss_high),
            self.independent and other.independent,
            self.copies * other.copies,
        )


def in_a_row(outcomes: Iterable[Outcome]) -> Outcome:
    """All of them, one after the other."""
    whole = Outcome()
    for outcome in outcomes:
        whole = whole.then(outcome)
    return whole


def of_timeline(timeline: Timeline) -> Outcome:
    """What holds at whatever time a packet comes; means are those of the long run."""
    if timeline.only is not None:
        return of_impairment(timeline.only)
    endless = next((segment.impairment for segment in timeline.segments if segment.duration is None), None)
    ends = endless is None and not timeline.repeat
    every = [of_impairment(impairment) for impairment in (*timeline.impairments, *([NONE] if ends else []))]
    weights = [(segment.duration or 0, of_impairment(segment.impairment)) for segment in timeline.segments]
    if ends or endless is not None:
        weights = [(1, of_impairment(endless or NONE))]
    span = sum(weight for weight, _ in weights) or 1
    return Outcome(
        min(one.low for one in every),
        sum(weight * one.mean for weight, one in weights) // span,
        max(one.high for one in every),
        min(one.loss_low for one in every),
        sum(weight * one.loss for weight, one in weights) / span,
        max(one.loss_high for one in every),
        False,
        max(one.copies for one in every),
    )


def of_impairment(impairment: Impairment) -> Outcome:
    """One constant impairment."""
    low, mean, high = _spread(impairment.delay, impairment.jitter, impairment.table)
    wait = 8 * SECOND * SMALLEST // impairment.rate.bits if impairment.rate else 0
    late = max(impairment.slot.max_delay, impairment.slot.delay + _spread_high(impairment))
    loss = _lost(impairment)
    share = _certain(impairment, loss)
    return Outcome(
        (0 if impairment.reorder else low) + wait,
        int(mean * (1 - impairment.reorder.mean)) + wait + late // 2,
        high + wait + late,
        share,
        loss,
        1 - (1 - max(share, loss)) * (1 - impairment.corrupt.mean),
        _independent(impairment),
        2 if impairment.duplicate else 1,
    )


def _spread(delay: int, jitter: int, table: Table | None) -> tuple[int, int, int]:
    """Least, mean and greatest of ``delay`` with its jitter, ns; a draw below 0 is no delay, which lifts the mean."""
    if table is None or not table.values:
        mean = delay if jitter <= delay else (delay + jitter) ** 2 // (4 * jitter)
        return max(0, delay - jitter), mean, delay + jitter
    values = table.values
    lowest, highest = (delay + int(jitter * value / SCALE) for value in (min(values), max(values)))
    if lowest >= 0:
        return lowest, delay + int(jitter * sum(values) / len(values) / SCALE), highest
    return 0, int(sum(max(0.0, delay + jitter * value / SCALE) for value in values) / len(values)), highest


def _spread_high(impairment: Impairment) -> int:
    slot = impairment.slot
    return _spread(0, slot.jitter, slot.table)[2]


def _lost(impairment: Impairment) -> float:
    """A packet that is duplicated *and* lost leaves one copy (netem_enqueue counts both)."""
    return impairment.loss.mean * (1 - impairment.duplicate.mean)


def _certain(impairment: Impairment, loss: float) -> float:
    """The share lost however few packets there are: a chain that loses all in the long run may pass the first."""
    simple = isinstance(impairment.loss, Bernoulli) or impairment.loss == EveryNth(1)
    return loss if simple and (loss >= 1 or _independent(impairment)) else 0.0


def _independent(impairment: Impairment) -> bool:
    chances = (impairment.duplicate, impairment.corrupt)
    loss = impairment.loss
    memory = not isinstance(loss, Bernoulli) or (loss.correlation > 0 and loss.p < 1)
    return not (memory and loss) and not any(chance.correlation for chance in chances if chance)
