"""``python tests/guest_lane.py [TESTS]``: pytest --netem-guest where a guest can run; elsewhere say what is missing.

Without arguments it runs what is measured by engine, and then what is judged by it, on the one that only this kernel
has. A stranger's machine without user-mode-linux passes with a word; ``NETEM_TESTS_MISSING=fail`` (CI) makes it a
failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pytest_k8s_netem.guest.needs import requirements

MEASURED = ("-k", "not userspace", "tests/dataplane", "tests/cluster/effects", "tests/cluster/test_examples.py")
JUDGED = ("-k", "kernel and not userspace and not mutations", "tests/cluster/contract", "tests/faults")
"""What each guest runs; the rest does not ask which engine it is."""


def main() -> int:
    """Exit status of the lane."""
    problems = requirements()
    if not problems:
        said = tuple(sys.argv[1:])
        return max(run(*share) for share in ((said,) if said else (MEASURED, JUDGED)))
    fails = os.environ.get("NETEM_TESTS_MISSING") == "fail"
    sys.stdout.write(f"guest lane {'failed' if fails else 'skipped'}:\n")
    sys.stdout.writelines(f"  {problem}\n" for problem in problems)
    return int(fails)


def run(*arguments: str) -> int:
    """Exit status of pytest in a guest of its own."""
    pytest = Path(sys.executable).with_name("pytest")
    return subprocess.run([pytest, "--netem-guest", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
