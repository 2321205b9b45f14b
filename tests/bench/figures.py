"""How figures are taken and printed."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable


def say(*words: object) -> None:
    """Print a line; shown with ``pytest -s``."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def milliseconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def table(title: str, rows: dict[str, list[float]], unit: str = "ms") -> None:
    """Minimum, median and 90th percentile of each row, and the median's ratio to the first row's."""
    first = median(next(iter(rows.values())))
    say(f"{title:52}{'min':>9}{'p50':>9}{'p90':>9} {unit}   ratio")
    for name, values in rows.items():
        ordered = sorted(values)
        shown = ordered[0], median(ordered), ordered[len(ordered) * 9 // 10]
        say(f"{name:52}" + "".join(f"{value:9.2f}" for value in shown) + f"{'':6}{shown[1] / first:6.2f}")
