"""Makes the API server or a node stand still, and sees that they do."""

from __future__ import annotations

import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from innerrun import until, waited

from pytest_k8s_netem.api.protocol import NODES
from pytest_k8s_netem.errors import ApiError

LEASE, MORE = 30, 5
"""Seconds: after so long agents that nobody reaches have healed their pods, says the contract."""


def answers(scene: Any) -> bool:
    """Whether the API server does, within two seconds."""
    url = scene.cluster._provider._cluster.connection().host
    try:
        urllib.request.urlopen(f"{url}/livez", timeout=2, context=ssl._create_unverified_context()).close()
    except OSError as error:
        return "HTTP Error" in str(error)  # it refuses strangers, so it answers
    return True


def paused_api_server(scene: Any, seconds: float) -> AbstractContextManager[None]:
    """It stands still, with all its connections."""
    pids = [str(pid) for pid in scene.nodes.pids(scene.nodes.main, "^kube-apiserver ")]
    return _away(scene, seconds, ["kill", "-STOP", *pids], ["kill", "-CONT", *pids])


def refused_api_server(scene: Any, seconds: float) -> AbstractContextManager[None]:
    """All its connections are reset, and new ones refused."""
    rule = ["INPUT", "-p", "tcp", "--dport", "6443", "-j", "REJECT", "--reject-with", "tcp-reset"]
    return _away(scene, seconds, ["iptables", "-I", *rule], ["iptables", "-D", *rule])


@contextmanager
def _away(scene: Any, seconds: float, begin: list[str], end: list[str]) -> Iterator[None]:
    """The API server does not answer from one command on its node to the other, for as long at least."""
    nodes = scene.nodes
    began = time.time()
    nodes.run(nodes.main, *begin)
    try:
        assert not answers(scene), "it answers"
        yield
        waited(began + seconds)
    finally:
        nodes.run(nodes.main, *end)


def back(scene: Any) -> None:
    """Wait until the API server answers, and a controller leads that is ready."""

    def there() -> bool:
        try:
            return bool(scene.controller().ready)
        except (ApiError, OSError):
            return False

    until(there, lambda: "the API server does not come back", 120)


@contextmanager
def paused_node(nodes: Any, node: str) -> Iterator[None]:
    """All of the node stands still: pods, agents, kubelet."""
    nodes.docker("pause", node)
    try:
        yield
    finally:
        nodes.docker("unpause", node)


def node_ready(scene: Any, name: str) -> bool:
    """Whether the control plane thinks that a node is well."""
    node = next(obj for obj in scene.listed(NODES) if obj["metadata"]["name"] == name)
    return {one["type"]: one["status"] for one in node["status"]["conditions"]}["Ready"] == "True"
