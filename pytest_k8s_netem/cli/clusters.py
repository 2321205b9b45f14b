"""What commands about a cluster share: which one, and the way there."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

    from pytest_k8s_netem.api.kubernetes import KubernetesApi

    Call = Callable[[Coroutine[Any, Any, Any]], Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which cluster."""
    usual = "(default: KUBECONFIG, or ~/.kube/config)"
    parser.add_argument("--kubeconfig", metavar="PATH", help=f"file that names the cluster {usual}")
    parser.add_argument("--context", metavar="NAME", help="context in that file (default: its current one)")


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[tuple[Call, KubernetesApi]]:
    """Its API, and what runs a coroutine and waits for it.

    :raises ProviderError: when it is used, if the file names no cluster.
    """
    from pytest_k8s_netem.api.connection import Connection
    from pytest_k8s_netem.api.kubernetes import KubernetesApi
    from pytest_k8s_netem.run.portal import Portal

    portal = Portal()
    api = KubernetesApi(partial(Connection.from_kubeconfig, arguments.kubeconfig, arguments.context))
    try:
        yield portal.call, api
    finally:
        portal.call(api.close())
        portal.stop()
