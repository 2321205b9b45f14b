"""Impairments and round trips in plain words, for somebody who reads of them for the first time."""

from __future__ import annotations

from pytest_k8s_netem.model.impairment import Bernoulli, EveryNth, GilbertElliott, Impairment
from pytest_k8s_netem.profile.describe import describe_impairment
from pytest_k8s_netem.profile.units import format_duration, format_rate, format_share, format_size
from pytest_k8s_netem.resolve.outcome import Outcome, of_impairment
from pytest_k8s_netem.resolve.sample import EVERY_POD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_k8s_netem.model.impairment import Loss, Slot
    from pytest_k8s_netem.model.timeline import Timeline
    from pytest_k8s_netem.resolve.sample import Party
    from pytest_k8s_netem.resolve.trips import Trip

MANY = 8
"""Names in a row; what is beyond is counted."""


def about(nanoseconds: int) -> str:
    """A duration to three digits: ``15.1ms``."""
    return format_duration(round(nanoseconds, min(0, 3 - len(str(nanoseconds)))))


def percent(share: float) -> str:
    """A share to three digits; never all or nothing where it is not."""
    if 0.9995 <= share < 1:
        return "over 99.9%"
    return format_share(float(f"{share:.3g}"))


def timeline_lines(timeline: Timeline) -> list[str]:
    """What a packet meets, one thing a line; of a timeline its segments in a row."""
    if timeline.only is not None:
        return list(_impairment(timeline.only)) or ["nothing"]
    lines = []
    for segment in timeline.segments:
        lasts = "from then on" if segment.duration is None else f"for {format_duration(segment.duration)}"
        lines.append(f"{lasts}: {describe_impairment(segment.impairment)}")
    if timeline.repeat:
        lines.append("then all over again")
    elif timeline.segments[-1].duration is not None:
        lines.append("from then on: nothing")
    return lines


def _impairment(what: Impairment) -> Iterator[str]:
    if what.delay or what.jitter:
        yield f"delay: {_delay(what)}"
    if what.loss:
        yield f"loss: {_loss(what.loss)}"
    if what.duplicate:
        yield f"duplicate: {_chance(what.duplicate)} arrive twice"
    if what.corrupt:
        yield f"corrupt: {_chance(what.corrupt)} arrive with one bit flipped"
    if what.reorder:
        apart = f", each after {what.gap - 1} or more that do not" if what.gap > 1 else ""
        yield f"reorder: {_chance(what.reorder)} skip the delay{apart}, and so overtake others"
    if what.rate:
        yield f"rate: {format_rate(what.rate.bits)} per second; what is sent faster waits in a queue"
    if what.slot:
        yield f"slot: packets leave in bursts, {_slot(what.slot)}"
    if what.limit:
        yield f"limit: the queue holds {what.limit} packets; what comes when it is full is lost"
    if what.ecn:
        yield "ecn: a packet that can be marked is marked instead of lost"


def _delay(what: Impairment) -> str:
    alone = of_impairment(Impairment(delay=what.delay, jitter=what.jitter, table=what.table))
    if not what.jitter:
        return f"each packet waits {format_duration(what.delay)}"
    order = "packets keep their order" if what.ordered else "packets may overtake each other"
    alike = f", each {format_share(what.delay_corr)} like the one before" if what.delay_corr else ""
    if what.table is None:
        none = max(0, what.jitter - what.delay) / (2 * what.jitter)  # what would be below nothing
        evenly = f"evenly spread but for {percent(none)} that do not wait" if none else "evenly spread"
        return f"each packet waits {about(alone.low)} to {about(alone.high)}, {evenly}{alike}; {order}"
    spread = f"jitter {format_duration(what.jitter)}, at least {about(alone.low)}, at most {about(alone.high)}"
    return f"each packet waits about {about(alone.mean)} (distribution {what.table.name}: {spread}){alike}; {order}"


def _loss(loss: Loss) -> str:
    if isinstance(loss, Bernoulli):
        if loss.p >= 1:
            return "every packet vanishes; the sender is told nothing"
        return f"{_chance(loss)} vanish" + ("" if loss.correlation else ", each by its own chance")
    if isinstance(loss, EveryNth):
        return f"one packet in {loss.n} vanishes, counted from the first"
    mean = f"{percent(loss.mean)} of the packets vanish in the long run, in bursts"
    if isinstance(loss, GilbertElliott):
        turns = f"a burst begins with a chance of {percent(loss.p)} a packet and ends with {percent(loss.r)}"
        return f"{mean} ({turns}; {percent(loss.bad_loss)} are lost within it, {percent(loss.good_loss)} outside)"
    return f"{mean} (the four-state model of tc-netem)"


def _chance(chance: Bernoulli) -> str:
    alike = f" (each {format_share(chance.correlation)} like the one before)" if chance.correlation else ""
    return f"{format_share(chance.p)} of the packets{alike}"


def _slot(slot: Slot) -> str:
    apart = format_duration(slot.min_delay)
    if slot.table is not None:
        apart = f"about {format_duration(slot.delay)} ({slot.table.name}, jitter {format_duration(slot.jitter)})"
    elif slot.min_delay != slot.max_delay:
        apart += f" to {format_duration(slot.max_delay)}"
    most = [f"{slot.packets} packets"] if slot.packets else []
    most += [format_size(slot.bytes)] if slot.bytes else []
    return f"{apart} apart" + (f", at most {' and '.join(most)} in each" if most else "")


def trip_line(trip: Trip) -> str:
    """``app=web with app=db, tcp/5432: 100ms longer (100ms there, nothing back)``."""
    packets = [label or "all other packets" for label in trip.packets]
    what = f", {' or '.join(packets)}" if packets else ""
    ways = f"{_way(trip.seen.there)} there, {_way(trip.seen.back)} back"
    return f"{_pair(trip)}{what}: {_longer(trip.seen.round_trip)} ({ways})"


def _pair(trip: Trip) -> str:
    ones = _either(trip.ones)
    if trip.ones == trip.others:
        return "two of these pods" if ones == EVERY_POD else f"two of {ones}"
    return f"{'one of these pods' if ones == EVERY_POD else ones} with {_either(trip.others)}"


def _either(parties: Sequence[Party]) -> str:
    labels = [party.label for party in parties]
    if len(labels) > MANY:
        labels = [*labels[: MANY - 1], f"{len(labels) - MANY + 1} others that are named"]
    return " or ".join(labels)


def _longer(whole: Outcome) -> str:
    """What a question and its answer see together."""
    if whole.loss_low >= 1:
        return "no answer ever comes"
    parts = [_time(whole)] if whole.high else []
    parts += [_unanswered(whole)] if whole.loss_high else []
    parts += [f"up to {whole.copies} answers"] if whole.copies > 1 else []
    return ", ".join(parts)


def _time(whole: Outcome) -> str:
    low, mean, high = (about(bound) for bound in (whole.low, whole.mean, whole.high))
    return f"{mean} longer" if low == high else f"{mean} longer on average, {low} to {high}"


def _unanswered(whole: Outcome) -> str:
    damaged = f"{percent(whole.loss_high)} where damaged packets are dropped"
    if not whole.loss:
        return f"no answer for up to {damaged}"
    told = f"no answer for {percent(whole.loss)}"
    if not whole.independent:
        return f"{told} in the long run"
    return f"{told}, {damaged}" if whole.loss_high > whole.loss else told


def _way(outcome: Outcome) -> str:
    """What one of the two meets."""
    if outcome == Outcome():
        return "nothing"
    if outcome.loss_low >= 1:
        return "all lost"
    parts = [about(outcome.mean)] if outcome.high else []
    parts += [f"{percent(outcome.loss)} lost"] if outcome.loss else []
    parts += ["some damaged"] if outcome.loss_high > outcome.loss and outcome.independent else []
    parts += ["some twice"] if outcome.copies > 1 else []
    return " and ".join(parts) or "some lost at times"
