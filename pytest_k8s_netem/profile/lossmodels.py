"""Loss in bursts and by number: the forms of ``loss_model``, and back."""

from __future__ import annotations

from dataclasses import fields

from pytest_k8s_netem.model.impairment import EveryNth, FourState, GilbertElliott
from pytest_k8s_netem.profile.findings import Findings, nearest, refusal, written
from pytest_k8s_netem.profile.units import format_share, parse_count, parse_share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.model.impairment import Loss

GILBERT_ELLIOTT, FOUR_STATE, EVERY_NTH = "gilbert-elliott", "4-state", "every-nth"
ALIASES = {
    **dict.fromkeys((GILBERT_ELLIOTT, "gemodel", "ge"), GILBERT_ELLIOTT),
    **dict.fromkeys((FOUR_STATE, "state", "four-state"), FOUR_STATE),
    **dict.fromkeys((EVERY_NTH, "nth"), EVERY_NTH),
}
SHARES = {
    GILBERT_ELLIOTT: tuple(f.name for f in fields(GilbertElliott)),
    FOUR_STATE: tuple(f.name for f in fields(FourState)),
}
"""The numbers of each model by name; the first has no default."""
FORMS = '"gemodel 1% 10%", "state 1% 20%", "every-nth 10", or a mapping: {"gilbert-elliott": {"p": "1%", "r": "10%"}}'


def parse_loss_model(value: object, path: str = "") -> Loss:
    """A model by name: a mapping ``{"gilbert-elliott": {...}}`` or tc's words ``"gemodel p r 1-h 1-k"``.

    Left out, ``r`` is 1-p, ``bad_loss`` 100 %, ``good_loss`` 0 %; ``p31`` is 1-p13, ``p32`` 0, ``p23`` 100 %, ``p14`` 0
    (tc-netem(8)).

    :raises ConfigError: for anything else, with every mistake inside the model.
    """
    if isinstance(value, str) and value.split():
        word, *shares = value.split()
        name = _name(word, value, path)
        return _every_nth(shares, path) if name == EVERY_NTH else _markov(name, _by_place(name, shares, path), path)
    if isinstance(value, dict):
        return _by_name(value, path)
    raise refusal(path, value, "not a loss model", f"write {FORMS}")


def render_loss_model(loss: Loss) -> dict[str, object]:
    """What :func:`parse_loss_model` reads as this model; every share is told."""
    if isinstance(loss, EveryNth):
        return {EVERY_NTH: loss.n}
    name = GILBERT_ELLIOTT if isinstance(loss, GilbertElliott) else FOUR_STATE
    return {name: {field: format_share(getattr(loss, field)) for field in SHARES[name]}}


def _by_name(value: dict[object, object], path: str) -> Loss:
    findings = Findings()
    models = findings.mapping(value, path, ALIASES)
    if not findings.problems and len(models) != 1:
        findings.add(path, value, "expected one loss model", f"write {FORMS}")
    findings.settle()
    ((word, told),) = models.items()
    inner = f"{path}.{word}"
    if ALIASES[word] == EVERY_NTH:
        return EveryNth(parse_count(told, inner))
    shares = findings.mapping(told, inner, SHARES[ALIASES[word]])
    findings.settle()
    return _markov(ALIASES[word], shares, inner)


def _name(word: object, value: object, path: str) -> str:
    if not isinstance(word, str) or word not in ALIASES:
        raise refusal(path, value, "unknown loss model", nearest(word, ALIASES))
    return ALIASES[word]


def _by_place(name: str, shares: list[str], path: str) -> Mapping[str, object]:
    if len(shares) > len(SHARES[name]):
        raise refusal(path, " ".join(shares), f"too many numbers; {name} has {', '.join(SHARES[name])}")
    return dict(zip(SHARES[name], shares, strict=False))


def _markov(name: str, told: Mapping[str, object], path: str) -> Loss:
    first = SHARES[name][0]
    if first not in told:
        raise refusal(path, dict(told), f"{name} needs {first}", f"write {FORMS}")
    findings = Findings()
    shares = {field: findings.read(parse_share, value, f"{path}.{field}", 0.0) for field, value in told.items()}
    findings.settle()
    if name == GILBERT_ELLIOTT:
        return GilbertElliott(**{"r": 1 - shares["p"], **shares})
    return FourState(**{"p31": 1 - shares["p13"], "p32": 0.0, "p23": 1.0, "p14": 0.0, **shares})


def _every_nth(words: list[str], path: str) -> EveryNth:
    if len(words) != 1:
        raise refusal(path, " ".join(words), "every-nth has one number", f"write {written(path, 'every-nth 10')}")
    return EveryNth(parse_count(words[0], path))
