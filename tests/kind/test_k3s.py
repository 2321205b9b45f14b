"""The road of provider ``k3s``, whose own image cannot be had: a node of kind stands in for the container of K3s."""

from __future__ import annotations

import statistics
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_k8s_netem.cluster import k3s
from pytest_k8s_netem.cluster.session import Choices, open_session

IMAGE = "python:3.11-slim-bookworm"
CONNECT = """
import socket, sys, time
for _ in range(5):
    start = time.perf_counter()
    socket.create_connection((sys.argv[1], 7), 20).close()
    print((time.perf_counter() - start) * 1000)
"""


def test_a_container_becomes_a_cluster_that_is_impaired(
    netem_cluster: Any, pod: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = netem_cluster._provider
    node = f"{provider.cluster.name}-control-plane"
    calls: list[str] = []

    class StandIn:
        def __init__(self, image: str) -> None:
            calls.append(image)

        def start(self) -> StandIn:
            calls.append("start")
            return self

        def stop(self) -> None:
            calls.append("stop")

        def config_yaml(self) -> str:
            return str(provider.kubeconfig.read_text())

        def get_wrapped_container(self) -> Any:
            found = subprocess.run(
                ["docker", "inspect", "-f", "{{.Id}}", node], check=True, capture_output=True, text=True
            )
            return SimpleNamespace(id=found.stdout.strip())

    monkeypatch.setattr(k3s, "container_class", lambda: StandIn)
    session = open_session(Choices(provider="k3s", k3s_image="rancher/k3s:tag"))
    try:
        session.cluster.load_image(IMAGE)
        made = session.make_namespace("k3s")
        # Both on the node that the image came to, as K3s has but one.
        pins = {"nodeName": node}
        echo = "import socket\ns = socket.create_server(('', 7))\nwhile True: s.accept()"
        made.apply([pod("client", "sleep", "infinity", **pins), pod("server", "python3", "-c", echo, **pins)])
        made.wait_ready()
        address = made.pod("server").ip
        with made.impair(delay="80ms", pods="app=client", to="app=server"):
            lines = made.exec("client", ["python3", "-c", CONNECT, address]).stdout.split()
        assert statistics.median(map(float, lines)) >= 80
        session.end_namespace(made)
    finally:
        session.close()
    assert calls == ["rancher/k3s:tag", "start", "stop"]
