"""Provider ``kubeconfig`` for somebody who may hardly do anything in a cluster: with exactly the Role of docs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).parents[2] / "fixtures" / "rights" / "in-process.yaml"
RECORD = """
import pathlib
from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.kube import sockets

ASKED = pathlib.Path(__file__).with_name("asked")

def recorded(owner, name, line):
    real = getattr(owner, name)
    def wrapper(self, *arguments, **options):
        with ASKED.open("a") as file:
            print(line(*arguments, **options), file=file)
        return real(self, *arguments, **options)
    setattr(owner, name, wrapper)

recorded(Connection, "_answer", lambda method, path, *_, **__: f"{method} {path}")
recorded(Connection, "stream", lambda path, *_: f"WATCH {path}")
recorded(sockets.Sockets, "open", lambda pod, subresource, *_: f"SOCKET {sockets.pod_path(pod, subresource)}")
"""
CLIENT = """
import json, socket, sys, time
took = []
for _ in range(5):
    start = time.perf_counter()
    socket.create_connection((sys.argv[1], 7), 20).close()
    took.append((time.perf_counter() - start) * 1000)
print(sorted(took)[2])
"""
ENOUGH = f"""
import pytest

CLIENT = {CLIENT!r}

def connecting(cluster):
    server = cluster.pod("server")
    return float(cluster.exec("client", ["python3", "-c", CLIENT, server.ip]).stdout)

@pytest.mark.netem(rtt="80ms", pods="app=client", to="app=server")
def test_by_label(netem_cluster, netem_profile):
    assert 80 <= connecting(netem_cluster) < 140
    netem_profile.update(rtt="40ms")
    assert 40 <= connecting(netem_cluster) < 80
    netem_profile.assert_rtt(median=("40ms", "80ms"))

def test_by_address_and_healed(netem_cluster, netem):
    with netem.impair(delay="60ms", pods="pod/client", to=netem_cluster.pod("server").ip):
        assert connecting(netem_cluster) >= 60
    assert connecting(netem_cluster) < 40

def test_the_namespace_is_the_given_one(netem_namespace, netem_cluster):
    assert {{pod.name for pod in netem_namespace.pods()}} == {{pod.name for pod in netem_cluster.pods()}}
    netem_namespace.wait_ready()
"""
TOO_LITTLE = """
import pytest
from pytest_k8s_netem.errors import ApiError, ConfigError

CONTAINER = {"name": "a", "image": "b"}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [CONTAINER]}}

def test_logs(netem_cluster, namespace):
    with pytest.raises(ApiError, match=f"needs get of pods/log in namespace {namespace}"):
        netem_cluster.logs("client")

def test_forward(netem_cluster, namespace):
    with pytest.raises(ApiError, match=f"needs get and create of pods/portforward in namespace {namespace}"):
        with netem_cluster.forward("pod/server:80"):
            pass

def test_apply(netem_namespace, namespace):
    with pytest.raises(ApiError, match=f"needs create of pods in namespace {namespace}"):
        netem_namespace.apply(POD)

def test_services(netem, namespace):
    with pytest.raises(ConfigError, match=f"svc/web .*needs list and watch of services in namespace {namespace}"):
        with netem.impair(delay="1ms", pods="app=client", to="svc/web"):
            pass

def test_other_namespaces(netem):
    with pytest.raises(ConfigError, match="needs list and watch of pods in namespace kube-system"):
        with netem.impair(delay="1ms", pods="app=client", namespaces="kube-system"):
            pass

@pytest.fixture
def namespace(netem_cluster):
    return netem_cluster.pod("client").namespace
"""
NOT_ALLOWED = """
def test_not_allowed(netem_cluster, netem):
    with netem.impair(delay="1ms", pods="app=client"):
        pass
"""


@dataclass
class Team:
    """A namespace of others, and a kubeconfig of a user of it."""

    name: str
    kubeconfig: Path
    agent_image: str
    admin: Any

    def run(self, directory: Path, source: str, *options: str, allow: str = "") -> subprocess.CompletedProcess[str]:
        """Run tests as that user."""
        directory.mkdir()
        (directory / "conftest.py").write_text(RECORD)
        (directory / "test_suite.py").write_text(source)
        words = [f"--netem-kubeconfig={self.kubeconfig}", f"--netem-agent-image={self.agent_image}", *options]
        words += [f"--netem-allow-namespaces={allow}"] if allow else []
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--netem-provider=kubeconfig", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=directory,
            env={**os.environ, "PYTEST_ADDOPTS": ""},
        )

    def pods(self) -> dict[str, dict[str, Any]]:
        found = self.admin("GET", f"/api/v1/namespaces/{self.name}/pods")["items"]
        return {pod["metadata"]["name"]: pod for pod in found}


@pytest.fixture(scope="module")
def team(netem_cluster: Any, pod: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    provider = netem_cluster._provider

    def admin(method: str, path: str, body: Any = None) -> Any:
        return provider._cluster.connection().request(method, path, None, body)

    netem_cluster.load_image("python:3.11-slim-bookworm")
    name, core = f"team-{os.getpid()}", "/api/v1/namespaces"
    admin("POST", core, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    admin("POST", f"{core}/{name}/serviceaccounts", {"metadata": {"name": "tester"}})
    role = yaml.safe_load(ROLE.read_text())
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}"
    admin("POST", f"{rbac}/roles", role)
    binding = {
        "metadata": {"name": "tester"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "tester", "namespace": name}],
    }
    admin("POST", f"{rbac}/rolebindings", binding)
    token = admin("POST", f"{core}/{name}/serviceaccounts/tester/token", {"spec": {}})["status"]["token"]
    known = yaml.safe_load(provider.kubeconfig.read_text())
    context = {
        "name": "tester",
        "context": {"cluster": known["clusters"][0]["name"], "user": "tester", "namespace": name},
    }
    known |= {
        "users": [{"name": "tester", "user": {"token": token}}],
        "contexts": [context],
        "current-context": "tester",
    }
    kubeconfig = tmp_path_factory.mktemp("user") / "config"
    kubeconfig.write_text(json.dumps(known))
    kubeconfig.chmod(0o400)
    echo = (Path(__file__).parents[2] / "examples" / "programs" / "echo.py").read_text(encoding="utf-8")
    for manifest in (pod("client", "sleep", "infinity"), pod("server", "python3", "-c", echo)):
        admin("POST", f"{core}/{name}/pods", manifest)
    netem_cluster.wait_ready(namespace=name)
    yield Team(name, kubeconfig, provider.agent_image, admin)
    admin("DELETE", f"{core}/{name}")


def test_the_role_is_enough_and_nothing_else_is_asked(team: Team, tmp_path: Path) -> None:
    config, before = team.kubeconfig.read_bytes(), team.pods()
    done = team.run(tmp_path / "suite", ENOUGH, allow=team.name)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    pods = f"/api/v1/namespaces/{team.name}/pods"
    paths = [f"/{name}{part}" for name in ("client", "server") for part in ("", "/exec", "/ephemeralcontainers")]
    allowed = {
        "GET /version",
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        f"WATCH {pods}",
        f"GET {pods}",
        *(f"{verb} {pods}{path}" for verb in ("GET", "PATCH", "SOCKET") for path in paths),
    }
    asked = set((tmp_path / "suite" / "asked").read_text().splitlines())
    assert asked <= allowed
    assert {line.split()[0] for line in asked} == {"GET", "POST", "WATCH", "PATCH", "SOCKET"}
    assert team.kubeconfig.read_bytes() == config
    after = team.pods()
    assert {name: pod["metadata"]["uid"] for name, pod in after.items()} == {
        name: pod["metadata"]["uid"] for name, pod in before.items()
    }
    assert f"pod/{team.name}/client" in done.stdout.partition("netem: the agent's container")[2].partition("\n")[0]
    for right in ("list and watch of nodes", f"list and watch of services in namespace {team.name}"):
        assert right in done.stdout


def test_what_takes_more_names_the_right(team: Team, tmp_path: Path) -> None:
    done = team.run(tmp_path / "suite", TOO_LITTLE, allow=f"{team.name},kube-system")
    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_nothing_is_touched_without_leave(team: Team, tmp_path: Path) -> None:
    before = {name: pod["metadata"]["resourceVersion"] for name, pod in team.pods().items()}
    done = team.run(tmp_path / "suite", NOT_ALLOWED)
    assert f"allow it with --netem-allow-namespaces={team.name}" in done.stdout
    assert {name: pod["metadata"]["resourceVersion"] for name, pod in team.pods().items()} == before


def test_pod_security_is_named_where_labels_cannot_be_read(team: Team, tmp_path: Path, pod: Any) -> None:
    path = f"/api/v1/namespaces/{team.name}"
    team.admin("POST", f"{path}/pods", pod("fresh", "sleep", "infinity"))
    label = "pod-security.kubernetes.io/enforce"
    namespace = team.admin("GET", path)
    namespace["metadata"]["labels"][label] = "baseline"
    team.admin("PUT", path, namespace)
    try:
        source = NOT_ALLOWED.replace("app=client", "app=fresh")
        done = team.run(tmp_path / "suite", source, allow=team.name)
        assert f"pod/fresh cannot have the agent: namespace {team.name} enforces Pod Security baseline" in done.stdout
        assert f"(label {label}=baseline)" in done.stdout
    finally:
        namespace = team.admin("GET", path)
        del namespace["metadata"]["labels"][label]
        team.admin("PUT", path, namespace)
