"""The command ``netem``: what this machine can do, and what dead runs left."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from pytest_k8s_netem.errors import NetemError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 = done, 1 = something is missing or left, 2 = the command line cannot be meant."""
    parser = argparse.ArgumentParser(
        prog="netem", description="Network chaos for tests: tools beside the pytest plugin"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    doctor = commands.add_parser("doctor", help="try what this machine can do, and say how to get what is missing")
    doctor.set_defaults(run=_doctor)
    sweep = commands.add_parser("sweep", help="remove what runs left that were killed")
    sweep.set_defaults(run=_sweep)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run())
    except NetemError as error:
        print(error, file=sys.stderr)
        return 1


def _doctor() -> int:
    from pytest_k8s_netem.cluster.diagnosis import Diagnosis, diagnose
    from pytest_k8s_netem.guest import needs
    from pytest_k8s_netem.run.portal import Portal

    portal = Portal()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = portal.call(diagnose(Path(folder)))
        finally:
            portal.stop()
    missing = needs.requirements()
    told = (
        "\n".join(map(str, missing)) or f"{needs.KERNEL} {needs.kernel_release()}: the kernel engine, for --netem-guest"
    )
    found.append(Diagnosis("guest", not missing, told))
    width = max(len(entry.what) for entry in found)
    for entry in found:
        first, *rest = entry.detail.splitlines() or [""]
        print(f"{'ok     ' if entry.ok else 'missing'}  {entry.what:<{width}}  {first}")
        for line in rest:
            print(f"{'':{width + 11}}{line}")
    able = any(entry.ok and entry.what.startswith("engine") for entry in found) or not missing
    return 0 if able else 1


def _sweep() -> int:
    from pytest_k8s_netem.run.sweep import directories, sweep

    swept = sweep([directories()])
    for line in swept.removed:
        print(f"removed {line}")
    for line in swept.left:
        print(line, file=sys.stderr)
    if not swept.removed and not swept.left:
        print("nothing was left by dead runs")
    return 1 if swept.left else 0
