"""``netem install`` and ``uninstall`` on a cluster of its own: what users type, with kubectl beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.timeout(1200)  # the first test's time has that of making the cluster in it

ROOT = Path(__file__).parents[2]
CLUSTER = "install-netem"
IMAGE = "python:3.11-slim-bookworm"
NAMESPACE, CONTROLLER = "k8s-netem", "deploy/netem-controller"
VOLATILE = ("events", "endpointslices", "leases", "componentstatuses", "endpoints")
"""Kinds that a cluster makes by itself at any moment; what is installed is looked for in them by name."""

APPLICATION = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: shop}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - {name: main, image: IMAGE, command: COMMAND}
"""
SLOW = """
apiVersion: k8s-netem.riasc.eu/v1
kind: TrafficProfile
metadata: {name: slow}
spec:
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
  podSelector: {matchLabels: {app: client}}
  egress: [{ports: [{port: 80}]}]
  impairment: {delay: 60ms}
"""
DIAL = """
import socket, sys, time
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    socket.create_connection((sys.argv[1], 80), 20).close()
    print(round(1000 * (time.perf_counter() - start)), flush=True)
    time.sleep(0.02)
"""


class Cluster:
    """A cluster of kind, by the commands that users have."""

    def __init__(self, kubeconfig: Path) -> None:
        self.environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            argv, input=stdin, text=True, capture_output=True, env=self.environ, check=False, timeout=400
        )
        assert not check or done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
        return done

    def netem(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(str(Path(sys.executable).with_name("netem")), *words, check=check)

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        done = self.run("kubectl", *words, stdin=stdin, check=check)
        return done.stdout + ("" if check else done.stderr)

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def application(self, name: str, *command: str) -> None:
        text = APPLICATION.replace("NAME", name).replace("IMAGE", IMAGE).replace("COMMAND", json.dumps(command))
        self.kubectl("apply", "-f", "-", stdin=text)
        self.kubectl("-n", "shop", "rollout", "status", f"deploy/{name}", "--timeout=120s")

    def address(self, name: str) -> str:
        [pod] = self.get("-n", "shop", "pods", "-l", f"app={name}")["items"]
        return str(pod["status"]["podIP"])

    def dialled(self, times: int = 3) -> list[int]:
        """Milliseconds that each of some connections from client to server took."""
        return [int(line) for line in self.dialling(times).communicate(timeout=120)[0].split()]

    def dialling(self, times: int) -> subprocess.Popen[str]:
        command = ["kubectl", "-n", "shop", "exec", "deploy/client", "-c", "main", "--", "python3", "-c", DIAL]
        argv = [*command, self.address("server"), str(times)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=self.environ)

    def everything(self) -> set[str]:
        """Names of all objects of all kinds."""
        kinds = set(self.kubectl("api-resources", "--verbs=list", "-o", "name").split())
        wanted = ",".join(sorted(kind for kind in kinds if kind.partition(".")[0] not in VOLATILE))
        found = self.kubectl("get", wanted, "-A", "-o", "name", "--show-kind", "--ignore-not-found")
        rest = self.kubectl("get", "leases,endpointslices,endpoints", "-A", "-o", "name")
        return {*found.split(), *(line for line in rest.split() if "netem" in line), *kinds}

    def until(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, self.kubectl("-n", NAMESPACE, "logs", CONTROLLER, check=False)
            time.sleep(0.2)
        return found

    def pods_of(self, profile: str) -> dict[str, int]:
        """What the status counts."""
        counts: dict[str, int] = self.get("tp", profile).get("status", {}).get("pods", {})
        return counts

    def verified(self) -> bool:
        return self.pods_of("slow").get("verified") == 1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all of this module, with what an application has: a client and a server, not opted in."""
    cluster = Cluster(tmp_path_factory.mktemp("kind") / "kubeconfig")
    image = ["--image", os.environ["KIND_NODE_IMAGE"]] if os.environ.get("KIND_NODE_IMAGE") else []
    try:
        cluster.run("kind", "create", "cluster", "--name", CLUSTER, "--wait", "180s", *image)
        cluster.run("kind", "load", "docker-image", IMAGE, "--name", CLUSTER)
        cluster.kubectl("create", "namespace", "shop")
        cluster.application("server", "python3", "-m", "http.server", "80")
        cluster.application("client", "sleep", "infinity")
        yield cluster
    finally:
        cluster.run("kind", "delete", "cluster", "--name", CLUSTER, check=False)


@pytest.fixture(scope="module")
def before(cluster: Cluster) -> set[str]:
    return cluster.everything()


@pytest.fixture(scope="module")
def installed(cluster: Cluster, before: set[str]) -> Cluster:
    del before
    cluster.netem("install")
    return cluster


def agents(pod: dict[str, Any], field: str = "initContainers") -> list[str]:
    return [one["name"] for one in pod["spec"].get(field, ()) if one["name"].startswith("netem-agent")]


def test_a_second_install_changes_nothing(installed: Cluster) -> None:
    deployment = ("-n", NAMESPACE, CONTROLLER)
    generation = installed.get(*deployment)["metadata"]["generation"]
    said = installed.netem("install").stdout
    assert "netem namespace enable" in said
    assert installed.get(*deployment)["metadata"]["generation"] == generation


def test_only_pods_of_enabled_namespaces_come_with_an_agent(installed: Cluster) -> None:
    installed.kubectl("-n", "shop", "rollout", "restart", "deploy/client")
    installed.kubectl("-n", "shop", "rollout", "status", "deploy/client", "--timeout=120s")
    assert not any(agents(pod) for pod in installed.get("-n", "shop", "pods")["items"])
    installed.netem("namespace", "enable", "shop")
    installed.kubectl("-n", "shop", "rollout", "restart", "deploy/client")
    installed.kubectl("-n", "shop", "rollout", "status", "deploy/client", "--timeout=120s")
    pods = [one for one in installed.get("-n", "shop", "pods", "-l", "app=client")["items"] if agents(one)]
    assert len(pods) == 1
    assert pods[0]["status"]["phase"] == "Running"
    installed.until(lambda: len(installed.get("-n", "shop", "pods", "-l", "app=client")["items"]) == 1)


def test_profiles_are_what_kubectl_users_expect(installed: Cluster) -> None:
    installed.kubectl("apply", "-f", str(ROOT / "fixtures" / "profiles" / "builtin.yaml"))
    assert "IMPAIRMENT" in installed.kubectl("get", "tp")
    assert "what to impair, and how" in installed.kubectl("explain", "tp.spec")
    installed.kubectl("delete", "tp", "--all", "--timeout=60s")
    refused = installed.kubectl("apply", "-f", "-", stdin=SLOW.replace("delay:", "dely:"), check=False)
    assert "spec.impairment.dely" in refused
    assert "did you mean delay?" in refused


def test_a_profile_is_in_force_and_heals(installed: Cluster) -> None:
    installed.kubectl("apply", "-f", "-", stdin=SLOW)
    installed.until(installed.verified)
    assert min(installed.dialled()) >= 60
    installed.kubectl("delete", "tp", "slow", "--timeout=30s")
    assert min(installed.dialled()) < 60


def test_a_pod_that_ran_before_is_given_an_agent(installed: Cluster) -> None:
    other = SLOW.replace("app: client", "app: server").replace("egress", "ingress")
    installed.kubectl("apply", "-f", "-", stdin=other)
    installed.until(installed.verified)
    [pod] = installed.get("-n", "shop", "pods", "-l", "app=server")["items"]
    assert len(agents(pod, "ephemeralContainers")) == 1
    assert min(installed.dialled()) >= 60
    installed.kubectl("delete", "tp", "slow", "--timeout=30s")


def test_a_wide_profile_spares_pods_where_nobody_opted_in(installed: Cluster) -> None:
    installed.kubectl("create", "namespace", "other")
    installed.kubectl("-n", "other", "run", "bystander", f"--image={IMAGE}", "--", "sleep", "infinity")
    installed.kubectl("-n", "other", "wait", "pod/bystander", "--for=condition=Ready", "--timeout=60s")
    head, _, tail = SLOW.partition("  namespaceSelector")
    wide = (head + tail.partition("\n")[2]).replace("{matchLabels: {app: client}}", "{}")
    installed.kubectl("apply", "-f", "-", stdin=wide)
    installed.until(lambda: installed.pods_of("slow").get("verified") == 2)
    [accepted] = [one for one in installed.get("tp", "slow")["status"]["conditions"] if one["type"] == "Accepted"]
    assert (accepted["status"], accepted["reason"]) == ("True", "PodsExcluded")
    assert accepted["message"] == (
        "pod/bystander cannot be impaired: namespace other is not enabled: netem namespace enable other"
    )
    bystander = installed.get("-n", "other", "pod", "bystander")
    assert not agents(bystander, "ephemeralContainers")
    installed.kubectl("delete", "tp", "slow", "--timeout=30s")
    installed.kubectl("delete", "namespace", "other", "--timeout=60s")


def test_a_namespace_that_is_disabled_is_healed(installed: Cluster) -> None:
    installed.kubectl("apply", "-f", "-", stdin=SLOW)
    installed.until(installed.verified)
    installed.netem("namespace", "disable", "shop")
    installed.until(lambda: installed.pods_of("slow").get("selected") == 0)
    installed.until(lambda: min(installed.dialled()) < 60)
    installed.netem("namespace", "enable", "shop")
    installed.until(installed.verified)
    assert min(installed.dialled()) >= 60
    installed.kubectl("delete", "tp", "slow", "--timeout=30s")


def test_what_happens_while_no_webhook_answers(installed: Cluster) -> None:
    """Pods and nonsense pass; the controller tells of both when it is back, and impairs the pods all the same."""
    installed.netem("namespace", "enable", "shop")
    installed.kubectl("-n", NAMESPACE, "scale", CONTROLLER, "--replicas=0")
    installed.until(lambda: not installed.get("-n", NAMESPACE, "pods")["items"])
    installed.kubectl("-n", "shop", "rollout", "restart", "deploy/client")
    installed.kubectl("-n", "shop", "rollout", "status", "deploy/client", "--timeout=120s")
    installed.until(lambda: len(installed.get("-n", "shop", "pods", "-l", "app=client")["items"]) == 1)
    [pod] = installed.get("-n", "shop", "pods", "-l", "app=client")["items"]
    assert not agents(pod)
    nonsense = SLOW.replace("name: slow", "name: nonsense").replace("delay: 60ms", "delay: 60ms, dely: 1ms")
    installed.kubectl("apply", "-f", "-", stdin=nonsense)
    installed.kubectl("apply", "-f", "-", stdin=SLOW)
    installed.netem("install")
    installed.until(lambda: installed.pods_of("slow").get("verified") == 1)
    assert min(installed.dialled()) >= 60
    [pod] = installed.get("-n", "shop", "pods", "-l", "app=client")["items"]
    assert len(agents(pod, "ephemeralContainers")) == 1
    [accepted] = [one for one in installed.get("tp", "nonsense")["status"]["conditions"] if one["type"] == "Accepted"]
    assert (accepted["status"], accepted["reason"]) == ("False", "Invalid")
    assert "spec.impairment.dely" in accepted["message"]
    name = pod["metadata"]["name"]
    log = ("-n", NAMESPACE, "logs", CONTROLLER)
    lines = installed.until(lambda: [ln for ln in installed.kubectl(*log).splitlines() if "without sidecar" in ln])
    assert f"shop/{name}" in lines[0]
    installed.kubectl("delete", "tp", "--all", "--timeout=30s")


def test_an_upgrade_of_an_older_installation_is_no_gap(installed: Cluster) -> None:
    """Back to an older definition and Deployment, which act; then the present ones come, while packets are timed."""
    current = installed.get("-n", NAMESPACE, CONTROLLER)["spec"]["template"]["spec"]["containers"][0]
    images = {"controller": current["image"], "agent": current["env"][0]["value"]}
    older = (ROOT / "fixtures" / "install" / "older.yaml").read_text(encoding="utf-8")
    for name, image in images.items():
        older = older.replace(f"registry.example/{name}:older", image)
    installed.kubectl("replace", "-f", "-", stdin=older)
    installed.kubectl("-n", NAMESPACE, "rollout", "status", CONTROLLER, "--timeout=120s")
    installed.kubectl("apply", "-f", "-", stdin=SLOW)
    installed.until(installed.verified)
    dialling = installed.dialling(150)
    installed.netem("install")
    installed.until(installed.verified)
    took = [int(line) for line in dialling.communicate(timeout=120)[0].split()]
    assert len(took) == 150
    assert min(took) >= 60
    assert min(installed.dialled()) >= 60
    now = installed.get("-n", NAMESPACE, CONTROLLER)["spec"]["template"]["spec"]["containers"][0]
    assert now == current
    assert "impairment" in json.dumps(installed.get("crd", "trafficprofiles.k8s-netem.riasc.eu"))
    installed.kubectl("delete", "tp", "slow", "--timeout=30s")


def test_the_listed_rights_are_enough(installed: Cluster) -> None:
    log = installed.kubectl("-n", NAMESPACE, "logs", CONTROLLER)
    assert "leads" in log
    assert "forbidden" not in log.lower()


def test_uninstall_heals_and_leaves_nothing(installed: Cluster, before: set[str]) -> None:
    installed.kubectl("apply", "-f", "-", stdin=SLOW)
    installed.until(installed.verified)
    said = installed.netem("uninstall").stdout
    assert "removed TrafficProfile slow" in said
    assert "removed the opt-in of namespace shop" in said
    assert min(installed.dialled()) < 60
    left = {one for one in installed.everything() - before if not one.startswith(("pod/", "replicaset.apps/"))}
    assert left == set()
    assert "k8s-netem" not in json.dumps(installed.get("namespace", "shop")["metadata"].get("labels", {}))
    assert installed.netem("uninstall").stdout == "nothing was installed\n"


def test_uninstall_with_no_controller_alive(cluster: Cluster, before: set[str]) -> None:
    cluster.netem("install")
    cluster.netem("namespace", "enable", "shop")
    cluster.kubectl("apply", "-f", "-", stdin=SLOW)
    cluster.until(cluster.verified)
    cluster.kubectl("-n", NAMESPACE, "delete", CONTROLLER, "--cascade=foreground", "--timeout=60s")
    cluster.netem("uninstall")
    left = {one for one in cluster.everything() - before if not one.startswith(("pod/", "replicaset.apps/"))}
    assert left == set()
    cluster.until(lambda: min(cluster.dialled()) < 60)


@pytest.mark.needs("helm")
def test_the_chart_installs_the_same(cluster: Cluster, before: set[str], tmp_path: Path) -> None:
    cluster.netem("manifests", "--helm", str(tmp_path / "chart"))
    cluster.run("helm", "lint", str(tmp_path / "chart"))
    rendered = cluster.run("helm", "template", "netem", str(tmp_path / "chart"), "--namespace", NAMESPACE).stdout
    ours = [*yaml.safe_load_all(cluster.netem("manifests").stdout)]
    theirs = [one for one in yaml.safe_load_all(rendered) if one and one["kind"] not in ("Job", "Namespace")]
    assert sorted(theirs, key=json.dumps) == sorted((one for one in ours if one["kind"] != "Namespace"), key=json.dumps)
    for image in cluster.netem("images").stdout.split():
        cluster.run("kind", "load", "docker-image", image, "--name", CLUSTER)
    where = ("--namespace", NAMESPACE)
    wrong = cluster.run("helm", "template", "netem", str(tmp_path / "chart"), "--namespace", "other", check=False)
    assert f"install it with --namespace {NAMESPACE}" in wrong.stderr
    cluster.run(
        "helm", "install", "netem", str(tmp_path / "chart"), *where, "--create-namespace", "--wait", "--timeout=180s"
    )
    cluster.netem("namespace", "enable", "shop")
    cluster.kubectl("apply", "-f", "-", stdin=SLOW)
    cluster.until(cluster.verified)
    cluster.run("helm", "uninstall", "netem", *where, "--wait", "--timeout=180s")
    assert min(cluster.dialled()) < 60, "the farewell healed it"
    cluster.netem("namespace", "disable", "shop")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")
    left = {one for one in cluster.everything() - before if not one.startswith(("pod/", "replicaset.apps/"))}
    assert left == set()
