"""Faults of all parts on a real cluster: pods with an agent beside each other, and hands that reach past Kubernetes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))

from innerrun import InnerRun
from traffic import DELAY, PACE, SAMPLER, Client

from pytest_k8s_netem.api.protocol import LEASES, TRAFFICPROFILES, Kind
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.kube.install.names import LEADER, NAMESPACE

IMAGE = "python:3.11-slim-bookworm"
PROGRAMS = Path(__file__).parents[3] / "examples" / "programs"
MARKED = """
@pytest.mark.netem({said}pods="app={pod}", namespaces="{namespace}")
def test_{name}(body):
    body()
"""


class Nodes:
    """The cluster's nodes, as Docker's containers."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.main = f"{cluster}-control-plane"
        self.other, self.third = f"{cluster}-worker", f"{cluster}-worker2"

    def run(self, node: str, *argv: str, check: bool = True) -> str:
        """Run a command on a node, past Kubernetes."""
        done = subprocess.run(["docker", "exec", node, *argv], check=False, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def pids(self, node: str, pattern: str) -> list[int]:
        """Processes of a node whose command line matches."""
        return [int(pid) for pid in self.run(node, "pgrep", "-f", pattern, check=False).split()]

    def docker(self, *argv: str) -> None:
        """A command of Docker's."""
        subprocess.run(["docker", *argv], check=True, capture_output=True)

    def agent(self, pod: Any) -> tuple[str, int]:
        """Node and process of a pod's agent: the keeper, not a worker of its; 0 = it has none now."""
        node, mark = pod.node, f"NETEM_TARGET={pod.namespace}/{pod.name}"
        which = f'grep -qzx "{mark}" /proc/$pid/environ'
        script = f'for pid in $(pgrep -f "agent/__main__.py keep"); do {which} && echo $pid; done; true'
        return node, min(map(int, self.run(node, "sh", "-c", script).split()), default=0)


class Scene:
    """A namespace with an echo server on the control plane, and clients on the other node."""

    def __init__(self, cluster: Any, namespace: Any, nodes: Nodes, pod: Callable[..., dict[str, Any]]) -> None:
        self.cluster, self.namespace, self.nodes, self._pod = cluster, namespace, nodes, pod
        self.server = ""
        self.sampling: list[Client] = []

    def serve(self, program: list[str]) -> None:
        """Start the server."""
        server = self._pod("server", *program, nodeName=self.nodes.main)
        server["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 7}, "periodSeconds": 1}
        self.namespace.apply(server)
        self.namespace.wait_ready("app=server")
        self.server = self.namespace.pod("server").ip

    def manifest(self, name: str, node: str = "") -> dict[str, Any]:
        """Of a client."""
        sampler = ["python3", "-c", SAMPLER, self.server, str(PACE)]
        return self._pod(name, *sampler, nodeName=node or self.nodes.other)

    def clients(self, *names: str, node: str = "") -> list[Client]:
        """New clients, which sample already."""
        return self.started(*(self.manifest(name, node) for name in names))

    def started(self, *manifests: dict[str, Any]) -> list[Client]:
        """New clients of these manifests, which sample already."""
        names = [manifest["metadata"]["name"] for manifest in manifests]
        for manifest in manifests:
            self.namespace.apply(manifest)
        for name in names:
            self.namespace.wait_ready(f"app={name}")
        clients = [Client(self.namespace.pod(name)) for name in names]
        self.sampling += clients
        return clients

    def remove(self, clients: list[Client]) -> None:
        """Take clients away, which would keep a small machine busy."""
        for client in clients:
            self.sampling.remove(client)
            with suppress(ApiError):  # it is gone with its namespace
                client.pod.delete(grace=0)

    def client(self, name: str, node: str = "") -> Client:
        """One of them."""
        return self.clients(name, node=node)[0]

    def test(self, client: Client, said: str = f'delay="{DELAY}ms", ', name: str = "") -> str:
        """A test's source that impairs a client and stays in its body."""
        return MARKED.format(
            said=said, pod=client.name, namespace=self.namespace.name, name=name or client.name.replace("-", "_")
        )

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Ask the API server."""
        return self.cluster._portal.call(getattr(self.cluster._provider.api, method)(*arguments, **named))

    def listed(self, kind: Kind = TRAFFICPROFILES, namespace: str | None = None) -> list[dict[str, Any]]:
        """Objects of a kind."""
        return list(self.call("list", kind, namespace).items)

    def profiles(self, client: Client) -> list[dict[str, Any]]:
        """Profiles that name a client."""
        return [obj for obj in self.listed() if client.name in str(obj["spec"])]

    def leases(self) -> set[str]:
        """Leases of runs."""
        return {str(obj["metadata"]["name"]) for obj in self.listed(LEASES, NAMESPACE)}

    def controller_name(self) -> str:
        """Name of the pod whose controller leads; "" = none does."""
        return str(self.leadership().get("holderIdentity") or "")

    def leadership(self) -> dict[str, Any]:
        """What the lease says that the controller holds who leads."""
        spec: dict[str, Any] = self.call("get", LEASES, LEADER, NAMESPACE)["spec"]
        return spec

    def controller(self) -> Any:
        """The pod of the controller that leads."""
        return self.cluster.pod(self.controller_name(), namespace=NAMESPACE)

    def node_without_controller(self) -> str:
        """A node that may stand still, and the controller goes on."""
        return next(node for node in (self.nodes.other, self.nodes.third) if node != self.controller().node)


@pytest.fixture(scope="session")
def nodes(netem_cluster: Any) -> Nodes:
    return Nodes(netem_cluster._provider.cluster.name)


@pytest.fixture(scope="session")
def scene(netem_cluster: Any, nodes: Nodes, pod: Callable[..., dict[str, Any]], netem_session: Any) -> Iterator[Scene]:
    netem_cluster.load_image(IMAGE)
    namespace = netem_session.make_namespace("faults")
    scene = Scene(netem_cluster, namespace, nodes, pod)
    scene.serve(["python3", "-c", (PROGRAMS / "echo.py").read_text(encoding="utf-8")])
    yield scene
    namespace.end()


@pytest.fixture(scope="session")
def netem_session(_netem_session: Any) -> Any:
    """The plugin's own, which makes namespaces as a test's are made."""
    return _netem_session


@pytest.fixture(autouse=True)
def _clients_go(scene: Scene) -> Iterator[None]:
    before = list(scene.sampling)
    yield
    scene.remove([client for client in scene.sampling if client not in before])


def beginner(cluster: str, folder: Path, stack: ExitStack) -> Callable[..., InnerRun]:
    def begin(source: str, *options: str) -> InnerRun:
        number = len(list(folder.iterdir()))
        run = InnerRun(folder / f"run-{number}", cluster, source, *options)
        stack.callback(run.kill)
        return run

    return begin


@pytest.fixture
def inner(nodes: Nodes, tmp_path: Path) -> Iterator[Callable[..., InnerRun]]:
    """Start a run of pytest on this cluster; it is ended with the test."""
    with ExitStack() as stack:
        yield beginner(nodes.cluster, tmp_path, stack)


@pytest.fixture(scope="module")
def module_inner(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., InnerRun]]:
    """The same, for runs that several tests look at."""
    with ExitStack() as stack:
        yield beginner(nodes.cluster, tmp_path_factory.mktemp("runs"), stack)
