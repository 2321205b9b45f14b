"""Pods that come with the agent: the patch that admission would apply is applied to their manifests here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
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


@pytest.fixture
def injected(pair: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(manifest: dict[str, Any]) -> dict[str, Any]:
        for step in sidecar.patch(manifest, "default", pair._provider.agent_image):
            manifest["spec"].setdefault(step["path"].split("/")[2], [])[:0] = (
                step["value"] if isinstance(step["value"], list) else [step["value"]]
            )
        return manifest

    return change


@pytest.mark.netem(rtt="80ms", pods=["app=client", "app=early"], to="app=server", inert="ignore")
def test_an_app_starts_on_an_impaired_network(pair: Any, pod: Any, injected: Any) -> None:
    """Its very first connection pays the round trip."""
    manifest = injected(pod("early", "python3", "-c", TIMED, pair.pod("server").ip))
    with pair.apply(manifest):
        pair.wait_ready("app=early")
        early = pair.pod("early")
        deadline = time.monotonic() + 20
        while not early.logs(container="main"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        took = json.loads(early.logs(container="main"))
        assert min(took) >= 0.08, took
        assert not early.object["spec"].get("ephemeralContainers"), "one agent is enough"


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
