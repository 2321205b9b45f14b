"""A lane's tests as several runs of pytest, its shares: one after another, or beside each other on two CPUs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

PATIENCE = 10.0
"""Seconds for a run's teardown after Ctrl-C, which a terminal sends to it as well."""


def run(shares: Sequence[Sequence[str]], *options: str, cpu_each: bool = False) -> int:
    """Run the shares beside each other, with these options each; the first failing one's exit status, or 0.

    The first one's output comes as it comes, the others' behind it. ``cpu_each``: each has a CPU of its own. Where
    there are fewer CPUs than shares, they run one after another.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < len(shares):
        return worst([run([share], *options, cpu_each=cpu_each) for share in shares])
    pytest = str(Path(sys.executable).with_name("pytest"))
    with contextlib.ExitStack() as ends:
        begun = []
        for number, share in enumerate(shares):
            file = ends.enter_context(_kept()) if number else None
            process = ends.enter_context(
                _begun([pytest, *options, *share], {cpus[number]} if cpu_each else set(cpus), file)
            )
            ends.callback(_end, process)
            begun.append((process, file))
        statuses = []
        for process, file in begun:
            statuses.append(process.wait())
            if file:
                file.seek(0)
                sys.stdout.write(file.read())
                sys.stdout.flush()
    return worst(statuses)


def worst(statuses: Sequence[int]) -> int:
    """0 if all are; one that a signal ended has a negative one."""
    return next(filter(None, statuses), 0)


def _kept() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def _begun(argv: list[str], cpus: set[int], output: IO[str] | None) -> subprocess.Popen[bytes]:
    """A run on these CPUs and no other."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        return subprocess.Popen(argv, stdout=output, stderr=output)
    finally:
        os.sched_setaffinity(0, allowed)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    process.terminate()
