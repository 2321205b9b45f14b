"""How exactly a kernel can hold an impairment: the one table by which held and planned are compared."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

from pytest_k8s_netem.model.impairment import Impairment
from pytest_k8s_netem.model.tables import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TIME = 1_000
"""ns; kernels without 64-bit attributes hold ticks of 64 ns (PSCHED_SHIFT of net/pkt_sched.h), older tools whole us."""
CHANCE = 2.0**-31
"""Chances are 32-bit fixed point in tc_netem_qopt and its companions: 2^-32, and once more for rounding twice."""

ROUNDING: dict[str, float] = {
    "delay": TIME,
    "jitter": TIME,
    "min_delay": TIME,
    "max_delay": TIME,
    "delay_corr": CHANCE,
    "p": CHANCE,
    "correlation": CHANCE,
    "r": CHANCE,
    "bad_loss": CHANCE,
    "good_loss": CHANCE,
    "p13": CHANCE,
    "p31": CHANCE,
    "p32": CHANCE,
    "p23": CHANCE,
    "p14": CHANCE,
}
"""Greatest difference allowed, by the name of the innermost field; fields not named here are exact."""


def differences(planned: Impairment, held: Impairment) -> list[tuple[str, Any, Any]]:
    """(field, planned, held) for each field that differs by more than :data:`ROUNDING`; [] = equal."""
    return list(_compare("", _normal(planned), _normal(held)))


def _normal(impairment: Impairment) -> Impairment:
    """``reorder`` without a gap means every packet: a gap of 1, as tc sends it."""
    if impairment.reorder and not impairment.gap:
        return replace(impairment, gap=1)
    return impairment


def _compare(path: str, planned: Any, held: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(planned, Table) or not is_dataclass(planned) or type(planned) is not type(held):
        if not _close(path.rpartition(".")[2], planned, held):
            yield path, planned, held
        return
    for f in fields(planned):
        inner = f"{path}.{f.name}" if path else f.name
        yield from _compare(inner, getattr(planned, f.name), getattr(held, f.name))


def _close(name: str, planned: Any, held: Any) -> bool:
    if name in ROUNDING and isinstance(planned, int | float) and isinstance(held, int | float):
        return abs(planned - held) <= ROUNDING[name]
    return bool(planned == held)
