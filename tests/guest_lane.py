"""``python tests/guest_lane.py TESTS``: pytest --netem-guest where a guest can run; elsewhere say what is missing.

A stranger's machine without user-mode-linux passes with a word; ``NETEM_TESTS_MISSING=fail`` (CI) makes it a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pytest_k8s_netem.guest.needs import requirements


def main() -> int:
    """Exit status of the lane."""
    problems = requirements()
    if not problems:
        pytest = Path(sys.executable).with_name("pytest")
        return subprocess.run([pytest, "--netem-guest", *sys.argv[1:]], check=False).returncode
    fails = os.environ.get("NETEM_TESTS_MISSING") == "fail"
    sys.stdout.write(f"guest lane {'failed' if fails else 'skipped'}:\n")
    sys.stdout.writelines(f"  {problem}\n" for problem in problems)
    return int(fails)


if __name__ == "__main__":
    sys.exit(main())
