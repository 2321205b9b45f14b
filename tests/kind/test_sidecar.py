"""Pods that come with the agent: the patch that admission would apply is applied to their manifests here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from pytest_k8s_netem.kube import sidecar

TIMED = """
import json, socket, sys, time
took = []
for _ in range(5):
    start = time.perf_counter()
    socket.create_connection((sys.argv[1], 7), 20).close()
    took.append(time.perf_counter() - start)
print(json.dumps(took), flush=True)
time.sleep(3600)
"""


@pytest.mark.netem(rtt="80ms", pods=["app=client", "app=early"], to="app=server", inert="ignore")
def test_an_app_starts_on_an_impaired_network(pair: Any, pod: Any, injected: Any) -> None:
    """Its very first connection pays the round trip."""
    with early(pair, injected(pod("early", "python3", "-c", TIMED, pair.pod("server").ip))) as (started, took):
        assert min(took) >= 0.08, took
        assert not started.object["spec"].get("ephemeralContainers"), "one agent is enough"


@pytest.mark.netem(delay="80ms", pods="app=server", to=["app=client", "app=early"], inert="ignore")
def test_an_app_starts_when_the_rules_of_others_know_its_address(pair: Any, pod: Any, injected: Any) -> None:
    """Answers to its very first connection are late, though the kubelet has told nobody of its address yet."""
    with early(pair, injected(pod("early", "python3", "-c", TIMED, pair.pod("server").ip))) as (_, took):
        assert min(took) >= 0.08, took


@contextmanager
def early(pair: Any, manifest: dict[str, Any]) -> Iterator[tuple[Any, list[float]]]:
    """A pod that has just started, and how long each of its first connections took (s)."""
    with pair.apply(manifest):
        pair.wait_ready("app=early")
        started = pair.pod("early")
        deadline = time.monotonic() + 20
        while not started.logs(container="main"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield started, json.loads(started.logs(container="main"))


def test_a_pod_that_no_profile_takes_starts_at_once(pair: Any, pod: Any, injected: Any) -> None:
    with pair.apply(injected(pod("plain", "sleep", "infinity"))):
        pair.wait_ready("app=plain")
        status = pair.pod("plain").object["status"]
        began = status["initContainerStatuses"][0]["state"]["running"]["startedAt"]
        started = status["containerStatuses"][0]["state"]["running"]["startedAt"]
        waited = datetime.fromisoformat(started) - datetime.fromisoformat(began)
        assert waited.total_seconds() < sidecar.PATIENCE, "the gate was opened, not waited for"


def test_the_agent_has_no_token(pair: Any, pod: Any, injected: Any) -> None:
    with pair.apply(injected(pod("plain", "sleep", "infinity"))):
        pair.wait_ready("app=plain")
        assert pair.exec("plain", ["ls", sidecar.TOKEN], container="main").stdout.split()
        assert not pair.exec("plain", ["ls", sidecar.TOKEN], container=sidecar.CONTAINER).stdout.split()
