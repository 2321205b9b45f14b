"""Removes what runs left that died: their directories, and by sweepers that other rooms bring whatever else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_k8s_netem.errors import NetemError
from pytest_k8s_netem.run.directory import remove, remove_dead, run_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

Sweeper = Callable[[], Iterable[str]]
"""Removes leftovers of one sort; yields a line for each that it removed, raises NetemError for one it could not."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed, and what it could not, a line each."""

    removed: tuple[str, ...]
    left: tuple[str, ...]


def directories(base: Path | None = None) -> Sweeper:
    """Sweeps directories of dead runs; raises NetemError for one that cannot be removed."""

    def sweep() -> Iterable[str]:
        for path in run_directories(base):
            if remove_dead(path):
                remove(path)  # and their common parent, if this was the last one
                yield f"directory {path}"

    return sweep


def sweep(sweepers: Sequence[Sweeper]) -> Swept:
    """Let each sweeper do its work; a failure of one does not keep the others from theirs."""
    removed: list[str] = []
    left: list[str] = []
    for sweeper in sweepers:
        try:
            removed.extend(sweeper())
        except NetemError as error:
            left.append(str(error))
    return Swept(tuple(removed), tuple(left))
