"""A profile until it is verified and until it is healed, what the sidecar costs a pod: on a real cluster."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from statistics import mean
from typing import Any

import pytest
from figures import median, say

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.protocol import NAMESPACES, PODS, SERVICEACCOUNTS, TRAFFICPROFILES
from pytest_k8s_netem.cluster.readiness import made
from pytest_k8s_netem.controller import waiting

ROUNDS = 25
STARTS = 9
IMAGE = "python:3.11-slim-bookworm"
WITHIN = 60.0


def told(what: str, values: list[float], unit: str = "ms") -> None:
    ordered = sorted(values)
    shown = ordered[0], median(ordered), ordered[len(ordered) * 9 // 10]
    say(f"| {what} |", " | ".join(f"{value:.0f}" for value in shown), f"| {unit} (min, p50, p90 of {len(values)})")


def pod(name: str, role: str = "") -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "infinity"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, "role": role}},
        "spec": spec,
    }


def profile(name: str, milliseconds: int, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "k8s-netem.riasc.eu/v1",
        "kind": "TrafficProfile",
        "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            "podSelector": {"matchLabels": labels or {"app": "bench"}},
            "impairment": {"delay": f"{milliseconds}ms"},
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "peer"}}}]}],
        },
    }


@pytest.fixture(scope="module")
def pods(netem_cluster: Any) -> Iterator[Any]:
    netem_cluster.load_image(IMAGE)
    with netem_cluster.apply([pod("bench"), pod("peer")]):
        netem_cluster.wait_ready()
        yield netem_cluster


@pytest.fixture
def call(pods: Any) -> Callable[[Any], Any]:
    return pods._portal.call


def test_a_profile(pods: Any, call: Callable[[Any], Any]) -> None:
    """With the agent in place; the probe of a round trip of 2 ms is part of it."""
    api = pods._provider.api
    applied, healed = [], []
    for at in range(ROUNDS + 3):
        name = f"bench-{secrets.token_hex(4)}"
        start = time.perf_counter()
        call(api.create(TRAFFICPROFILES, profile(name, 2 + at % 2)))
        call(waiting.verified(api, name, 1, WITHIN))
        applied.append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
        call(api.delete(TRAFFICPROFILES, name))
        call(waiting.gone(api, name, WITHIN))
        healed.append((time.perf_counter() - start) * 1e3)
    told("profile created until it is verified in a pod", applied[3:])
    told("profile deleted until its pod is healed and its object gone", healed[3:])


def test_a_profile_by_kubectl(pods: Any, call: Callable[[Any], Any]) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl on PATH")
    api = pods._provider.api
    command = ["kubectl", f"--kubeconfig={pods._provider.kubeconfig}"]
    alone, whole = [], []
    for _ in range(9):
        name = f"bench-{secrets.token_hex(4)}"
        start = time.perf_counter()
        subprocess.run([*command, "apply", "-f", "-"], input=json.dumps(profile(name, 2)), text=True, check=True)
        alone.append((time.perf_counter() - start) * 1e3)
        call(waiting.verified(api, name, 1, WITHIN))
        whole.append((time.perf_counter() - start) * 1e3)
        call(api.delete(TRAFFICPROFILES, name))
        call(waiting.gone(api, name, WITHIN))
    told("kubectl apply begins, until it is verified", whole)
    told("of which kubectl itself", alone)


@pytest.mark.parametrize("there", ["no profile", "a profile for other pods", "a profile for it"])
def test_a_pods_start(pods: Any, call: Callable[[Any], Any], there: str) -> None:
    """From its creation until it is ready: by turns with the sidecar, and in a namespace that has none.

    The kubelet looks at containers once a second. A pod whose end was such a look would begin with the next second, and
    its start would take whole ones; pods of users begin at any moment.
    """
    api = pods._provider.api
    selected = {"no profile": None, "a profile for other pods": {}, "a profile for it": {"role": "start"}}[there]
    with ExitStack() as stack:
        bare = stack.enter_context(bare_namespace(api, call))
        if selected is not None:
            call(api.create(TRAFFICPROFILES, profile("there", 2, **selected)))
            stack.callback(lambda: (call(api.delete(TRAFFICPROFILES, "there")), call(waiting.gone(api, "there", 30))))
        took: dict[str, list[float]] = {"default": [], bare: []}
        for at in range(STARTS):
            for namespace, values in took.items():
                values.append(start_of(api, call, f"start-{at}", namespace))
    told(f"a pod's start, with the sidecar, while there is {there}", took["default"])
    told("a pod's start, without", took[bare])
    told("difference of two by turns", [w - wo for w, wo in zip(took["default"], took[bare], strict=True)])
    say(f"| difference of the means | {mean(took['default']) - mean(took[bare]):.0f} | ms")


@contextmanager
def bare_namespace(api: Any, call: Callable[[Any], Any]) -> Iterator[str]:
    name = f"bench-{secrets.token_hex(3)}"
    call(api.create(NAMESPACES, {"metadata": {"name": name}}))
    try:
        call(made(api, SERVICEACCOUNTS, "default", name, 30))
        yield name
    finally:
        call(api.delete(NAMESPACES, name))


def start_of(api: Any, call: Callable[[Any], Any], name: str, namespace: str) -> float:
    async def started() -> float:
        await asyncio.sleep(random.random())
        start = time.perf_counter()
        await api.create(PODS, pod(name, "start"), namespace)
        listing = await api.list(PODS, namespace)
        if any(is_ready(obj) for obj in listing.items if obj["metadata"]["name"] == name):
            return (time.perf_counter() - start) * 1e3
        async with aclosing(api.watch(PODS, listing.resource_version, namespace)) as changes:
            async for change in changes:
                if change.object["metadata"]["name"] == name and is_ready(change.object):
                    return (time.perf_counter() - start) * 1e3
        raise AssertionError("the watch has ended")

    try:
        return float(call(started()))
    finally:
        call(api.delete(PODS, name, namespace, grace=0))


def test_memory(pods: Any, netem: Any) -> None:
    """Of all processes of the sidecar: what is theirs alone, and their part of what they share."""
    say(f"| sidecar, idle | {memory(pods):.1f} | MiB")
    with netem.impair(delay="10ms", pods="app=bench", to="app=peer", inert="ignore") as handle:
        say(f"| sidecar, one profile ({handle.engine} engine) | {memory(pods):.1f} | MiB")


def memory(pods: Any) -> float:
    """MiB; the shell that asks is not counted."""
    script = "for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || cat $p/smaps_rollup 2>/dev/null; done"
    asked = pods.exec("bench", ["sh", "-c", f"{script} | grep ^Pss:"], container="netem-agent")
    return sum(int(line.split()[1]) for line in asked.stdout.splitlines()) / 1024
