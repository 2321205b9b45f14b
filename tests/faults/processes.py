"""Processes as /proc shows them: who started whom, who still lives; and waiting for a condition."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

PATIENCE = 60.0
"""Seconds that any condition may take; most take a fraction of one."""

Living = dict[int, str]
"""Processes by pid, each with its start time: pids come again."""


def children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # it ends while we look
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    return [each for child in children(pid) for each in (child, *descendants(child))]


def started(pid: int) -> str:
    """Start time of a process; "" if there is none, or only its entry waits for its parent."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if rest[0] in "ZX" else rest[19]


def living(pids: list[int]) -> Living:
    return {pid: began for pid in pids if (began := started(pid))}


def still(those: Living) -> list[int]:
    """Those that have not ended."""
    return [pid for pid, began in those.items() if started(pid) == began]


def command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def with_environment(entry: str) -> Iterator[int]:
    """Living processes that were started with this ``NAME=value``, whoever their parent is now."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if entry.encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0") and started(int(name)):
                yield int(name)


def until(condition: Callable[[], object], what: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until the condition holds; fail with ``what()`` when it does not come to.

    Looking leaves three quarters of the time to what is looked at: a guest has one CPU, and /proc is slow there.
    """
    deadline = time.monotonic() + patience
    while True:
        began = time.monotonic()
        if condition():
            return
        assert time.monotonic() < deadline, what()
        time.sleep(max(0.005, 3 * (time.monotonic() - began)))
