"""The schema of ``spec.impairment``: the vocabulary's words, timelines of them, both directions apart."""

from __future__ import annotations

from pytest_k8s_netem.model.tables import HIGHEST, LOWEST
from pytest_k8s_netem.model.tables import MAX_SIZE as MAX_TABLE
from pytest_k8s_netem.profile import cel
from pytest_k8s_netem.profile.distributions import CHOICES
from pytest_k8s_netem.profile.lossmodels import ALIASES, EVERY_NTH, SHARES
from pytest_k8s_netem.profile.presets import PRESETS
from pytest_k8s_netem.profile.units import (
    parse_count,
    parse_duration,
    parse_rate,
    parse_share,
    parse_signed_size,
    parse_size,
)
from pytest_k8s_netem.profile.vocabulary import FIELDS, parse_flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_k8s_netem.profile.cel import Schema

MOST_SEGMENTS = 200
"""Segments of a timeline that an object may have."""
WAYS = ("egress", "ingress")
_OPAQUE = ("distribution", "loss_model", "slot")
"""Words whose value has several types."""
_FROM_BOTH = {"delay": ("rtt",)}
"""What else brings a word: half the round trip is a delay."""
_BUILDERS: dict[object, Callable[[str], Schema]] = {
    parse_duration: cel.duration,
    parse_share: cel.share,
    parse_rate: cel.rate,
    parse_size: cel.size,
    parse_signed_size: lambda meaning: cel.size(meaning, signed=True),
    parse_count: cel.count,
    parse_flag: cel.flag,
}
_SLOT = r"^\s*[0-9.]+\s*[^0-9.\s]"


def impairment() -> Schema:
    """``spec.impairment``."""
    ways = {way: _timed(f"what happens to {way} alone; both ways have to be told then", rtt=False) for way in WAYS}
    whole = _timed("what happens to packets, in words with units; the same both ways, or egress and ingress apart")
    told = [name for name in whole["properties"] if name not in _OPAQUE]
    split = cel.rule(
        f"!({cel.any_of(WAYS)}) || !({cel.any_of(_escaped(name) for name in told)})",
        "egress and ingress stand beside no other word; write it inside them",
    )
    whole["properties"] = {**whole["properties"], **ways}
    whole["x-kubernetes-validations"].append(split)
    whole["allOf"] += [
        cel.together(cel.without(word), {"not": {"anyOf": [cel.having(way) for way in WAYS]}}) for word in _OPAQUE
    ]
    return whole


def _timed(meaning: str, *, rtt: bool = True) -> Schema:
    """Words, or a timeline of them."""
    words = _words()
    lasting = {"for": cel.duration("how long it lasts", above_zero=True)}
    segment = cel.mapping("one stretch of the timeline", {**words, **lasting}, *_rules(rtt=rtt))
    timeline = {
        "timeline": cel.items("one impairment after the other", segment, MOST_SEGMENTS) | {"minItems": 1},
        "repeat": cel.flag("begin the timeline anew at its end"),
    }
    visible = [name for name in words if name not in _OPAQUE]
    rules = [
        cel.rule(
            f"!has(self.timeline) || !({cel.any_of(visible)})",
            "a timeline stands beside no other word; write it in the timeline's segments",
        ),
        cel.needs("repeat", ["timeline"], "repeat needs a timeline"),
        cel.rule(
            "!has(self.timeline) || self.timeline.filter(s, !has(s.__for__)).size() == 0 || "
            "(self.timeline.filter(s, !has(s.__for__)).size() == 1 && "
            "!has(self.timeline[self.timeline.size() - 1].__for__) && !(has(self.repeat) && self.repeat))",
            "each segment says for how long; only the last one, of a timeline that doesn't repeat, may go on for ever",
        ),
        *(cel.together(cel.without("timeline"), cel.without(word)) for word in _OPAQUE),
    ]
    return cel.mapping(meaning, {**words, **timeline}, *_rules(rtt=rtt), *rules)


def _words() -> dict[str, Schema]:
    words = {name: _word(name) for name in FIELDS}
    words["preset"] = cel.word("a link by its name; words beside it change it", sorted(PRESETS))
    words["rtt"] = cel.duration("added to the round trip: half of it each way")
    return words


def _word(name: str) -> Schema:
    field = FIELDS[name]
    meaning = f"{field.meaning}; e.g. {field.example}"
    if field.parse in _BUILDERS:
        return _BUILDERS[field.parse](meaning)
    return {"distribution": _distribution, "loss_model": _loss_model, "slot": _slot}[name](meaning)


def _rules(*, rtt: bool) -> list[Schema]:
    rules = [_needs(name, field.needs) for name, field in FIELDS.items() if field.needs]
    rules.append(cel.together(cel.without("loss"), cel.without("loss_model")))
    rules.append(cel.rule("!has(self.cell_size) || !self.cell_size.matches('^[^1-9]*$')", "a cell has some bytes"))
    zero = "self.delay.matches('^[^1-9]*$')"
    some = "self.reorder.matches('[1-9]')"
    rules.append(
        cel.rule(f"!has(self.reorder) || !has(self.delay) || !({zero} && {some})", "reorder needs a delay above zero")
    )
    rules.append(cel.rule("!has(self.rtt) || !has(self.delay)", "rtt is half each way, delay is one way: keep one"))
    if not rtt:
        rules.append(cel.rule("!has(self.rtt)", "rtt speaks of both directions: write delay"))
    return rules


def _needs(name: str, others: tuple[str, ...]) -> Schema:
    """A word that means nothing without one of the others, which a preset may bring."""
    ways = [*others, *(word for other in others for word in _FROM_BOTH.get(other, ()))]
    presets = sorted(key for key, link in PRESETS.items() if all({*others} & {*side} for side in (link.up, link.down)))
    if {name, *ways} & {*_OPAQUE}:
        by_preset = [{"required": ["preset"], "properties": {"preset": {"enum": presets}}}] if presets else []
        return cel.together(cel.without(name), *map(cel.having, ways), *by_preset)
    preset = f" || (has(self.preset) && self.preset in {presets})" if presets else ""
    return cel.rule(
        f"!has(self.{name}) || {cel.any_of(ways)}{preset}", f"{name} means nothing without {' or '.join(others)}"
    )


def _distribution(meaning: str) -> Schema:
    numbers = {
        "minItems": 1,
        "maxItems": MAX_TABLE,
        "items": cel.number("8192 is one jitter", LOWEST, HIGHEST, whole=True),
        "required": ["table"],
    }
    return cel.either(f"{meaning}; or a table of numbers", f"^({'|'.join(CHOICES)})$", **numbers)


def _loss_model(meaning: str) -> Schema:
    return cel.either(
        f"{meaning}; in tc's words, or a mapping of one model to its numbers",
        rf"^\s*({'|'.join(ALIASES)})\s+\S",
        properties={alias: _model(name) for alias, name in ALIASES.items()},
        anyOf=[cel.having(alias) for alias in ALIASES],
        **cel.NO_LIST,
    )


def _model(name: str) -> Schema:
    if name == EVERY_NTH:
        return cel.count("every which packet is lost")
    first, *_ = SHARES[name]
    shares = {field: cel.text("a share", cel.SHARE) for field in SHARES[name]}
    return cel.mapping(f"the numbers of tc's {name}", shares, required=[first])


def _slot(meaning: str) -> Schema:
    fields = {
        "min": cel.unchecked(cel.duration("shortest time between slots")),
        "max": cel.unchecked(cel.duration("longest time between slots")),
        "delay": cel.unchecked(cel.duration("mean time between slots, in place of min and max")),
        "jitter": cel.unchecked(cel.duration("spread of delay")),
        "distribution": _distribution("of the jitter"),
        "packets": cel.count("most packets a slot carries"),
        "bytes": cel.unchecked(cel.size("most bytes a slot carries")),
    }
    return cel.either(
        f'{meaning}; "5ms 10ms" is the shortest and longest time', _SLOT, properties=fields, **cel.NO_LIST
    )


def _escaped(name: str) -> str:
    return f"__{name}__" if name == "for" else name
