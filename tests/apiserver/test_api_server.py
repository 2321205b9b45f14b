"""The Kubernetes adapter against a real API server: the suite of every Api, and what only a network can do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import api_conformance as suite
import pytest
from control_plane import Lab, control_plane

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.api.protocol import NAMESPACES, PODS, TRAFFICPROFILES, Api, Kind
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.errors import ApiError, ProviderError
from pytest_k8s_netem.local.collector import Collector
from pytest_k8s_netem.local.namespaces import Namespaces

pytestmark = pytest.mark.needs("apiserver")

TestObjects = suite.TestObjects
TestBindings = suite.TestBindings
TestUpdates = suite.TestUpdates
TestDeletion = suite.TestDeletion
TestWatches = suite.TestWatches

CRDS = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
ANY_PROFILE = {
    "metadata": {"name": "trafficprofiles.k8s-netem.riasc.eu"},
    "spec": {
        "group": "k8s-netem.riasc.eu",
        "scope": "Cluster",
        "names": {"plural": "trafficprofiles", "kind": "TrafficProfile"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""The suite's objects are of no profile's form, so that it says the same of every store."""


async def _served(api: Api) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await api.list(TRAFFICPROFILES)
                return
            except ApiError as error:
                if error.status != 404:
                    raise
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with control_plane(tmp_path_factory.mktemp("plane")) as lab:
        lab.call(lab.api.create(CRDS, ANY_PROFILE))
        lab.call(_served(lab.api))
        yield lab


@pytest.fixture
def namespace(lab: Lab) -> str:
    made = lab.call(lab.api.create(NAMESPACES, {"metadata": {"generateName": "here-"}}))
    return str(made["metadata"]["name"])


@pytest.fixture
def run(lab: Lab, namespace: str) -> Iterator[Any]:
    def run(scenario: Any) -> None:
        lab.call(scenario(lab.api, namespace))

    yield run
    for left in lab.call(lab.api.list(TRAFFICPROFILES)).items:
        lab.call(lab.api.delete(TRAFFICPROFILES, left["metadata"]["name"]))


class TestCascades(suite.TestCascades):
    """With what stands in for a controller manager."""

    @pytest.fixture(autouse=True)
    def janitors(self, lab: Lab) -> Iterator[None]:
        api = KubernetesApi(lab.api.connection)

        async def start() -> Runtime:
            runtime = Runtime(api)
            Collector(runtime), Namespaces(runtime)
            await runtime.start()
            return runtime

        runtime = lab.call(start())
        yield
        lab.call(runtime.stop())


def test_a_version_that_the_server_has_forgotten_is_expired(lab: Lab) -> None:
    with pytest.raises(ApiError) as caught:
        lab.call(anext(lab.api.watch(TRAFFICPROFILES, "1")))  # the definition itself is younger
    assert (caught.value.status, caught.value.reason) == (410, "Expired")


def test_a_watch_goes_on_where_its_stream_broke(lab: Lab, namespace: str) -> None:
    async def scenario() -> list[str]:
        api = KubernetesApi(lab.api.connection)
        listing = await api.list(PODS, namespace)
        changes = api.watch(PODS, listing.resource_version, namespace)
        await api.create(PODS, suite.pod("a"), namespace)
        seen = await suite.take(changes, 1)
        (watch,) = api._watches
        watch._stream._answer.shutdown()  # as a balancer that drops a quiet connection
        await api.create(PODS, suite.pod("b"), namespace)
        seen += await suite.take(changes, 1)
        await changes.aclose()
        return [change.object["metadata"]["name"] for change in seen]

    assert lab.call(scenario()) == ["a", "b"]


def test_closing_ends_watches_and_their_threads(lab: Lab) -> None:
    import threading

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "watch of nodes"]

    async def scenario() -> None:
        api = KubernetesApi(lab.api.connection)
        nodes = Kind("v1", "Node", "nodes", namespaced=False)
        version = (await api.list(nodes)).resource_version
        watching = asyncio.ensure_future(anext(api.watch(nodes, version), None))
        async with asyncio.timeout(10):
            while not threads():
                await asyncio.sleep(0.01)
            for watch in api._watches:
                watch.stop()
            assert await watching is None
            while threads():
                await asyncio.sleep(0.01)

    lab.call(scenario())


def test_a_refusal_names_each_field(lab: Lab, namespace: str) -> None:
    bad = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "UPPER", "image": ""}]}}
    with pytest.raises(ApiError, match='Pod "a" is invalid\n') as caught:
        lab.call(lab.api.create(PODS, bad, namespace))
    assert caught.value.status == 422
    assert {problem.path for problem in caught.value.problems} >= {
        "spec.containers[0].name",
        "spec.containers[0].image",
    }


def test_a_server_that_is_not_there_is_told_as_such(lab: Lab, tmp_path: Path) -> None:
    text = lab.plane.kubeconfig.read_text()
    port = text.partition("127.0.0.1:")[2].partition('"')[0]
    (tmp_path / "config").write_text(text.replace(port, "1"))
    api = KubernetesApi(lambda: Connection.from_kubeconfig(str(tmp_path / "config")))
    with pytest.raises(ApiError, match=r"https://127.0.0.1:1 does not answer") as caught:
        asyncio.run(api.list(PODS))
    assert (caught.value.status, caught.value.reason) == (0, "Unreachable")


def test_a_wrong_token_is_unauthorized(lab: Lab, tmp_path: Path) -> None:
    import json

    config = json.loads(lab.plane.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "wrong"
    (tmp_path / "config").write_text(json.dumps(config))
    api = KubernetesApi(lambda: Connection.from_kubeconfig(str(tmp_path / "config"), "netem"))
    with pytest.raises(ApiError) as caught:
        asyncio.run(api.list(PODS))
    assert (caught.value.status, caught.value.reason) == (401, "Unauthorized")


def test_a_kubeconfig_without_that_context(lab: Lab) -> None:
    with pytest.raises(ProviderError, match="context elsewhere"):
        Connection.from_kubeconfig(str(lab.plane.kubeconfig), "elsewhere")


def test_not_in_a_cluster() -> None:
    with pytest.raises(ProviderError, match="not in a cluster"):
        Connection.in_cluster()


def test_both_programs_die_with_a_killed_run(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from pytest_k8s_netem.cluster.controlplane import ControlPlane\n"
        "async def main():\n"
        "    plane = ControlPlane(pathlib.Path(sys.argv[1]))\n"
        "    await plane.start()\n"
        "    print(*(child.pid for child in plane._children.values()), flush=True)\n"
        "    await asyncio.sleep(300)\n"
        "asyncio.run(main())\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "p")], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    pids = [int(word) for word in victim.stdout.readline().split()]
    assert len(pids) == 2
    watched = [os.pidfd_open(pid) for pid in pids]
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    import select

    for fd in watched:
        assert select.select([fd], [], [], 10)[0], "still alive 10 s after its run was killed"
        os.close(fd)
