"""``python tests/guest_lane.py [TESTS]``: pytest --netem-guest where a guest can run; elsewhere say what is missing.

Without arguments it runs all that asks which engine there is, on the one that only this kernel has. A guest has one
CPU. What is measured tells milliseconds and has the machine for itself; then the examples with this engine's mutations,
and what is judged, are two guests, beside each other where there are two CPUs. A stranger's machine without
user-mode-linux passes with a word; ``NETEM_TESTS_MISSING=fail`` (CI) makes it a failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import shares

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
        said = sys.argv[1:]
        return _guests(said) if said else shares.worst([_guests(MEASURED), _guests(SHOWN, JUDGED)])
    fails = os.environ.get("NETEM_TESTS_MISSING") == "fail"
    sys.stdout.write(f"guest lane {'failed' if fails else 'skipped'}:\n")
    sys.stdout.writelines(f"  {problem}\n" for problem in problems)
    return int(fails)


def _guests(*each: Sequence[str]) -> int:
    """Each share in a guest on a CPU of its own: each chooses one by itself, and two might choose the same."""
    return shares.run(each, "--netem-guest", cpu_each=True)


if __name__ == "__main__":
    sys.exit(main())
