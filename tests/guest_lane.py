"""``python tests/guest_lane.py [TESTS]``: pytest --netem-guest where a guest can run; elsewhere say what is missing.

Without arguments it runs what is measured by engine, on the one that only this kernel has; ``--all`` adds what is
judged by engine, in a second guest beside the first: a guest has one CPU. A stranger's machine without user-mode-linux
passes with a word; ``NETEM_TESTS_MISSING=fail`` (CI) makes it a failure.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_k8s_netem.guest.needs import requirements

MEASURED = ("-k", "not userspace", "tests/dataplane", "tests/cluster/effects", "tests/cluster/test_examples.py")
JUDGED = ("-k", "kernel and not userspace and not mutations", "tests/cluster/contract", "tests/faults")
"""What each guest runs; the rest does not ask which engine it is."""


def main() -> int:
    """Exit status of the lane."""
    problems = requirements()
    if not problems:
        return run(shares(tuple(sys.argv[1:])))
    fails = os.environ.get("NETEM_TESTS_MISSING") == "fail"
    sys.stdout.write(f"guest lane {'failed' if fails else 'skipped'}:\n")
    sys.stdout.writelines(f"  {problem}\n" for problem in problems)
    return int(fails)


def shares(said: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """What the arguments mean, a guest each."""
    if said == ("--all",):
        return MEASURED, JUDGED
    return (said or MEASURED,)


def run(shares: tuple[tuple[str, ...], ...]) -> int:
    """Run each share in a guest of its own; the first one's output as it comes, the others' behind it."""
    pytest = Path(sys.executable).with_name("pytest")
    first, *others = ([pytest, "--netem-guest", *share] for share in shares)
    with contextlib.ExitStack() as ends:
        beside = []
        for argv in others:
            file = ends.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            process = ends.enter_context(subprocess.Popen(argv, stdout=file, stderr=file))
            ends.callback(process.terminate)
            beside.append((process, file))
        statuses = [subprocess.run(first, check=False).returncode]
        for process, file in beside:
            statuses.append(process.wait())
            file.seek(0)
            sys.stdout.write(file.read())
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
