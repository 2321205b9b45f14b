"""The words for what happens to a packet, and :func:`build`: words -> :class:`Impairment`, and :func:`render` back."""

from __future__ import annotations

from typing import NamedTuple

from pytest_k8s_netem.model.impairment import NONE, Bernoulli, Impairment, Rate, Slot
from pytest_k8s_netem.profile.distributions import parse_distribution, render_distribution
from pytest_k8s_netem.profile.findings import Findings, refusal, under, written
from pytest_k8s_netem.profile.lossmodels import parse_loss_model, render_loss_model
from pytest_k8s_netem.profile.slots import parse_slot, render_slot
from pytest_k8s_netem.profile.units import (
    format_duration,
    format_rate,
    format_share,
    format_size,
    parse_count,
    parse_duration,
    parse_rate,
    parse_share,
    parse_signed_size,
    parse_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_k8s_netem.model.impairment import Loss


class Field(NamedTuple):
    """A word of the vocabulary.

    :ivar parse: reads its value. :ivar example: a right value.
    :ivar meaning: one line for documentation and schema. :ivar needs: one of these words must stand beside it.
    """

    parse: Callable[[object, str], object]
    example: str
    meaning: str
    needs: tuple[str, ...] = ()


def parse_flag(value: object, path: str = "") -> bool:
    """True or False.

    :raises ConfigError: for anything else, truthy or not.
    """
    if type(value) is not bool:
        raise refusal(path, value, "expected true or false")
    return value


FIELDS: dict[str, Field] = {
    "delay": Field(parse_duration, "100ms", "time added to each packet, one way"),
    "jitter": Field(parse_duration, "10ms", "spread of the delay: half-width (uniform) or sigma (others)", ("delay",)),
    "delay_correlation": Field(parse_share, "25%", "how much a packet's jitter resembles the one before", ("jitter",)),
    "distribution": Field(parse_distribution, "normal", "of the jitter: uniform, normal, pareto, ...", ("jitter",)),
    "loss": Field(parse_share, "1%", "share of packets that vanish"),
    "loss_correlation": Field(parse_share, "25%", "how much a loss resembles the one before", ("loss",)),
    "loss_model": Field(parse_loss_model, "gemodel 1% 10%", "loss in bursts, or by number"),
    "duplicate": Field(parse_share, "1%", "share of packets that arrive twice"),
    "duplicate_correlation": Field(parse_share, "25%", "as of loss", ("duplicate",)),
    "corrupt": Field(parse_share, "0.1%", "share of packets with one bit flipped"),
    "corrupt_correlation": Field(parse_share, "25%", "as of loss", ("corrupt",)),
    "reorder": Field(parse_share, "5%", "share of packets that skip the delay, so overtake others", ("delay",)),
    "reorder_correlation": Field(parse_share, "50%", "as of loss", ("reorder",)),
    "gap": Field(parse_count, "5", "only every gap-th packet may overtake", ("reorder",)),
    "rate": Field(parse_rate, "10mbit", "speed of the link, per second"),
    "packet_overhead": Field(parse_signed_size, "14byte", "added to each packet's size for rate", ("rate",)),
    "cell_size": Field(parse_size, "48byte", "the link carries whole cells of this size", ("rate",)),
    "cell_overhead": Field(parse_size, "5byte", "added to each cell", ("cell_size",)),
    "slot": Field(parse_slot, "10ms", "packets leave in bursts, so far apart"),
    "limit": Field(parse_count, "1000", "packets that the queue holds; left out: sized to fit"),
    "ecn": Field(parse_flag, "true", "mark instead of drop, where a packet is ECN-capable", ("loss", "loss_model")),
    "ordered": Field(parse_flag, "true", "jitter never reorders"),
}
"""Every word of one direction's impairment; ``rtt`` and ``preset`` speak of both directions (:mod:`sides`)."""


def build(fields: object, path: str = "") -> Impairment:
    """The impairment that a mapping of words to values describes.

    :raises ConfigError: with every unknown word, wrong value and impossible mix.
    """
    findings = Findings()
    known = findings.mapping(fields, path, FIELDS)
    read = _read_all(known, path, findings)
    _check_mixes(read, path, findings)
    _check_needs(known, path, findings)
    findings.settle()
    return _impairment(read)


def render(impairment: Impairment) -> dict[str, object]:
    """The words that :func:`build` reads as this impairment, in the vocabulary's order."""
    told = {**_delay_words(impairment), **_chance_words(impairment), **_rate_words(impairment.rate)}
    if impairment.slot != Slot():
        told["slot"] = render_slot(impairment.slot)
    if impairment.gap:
        told["gap"] = impairment.gap
    if impairment.limit:
        told["limit"] = impairment.limit
    told |= {flag: True for flag in ("ecn", "ordered") if getattr(impairment, flag)}
    if impairment.ecn and not {"loss", "loss_model"} & set(told):
        told["loss"] = format_share(0)
    return {word: told[word] for word in FIELDS if word in told}


def _read_all(known: Mapping[str, object], path: str, findings: Findings) -> dict[str, object]:
    read: dict[str, object] = {}
    for word, value in known.items():
        before = len(findings.problems)
        got = findings.read(FIELDS[word].parse, value, under(path, word), None)
        if len(findings.problems) == before:
            read[word] = got
    return read


def _check_needs(told: Iterable[str], path: str, findings: Findings) -> None:
    for word in told:
        needs = FIELDS[word].needs
        if needs and not set(needs) & set(told):
            examples = " or ".join(written(under(path, need), FIELDS[need].example) for need in needs)
            findings.missing(under(path, word), f"{word} without {' or '.join(needs)}", f"add {examples}")


def _check_mixes(read: Mapping[str, object], path: str, findings: Findings) -> None:
    """What cannot be meant together; only values that could be read are looked at."""
    if "loss" in read and "loss_model" in read:
        findings.missing(under(path, "loss_model"), "loss and loss_model exclude each other", "keep one of them")
    if read.get("reorder") and read.get("delay") == 0:
        why = "reorder with a delay of zero: there is nothing to overtake"
        findings.missing(under(path, "reorder"), why, f"add {written(under(path, 'delay'), '10ms')}")
    if read.get("cell_size") == 0:
        findings.missing(under(path, "cell_size"), "a cell of no bytes", "leave it out for a link without cells")


def _impairment(read: Mapping[str, object]) -> Impairment:
    def chance(word: str) -> Bernoulli:
        return Bernoulli(_float(read.get(word)), _float(read.get(f"{word}_correlation")))

    rate = Rate(*(_int(read.get(word)) for word in ("rate", "packet_overhead", "cell_size", "cell_overhead")))
    loss: Loss = read["loss_model"] if "loss_model" in read else chance("loss")  # type: ignore[assignment]
    direct = {
        word: read[word] for word in ("delay", "jitter", "gap", "slot", "limit", "ecn", "ordered") if word in read
    }
    return Impairment(
        **direct,  # type: ignore[arg-type]
        delay_corr=_float(read.get("delay_correlation")),
        table=read.get("distribution"),  # type: ignore[arg-type]
        loss=loss,
        duplicate=chance("duplicate"),
        corrupt=chance("corrupt"),
        reorder=chance("reorder"),
        rate=rate,
    )


def _float(value: object) -> float:
    return value if isinstance(value, float) else 0.0


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _delay_words(impairment: Impairment) -> dict[str, object]:
    told: dict[str, object] = {}
    if impairment.table is not None:
        told["distribution"] = render_distribution(impairment.table)
    if impairment.delay_corr:
        told["delay_correlation"] = format_share(impairment.delay_corr)
    if impairment.jitter or told:
        told["jitter"] = format_duration(impairment.jitter)
    if impairment.delay or told or impairment.reorder != NONE.reorder or impairment.gap:
        told["delay"] = format_duration(impairment.delay)
    return told


def _chance_words(impairment: Impairment) -> dict[str, object]:
    told: dict[str, object] = {}
    for word in ("loss", "duplicate", "corrupt", "reorder"):
        chance = getattr(impairment, word)
        if not isinstance(chance, Bernoulli):
            told["loss_model"] = render_loss_model(chance)
        elif chance != Bernoulli() or (word == "reorder" and impairment.gap):
            told[word] = format_share(chance.p)
            if chance.correlation:
                told[f"{word}_correlation"] = format_share(chance.correlation)
    return told


def _rate_words(rate: Rate) -> dict[str, object]:
    if not rate:
        return {}
    told: dict[str, object] = {"rate": format_rate(rate.bits)}
    sizes = {"packet_overhead": rate.packet_overhead, "cell_size": rate.cell_size, "cell_overhead": rate.cell_overhead}
    return told | {word: format_size(size) for word, size in sizes.items() if size}
