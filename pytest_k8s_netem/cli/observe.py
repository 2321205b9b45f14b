"""``netem observe``: what is impaired now."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from pytest_k8s_netem.run.snapshot import Observation


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where, and in which form."""
    parser.description = (
        "Show every TrafficProfile in force, and what each pod holds of it, read back now: of your pytest runs on this "
        "machine, or of a cluster. The exit status is 1 if something cannot be asked or is not as its profile says."
    )
    parser.add_argument("--kubeconfig", metavar="PATH", help="of the cluster that this file names, not of runs")
    parser.add_argument("--context", metavar="NAME", help="of the cluster of this context, not of runs")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")


def run(arguments: argparse.Namespace) -> int:
    """Ask, print; 1 if something cannot be asked or is not as its profile says."""
    from pytest_k8s_netem.report import observation

    seen = _seen(arguments.kubeconfig, arguments.context)
    if arguments.output == "json":
        import json

        print(json.dumps(observation.simple(seen), indent=2))
    else:
        print(observation.table(seen) if seen else "none of your pytest runs on this machine has pods now")
    return 0 if observation.verified(seen) else 1


def _seen(kubeconfig: str | None, context: str | None) -> list[Observation]:
    from pytest_k8s_netem.cluster.observing import of_cluster, of_runs
    from pytest_k8s_netem.run.portal import Portal

    portal = Portal()
    try:
        if kubeconfig or context:
            return [portal.call(of_cluster(kubeconfig, context))]
        return portal.call(of_runs())
    finally:
        portal.stop()
