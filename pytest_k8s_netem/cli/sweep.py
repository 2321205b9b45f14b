"""``netem sweep``: remove what dead runs left."""

from __future__ import annotations

import sys
from contextlib import nullcontext

from pytest_k8s_netem.cli import clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterable

    from pytest_k8s_netem.api.protocol import Api
    from pytest_k8s_netem.run.sweep import Sweeper


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which cluster, if any."""
    clusters.arguments(parser)
    parser.description = f"{parser.description}: on this machine, and in a cluster if one is named"


def run(arguments: argparse.Namespace) -> int:
    """Remove it, a line each; 1 if something stays."""
    from pytest_k8s_netem.cluster.sweeping import clusters as of_kind
    from pytest_k8s_netem.docker.sweeping import helpers
    from pytest_k8s_netem.guest.sweeping import folders
    from pytest_k8s_netem.run.sweep import directories, sweep

    named = arguments.context or arguments.kubeconfig
    with clusters.connected(arguments) if named else nullcontext() as cluster:
        swept = sweep([of_kind(), directories(), folders(), helpers(), *([_of(*cluster)] if cluster else [])])
    for line in swept.removed:
        print(f"removed {line}")
    for line in swept.left:
        print(line, file=sys.stderr)
    if not swept.removed and not swept.left:
        print("dead runs left nothing behind")
    return 1 if swept.left else 0


def _of(call: clusters.Call, api: Api) -> Sweeper:
    """Sweeps a cluster; what was removed is told also if something stays."""
    from pytest_k8s_netem.kube.sweeping import sweep

    def sweeper() -> Iterable[str]:
        lines = sweep(api)
        while line := call(_next(lines)):
            yield line

    return sweeper


async def _next(lines: AsyncIterator[str]) -> str:
    return await anext(lines, "")
