"""``netem uninstall``: heal what is impaired, then take everything out of the cluster."""

from __future__ import annotations

from pytest_k8s_netem.cli import clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which cluster."""
    clusters.arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Remove it, a line each."""
    from pytest_k8s_netem.kube.install.remove import uninstall

    with clusters.connected(arguments) as (call, api):
        removed = call(uninstall(api))
    for line in removed:
        print(f"removed {line}")
    if not removed:
        print("nothing was installed")
    return 0
