"""``python tests/local_lane.py [TESTS]``: pytest on this kernel, without arguments in the shares of the lane local.

What tells milliseconds has the machine for itself, and so has what begins several runs itself. All else judges whether
something is proven, killed or left behind, and mostly waits: two runs of pytest do that beside each other, as any two
of a user's may.
"""

from __future__ import annotations

import sys

import shares

CLUSTER, FAULTS = "tests/cluster", "tests/faults"
MEASURED = (
    "tests/dataplane",
    f"{CLUSTER}/effects",
    f"{CLUSTER}/test_controller_agent.py",
    f"{CLUSTER}/test_examples.py",
    f"{FAULTS}/test_together.py",
)
CONTRACT = (f"{CLUSTER}/contract", f"{FAULTS}/test_lost.py")
REST = (CLUSTER, FAULTS, *(f"--ignore={path}" for path in (*MEASURED, *CONTRACT)))
"""Whatever is in none of the others: a new file is never left out."""


def main() -> int:
    """Exit status of the lane."""
    said = sys.argv[1:]
    return shares.run([said]) if said else shares.worst([shares.run([MEASURED]), shares.run([REST, CONTRACT])])


if __name__ == "__main__":
    sys.exit(main())
