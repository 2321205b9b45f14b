"""``python tests/guest_lane.py [TESTS]``: pytest --netem-guest where a guest can run; elsewhere say what is missing.

Without arguments it runs all that asks which engine there is, on the one that only this kernel has. A guest has one
CPU. What is measured tells milliseconds and has the machine for itself; then the examples with this engine's mutations,
and what is judged, are two guests, beside each other where there are two CPUs. A stranger's machine without
user-mode-linux passes with a word; ``NETEM_TESTS_MISSING=fail`` (CI) makes it a failure.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pytest_k8s_netem.guest.needs import requirements

MEASURED = ("-k", "not userspace", "tests/dataplane", "tests/cluster/effects")
SHOWN = (
    "-k",
    "test_examples and not userspace or on_the_kernel_engine",
    "tests/cluster/test_examples.py",
    "tests/faults/test_mutations.py",
)
JUDGED = ("-k", "kernel and not userspace and not mutations", "tests/cluster/contract", "tests/faults")
"""What each guest runs; the rest does not ask which engine it is, and most mutations are the lane local's."""


def main() -> int:
    """Exit status of the lane."""
    problems = requirements()
    if not problems:
        said = tuple(sys.argv[1:])
        return run([said]) if said else _worst([run([MEASURED]), run([SHOWN, JUDGED])])
    fails = os.environ.get("NETEM_TESTS_MISSING") == "fail"
    sys.stdout.write(f"guest lane {'failed' if fails else 'skipped'}:\n")
    sys.stdout.writelines(f"  {problem}\n" for problem in problems)
    return int(fails)


def run(shares: Sequence[tuple[str, ...]]) -> int:
    """Run each share in a guest of its own; the first one's output as it comes, the others' behind it."""
    pytest = str(Path(sys.executable).with_name("pytest"))
    runs = [[pytest, "--netem-guest", *share] for share in shares]
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < len(runs):
        return _worst([subprocess.run(argv, check=False).returncode for argv in runs])
    with contextlib.ExitStack() as ends:
        begun = []
        for number, (argv, cpu) in enumerate(zip(runs, cpus, strict=False)):
            file = ends.enter_context(_kept()) if number else None
            process = ends.enter_context(_begun(argv, cpu, file))
            ends.callback(process.terminate)
            begun.append((process, file))
        statuses = []
        for process, file in begun:
            statuses.append(process.wait())
            if file:
                file.seek(0)
                sys.stdout.write(file.read())
    return _worst(statuses)


def _worst(statuses: list[int]) -> int:
    """0 if all are; one that a signal ended has a negative one."""
    return next(filter(None, statuses), 0)


def _kept() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def _begun(argv: list[str], cpu: int, output: IO[str] | None) -> subprocess.Popen[bytes]:
    """A run whose guest has this CPU: each chooses one by itself, and two might choose the same."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        return subprocess.Popen(argv, stdout=output, stderr=output)
    finally:
        os.sched_setaffinity(0, allowed)


if __name__ == "__main__":
    sys.exit(main())
