"""``netem doctor``: try what this machine can do."""

from __future__ import annotations

import tempfile
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> int:
    """Start what the embedded cluster starts, ask the kernel, end it again; 1 if nothing here can impair."""
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
