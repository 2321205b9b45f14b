"""``netem namespace enable|disable``: which namespaces' pods may be impaired."""

from __future__ import annotations

from pytest_k8s_netem.cli import clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """What, where."""
    parser.add_argument("what", choices=("enable", "disable"), help="add label and RoleBinding, or remove both")
    parser.add_argument("namespaces", nargs="+", metavar="NAMESPACE", help="namespaces of the cluster")
    clusters.arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it, one after the other; the first that cannot be ends it."""
    from pytest_k8s_netem.kube.install import optin

    work = {"enable": optin.enable, "disable": optin.disable}[arguments.what]
    with clusters.connected(arguments) as (call, api):
        for namespace in arguments.namespaces:
            call(work(api, namespace))
            print(f"{arguments.what}d namespace {namespace}")
    return 0
