"""``netem sweep``: remove what dead runs left."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> int:
    """Remove it, a line each; 1 if something stays."""
    from pytest_k8s_netem.run.sweep import directories, sweep

    swept = sweep([directories()])
    for line in swept.removed:
        print(f"removed {line}")
    for line in swept.left:
        print(line, file=sys.stderr)
    if not swept.removed and not swept.left:
        print("nothing was left by dead runs")
    return 1 if swept.left else 0
