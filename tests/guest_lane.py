"""``python tests/guest_lane.py [TESTS]``: pytest --netem-guest where a guest can run; elsewhere say what is missing.

Without arguments it runs what is judged by engine, on the one that only this kernel has, in two guests side by side: a
guest has one CPU. A stranger's machine without user-mode-linux passes with a word; ``NETEM_TESTS_MISSING=fail`` (CI)
makes it a failure.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_k8s_netem.guest.needs import requirements

SHARES = (
    ("-k", "not userspace", "tests/dataplane", "tests/cluster/effects"),
    ("-k", "kernel and not userspace", "tests/cluster/contract", "tests/cluster/test_examples.py", "tests/faults"),
)
"""What each guest runs; the rest does not ask which engine it is."""


def main() -> int:
    """Exit status of the lane."""
    problems = requirements()
    if not problems:
        return run((tuple(sys.argv[1:]),) if sys.argv[1:] else SHARES)
    fails = os.environ.get("NETEM_TESTS_MISSING") == "fail"
    sys.stdout.write(f"guest lane {'failed' if fails else 'skipped'}:\n")
    sys.stdout.writelines(f"  {problem}\n" for problem in problems)
    return int(fails)


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
