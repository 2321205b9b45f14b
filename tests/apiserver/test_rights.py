"""Provider ``kubeconfig`` and the rights of its user, on a real API server with RBAC; pods are objects only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import Lab, control_plane

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.api.protocol import NAMESPACES, PODS
from pytest_k8s_netem.cluster.access import Access, explore
from pytest_k8s_netem.cluster.session import Choices, open_session
from pytest_k8s_netem.errors import ApiError, ClusterError, ConfigError, ImpairmentError, ProviderError
from pytest_k8s_netem.run.retry import blocking_attempts

pytestmark = pytest.mark.needs("apiserver")
ROLE = yaml.safe_load((Path(__file__).parents[2] / "fixtures" / "rights" / "in-process.yaml").read_text())
RBAC = "/apis/rbac.authorization.k8s.io/v1"
POD = {"spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "none"}]}}


class Server:
    """An API server, its administrator, and users with just the rights that they are given."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self._lab, self._directory = lab, directory

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        return self._lab.api.connection().request(method, path, None, body)

    def namespace(self, name: str) -> None:
        self._lab.call(self._lab.api.create(NAMESPACES, {"metadata": {"name": name}}))

    def label(self, namespace: str, name: str, value: str) -> None:
        self._lab.call(self._lab.api.patch(NAMESPACES, namespace, {"metadata": {"labels": {name: value}}}))

    def pod(self, namespace: str, name: str) -> None:
        """One that says it runs."""
        meta = {"name": name, "labels": {"app": name}}
        self._lab.call(self._lab.api.create(PODS, {"metadata": meta, **POD}, namespace))
        status = {"phase": "Running", "podIP": "10.1.0.7", "podIPs": [{"ip": "10.1.0.7"}], "hostIP": "172.18.0.2"}
        self._lab.call(self._lab.api.patch(PODS, name, {"status": status}, namespace, "status"))

    def user(self, name: str, namespace: str, rules: list[Any], *, everywhere: bool = False) -> Path:
        """A kubeconfig of somebody with these rights in a namespace, or in all."""
        self.admin("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
        where = RBAC if everywhere else f"{RBAC}/namespaces/{namespace}"
        kind = "ClusterRole" if everywhere else "Role"
        self.admin("POST", f"{where}/{kind.lower()}s", {"metadata": {"name": name}, "rules": rules})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        binding = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
        self.admin("POST", f"{where}/{kind.lower()}bindings", binding)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        token = self.admin("POST", path, {"spec": {}})["status"]["token"]
        known = json.loads(self._lab.plane.kubeconfig.read_text())
        known["users"] = [{"name": "admin", "user": {"token": token}}]
        known["contexts"][0]["context"]["namespace"] = namespace
        config = self._directory / f"{name}.json"
        config.write_text(json.dumps(known))
        return config


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("rights")
    with control_plane(directory / "plane") as lab:
        made = Server(lab, directory)
        for attempt in blocking_attempts(60, ApiError):  # a server that has just started makes these by and by
            with attempt:
                made.admin("GET", f"{RBAC}/clusterrolebindings/system:basic-user")
        yield made


def found(config: Path, home: str, *allowed: str) -> Access:
    async def scenario() -> Access:
        api = KubernetesApi(partial(Connection.from_kubeconfig, str(config)))
        try:
            return await explore(api, home, allowed)
        finally:
            await api.close()

    return asyncio.run(scenario())


def named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def choices(config: Path, *allowed: str, **more: Any) -> Choices:
    return Choices(provider="kubeconfig", kubeconfig=str(config), agent_image="none", allow_namespaces=allowed, **more)


def test_the_role_is_enough_and_a_right_less_is_told(server: Server) -> None:
    server.namespace("least")
    access = found(server.user("exact", "least", ROLE["rules"]), "least", "least")
    assert access.scopes[PODS] == ("least",)
    assert not access.makes_namespaces
    assert {"services", "nodes", "namespaces"} <= access.view.lacking.keys()
    fewer = server.user("fewer", "least", ROLE["rules"][:2])
    with pytest.raises(ProviderError, match="takes patch of pods/ephemeralcontainers in namespace least: bind"):
        found(fewer, "least")
    with pytest.raises(ProviderError, match="get, list and watch of pods, get and create of pods/exec, patch of "):
        found(fewer, "kube-system")


def test_a_pod_is_not_touched_where_that_is_not_allowed_or_forbidden(server: Server) -> None:
    server.namespace("strict")
    server.pod("strict", "web")
    server.label("strict", "pod-security.kubernetes.io/enforce", "restricted")
    config = server.user("strict", "strict", ROLE["rules"])
    for allowed, error, text in (
        ((), ConfigError, "--netem-allow-namespaces=strict"),
        (("*",), ImpairmentError, "namespace strict enforces Pod Security restricted .label pod-security"),
    ):
        session = open_session(choices(config, *allowed))
        try:
            with pytest.raises(error, match=text), session.cluster.impair(delay="1ms", pods="app=web"):
                pass
        finally:
            session.close()


def test_what_takes_more_names_the_right(server: Server) -> None:
    server.namespace("more")
    server.pod("more", "web")
    session = open_session(choices(server.user("more", "more", ROLE["rules"]), "more"))
    try:
        home = session.make_namespace("test")
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **POD}
        assert (home.name, home.shared) == ("more", True)
        for work, right in (
            (lambda: home.logs("web"), "get of pods/log in namespace more"),
            (lambda: home.apply(manifest), "create of pods in namespace more"),
            (lambda: home.pod("web").forward(80).__enter__(), "get and create of pods/portforward in namespace more"),
            (lambda: home.impair(delay="1ms", to="svc/db").__enter__(), "list and watch of services in namespace more"),
            (lambda: home.scale("web", 2), "patch of deployments in namespace more"),
        ):
            with pytest.raises((ApiError, ConfigError), match=f"needs {right}"):
                work()
        session.end_namespace(home)
        assert [pod.name for pod in home.pods()] == ["web"], "it stays with all that was in it"
        with pytest.raises(ClusterError, match="namespace more is not deleted: this run did not make it"):
            session.cluster.delete_namespace("more")
    finally:
        session.close()


def test_who_may_make_namespaces_gets_fresh_ones(server: Server) -> None:
    server.namespace("wide")
    verbs = ["get", "list", "watch", "create", "delete"]
    also = {"apiGroups": [""], "resources": ["namespaces", "serviceaccounts"], "verbs": verbs}
    session = open_session(choices(server.user("wide", "wide", [*ROLE["rules"], also], everywhere=True)))
    try:
        one, two = (
            session.portal.call(session.provider.api.create(NAMESPACES, named(name))) for name in ("one", "two")
        )
        view = session.provider.access.view  # type: ignore[attr-defined]
        assert view.made == {one["metadata"]["name"], two["metadata"]["name"]}
        assert view.allows("one")
        assert not view.allows("wide")
        session.cluster.delete_namespace("one")
        assert session.provider.access.view.made == {"two"}  # type: ignore[attr-defined]
    finally:
        session.close()


def test_without_leave_to_ask_it_is_found_out_by_trying(server: Server) -> None:
    server.namespace("mute")
    config = server.user("mute", "mute", ROLE["rules"])
    path = f"{RBAC}/clusterrolebindings/system:basic-user"
    binding = server.admin("GET", path)
    server.admin("DELETE", path)
    try:
        access = found(config, "mute")
        assert access.scopes[PODS] == ("mute",)
        assert "services" in access.view.lacking
    finally:
        del binding["metadata"]["resourceVersion"], binding["metadata"]["uid"]
        server.admin("POST", f"{RBAC}/clusterrolebindings", binding)
