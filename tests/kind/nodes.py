"""Nodes by what their kernel has: those with netem carry the label ``netem=yes``.

Where a cluster has none, and the program ``worker-join CLUSTER COUNT`` is there, it is asked to add two; it prints
their names. ``worker-load CLUSTER IMAGE...`` brings them images, ``worker-leave CLUSTER`` takes them away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from pytest_k8s_netem.api.protocol import NODES

LABEL = "netem=yes"


def named(cluster: Any, selector: str = "") -> list[str]:
    """Nodes that a selector takes, workers first."""
    listing = cluster._portal.call(cluster._provider.api.list(NODES, selector=selector))
    nodes = [str(obj["metadata"]["name"]) for obj in listing.items]
    return sorted(nodes, key=lambda name: (name.endswith("-control-plane"), name))


def ordinary(cluster: Any) -> list[str]:
    """Two nodes of kind's own."""
    nodes = named(cluster, f"!{LABEL.partition('=')[0]}")[:2]
    if len(nodes) < 2:
        missing("two nodes", "make the cluster with --netem-nodes=2")
    return nodes


@contextmanager
def with_netem(cluster: Any, *images: str) -> Iterator[list[str]]:
    """Two nodes whose kernel has netem, and these images; those that join for it leave at the end.

    Nothing is scheduled there but what names them, for no other image is.
    """
    joined: list[str] = []
    nodes = named(cluster, LABEL)
    name = cluster._provider.cluster.name
    try:
        if not nodes:
            if not shutil.which("worker-join"):
                missing(f"two nodes with the label {LABEL}", "there is no worker-join on PATH that adds some")
            nodes = joined = program("worker-join", name, "2").split()
        for node in nodes:
            patch = {"spec": {"unschedulable": True}}
            cluster._portal.call(cluster._provider.api.patch(NODES, node, patch, None))
        if not all(has(cluster, node, images) for node in nodes):
            program("worker-load", name, *images)
        yield nodes[:2]
    finally:
        if joined:
            program("worker-leave", name)


def has(cluster: Any, node: str, images: Iterable[str]) -> bool:
    """Whether a node says that it has these images; it says so some seconds after they came."""
    status = cluster._portal.call(cluster._provider.api.get(NODES, node))["status"]
    known = {name.rpartition("/")[2] for image in status.get("images", ()) for name in image["names"]}
    return {name.rpartition("/")[2] for name in images} <= known


def program(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
    return done.stdout


def missing(need: str, fix: str) -> NoReturn:
    """Skip, or fail where ``NETEM_TESTS_MISSING=fail``."""
    told = f"needs {need}: {fix}"
    if os.environ.get("NETEM_TESTS_MISSING") == "fail":
        pytest.fail(told, pytrace=False)
    pytest.skip(told)
