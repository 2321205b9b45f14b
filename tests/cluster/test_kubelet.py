"""Pods as the user declares them: started behind the gate, restarted, probed, named, ended. Real processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_lab import ClusterLab, cluster_lab

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.protocol import DEPLOYMENTS, ENDPOINTSLICES, NODES, SERVICES, Object
from pytest_k8s_netem.errors import ClusterError, ImpairmentError

pytestmark = pytest.mark.needs("linux", "netns")

SLEEP = ("sleep", "1000")
SERVER = [sys.executable, "-I", "-m", "http.server", "--directory", "/usr/share"]


class Gatekeeper:
    """A gate that holds pods with the annotation ``gate: closed`` until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.seen: list[Object] = []

    async def __call__(self, pod: Object) -> None:
        said = pod["metadata"].get("annotations", {}).get("gate")
        if said == "closed":
            self.seen.append(pod)
            await self.open.wait()
        if said == "broken":
            raise ImpairmentError("the filter was refused")


@pytest.fixture(scope="module")
def gate() -> Gatekeeper:
    return Gatekeeper()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, gate: Gatekeeper) -> Iterator[ClusterLab]:
    with cluster_lab(tmp_path_factory.mktemp("cluster"), gate) as lab:
        yield lab


def _container(pod: Object) -> dict[str, Any]:
    return (pod["status"].get("containerStatuses") or [{"state": {}, "restartCount": 0}])[0]


def _phase(wanted: str) -> Any:
    return lambda pod: pod["status"].get("phase") == wanted


def test_a_pod_runs_and_says_where(lab: ClusterLab) -> None:
    lab.pod("plain", *SLEEP)
    pod = lab.ready("plain")
    node = lab.get(pod["spec"]["nodeName"], NODES)
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["podIPs"][0]["ip"] == pod["status"]["podIP"]
    assert pod["status"]["hostIP"] in [entry["address"] for entry in node["status"]["addresses"]]
    addresses = lab.exec("plain", "hostname", "-I").stdout.decode().split()
    assert {entry["ip"] for entry in pod["status"]["podIPs"]} <= set(addresses)


def test_environment_and_arguments_are_as_kubernetes_makes_them(lab: ClusterLab) -> None:
    fields = {
        "IP": "status.podIP",
        "ME": "metadata.name",
        "SPACE": "metadata.namespace",
        "APP": "metadata.labels['app']",
    }
    env: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()
    ]
    env += [{"name": "URL", "value": "http://$(IP):80"}]
    script = 'echo "$IP|$ME|$SPACE|$APP|$URL|$1|$(hostname)"; exec sleep 1000'
    lab.pod("env", "sh", "-c", script, args=["sh", "$(ME)-$$(ME)-$(NOBODY)"], env=env, labels={"app": "x"})
    ip = lab.ready("env")["status"]["podIP"]
    said = f"{ip}|env|default|x|http://{ip}:80|env-$(ME)-$(NOBODY)|env\n"
    lab.eventually(lambda: _async(lab.log, lab, "env", said), "the line in the log")


async def _async(_: Any, lab: ClusterLab, name: str, wanted: str) -> bool:
    life = lab.cluster.kubelet.lives[f"default/{name}"]
    path = life.log("main")
    return path.exists() and path.read_text() == wanted


def test_a_command_waits_for_the_gate_with_its_address_known(lab: ClusterLab, gate: Gatekeeper, tmp_path: Path) -> None:
    marker = tmp_path / "started"
    lab.pod("gated", "sh", "-c", f"touch {marker}; exec sleep 1000", annotations={"gate": "closed"})

    async def held() -> bool:
        return bool(gate.seen)

    lab.eventually(held, "the gate")
    pod = lab.until("gated", lambda pod: pod["status"].get("podIP"))
    assert gate.seen[0]["status"]["podIP"] == pod["status"]["podIP"]
    assert pod["status"]["phase"] == "Pending"
    assert not marker.exists()

    async def release() -> None:
        gate.open.set()

    lab.call(release())
    lab.ready("gated")
    lab.exec("gated", "test", "-e", str(marker))


def test_a_pod_whose_impairment_is_refused_never_starts(lab: ClusterLab) -> None:
    lab.pod("refused", *SLEEP, annotations={"gate": "broken"})
    pod = lab.until("refused", lambda pod: _container(pod)["state"].get("waiting", {}).get("message"))
    assert "the filter was refused" in _container(pod)["state"]["waiting"]["message"]


def test_two_containers_share_the_network_and_have_logs_of_their_own(lab: ClusterLab) -> None:
    containers = [
        {"name": "one", "command": [*SERVER, "8080", "--bind", "127.0.0.1"]},
        {"name": "two", "command": ["sh", "-c", "echo two speaks; exec sleep 1000"]},
    ]
    from pytest_k8s_netem.api.protocol import PODS

    lab.create(PODS, "pair", {"containers": containers})
    lab.ready("pair")
    fetch = "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/')"

    async def answered() -> bool:
        pod = await lab.api.get(PODS, "pair", "default")
        argv = [sys.executable, "-I", "-c", fetch]
        return (await lab.inside(pod, *argv, container="two")).returncode == 0

    lab.eventually(answered, "an answer over loopback")
    assert lab.log("pair", "two") == "two speaks\n"
    assert "two speaks" not in lab.log("pair", "one")


def test_on_failure_restarts_until_it_works(lab: ClusterLab, tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -ge 3 ]"
    lab.pod("retries", "sh", "-c", script, spec={"restartPolicy": "OnFailure"})
    pod = lab.until("retries", _phase("Succeeded"))
    assert _container(pod)["restartCount"] == 2
    assert _container(pod)["lastState"]["terminated"]["exitCode"] == 1


@pytest.mark.parametrize(
    ("command", "phase", "code"), [("true", "Succeeded", 0), ("exit 3", "Failed", 3), ("kill -9 $$$$", "Failed", 137)]
)
def test_never_ends_as_the_command_did(lab: ClusterLab, command: str, phase: str, code: int) -> None:
    name = f"never-{code}"
    lab.pod(name, "sh", "-c", command, spec={"restartPolicy": "Never"})
    pod = lab.until(name, _phase(phase))
    assert _container(pod)["state"]["terminated"]["exitCode"] == code
    assert not is_ready(pod)


def test_a_restart_takes_what_the_last_run_left_with_it(lab: ClusterLab) -> None:
    lab.pod("leaver", "sh", "-c", "setsid sleep 5151.51 & exec sleep 1000")
    lab.ready("leaver")
    running = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o 'sleep 5151.5[1]' | wc -l"

    async def one() -> bool:
        pod = lab.runtime.informer(_pods()).objects["default/leaver"]
        return (await lab.inside(pod, "sh", "-c", running)).stdout.strip() == b"1"

    lab.eventually(one, "the helper")
    main = '[ "$(tr "\\0" " " <$folder/cmdline)" = "sleep 1000 " ] && kill ${folder#/proc/}'
    lab.exec("leaver", "sh", "-c", f"for folder in /proc/[0-9]*; do {main}; done 2>/dev/null; true")
    lab.until("leaver", lambda pod: _container(pod)["restartCount"] >= 1 and is_ready(pod))
    lab.eventually(one, "one helper, not two")


def _pods() -> Any:
    from pytest_k8s_netem.api.protocol import PODS

    return PODS


def test_a_command_that_is_not_there_says_so(lab: ClusterLab) -> None:
    lab.pod("absent", "no-such-server")
    pod = lab.until(
        "absent", lambda pod: _container(pod)["state"].get("waiting", {}).get("reason") == "RunContainerError"
    )
    assert "no-such-server: No such file" in _container(pod)["state"]["waiting"]["message"]


def test_run_as_user(lab: ClusterLab) -> None:
    lab.pod("user", *SLEEP, securityContext={"runAsUser": 999}, workingDir="/")
    lab.ready("user")
    assert lab.exec("user", "id", "-u").stdout == b"999\n"


@pytest.mark.parametrize(
    ("kind", "probe"),
    [("tcp", {"tcpSocket": {"port": "web"}}), ("http", {"httpGet": {"port": 8080, "path": "/"}})],
)
def test_a_server_is_ready_when_it_listens(lab: ClusterLab, tmp_path: Path, kind: str, probe: dict[str, Any]) -> None:
    go = tmp_path / "go"
    command = ["sh", "-c", f'while ! [ -e {go} ]; do sleep 0.05; done; exec "$@"', "sh", *SERVER, "8080"]
    ports = [{"name": "web", "containerPort": 8080}]
    lab.pod(f"server-{kind}", *command, readinessProbe=probe, ports=ports)
    assert not is_ready(lab.until(f"server-{kind}", _phase("Running")))
    go.touch()
    lab.ready(f"server-{kind}")


def test_readiness_by_command_comes_and_goes(lab: ClusterLab, tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1, "failureThreshold": 1}
    lab.pod("moody", *SLEEP, readinessProbe=probe)
    assert not is_ready(lab.until("moody", _phase("Running")))
    flag.touch()
    lab.ready("moody")
    flag.unlink()
    lab.until("moody", lambda pod: not is_ready(pod))


def test_deletion_lets_a_program_say_goodbye(lab: ClusterLab, tmp_path: Path) -> None:
    last = tmp_path / "last-words"
    lab.pod("polite", "sh", "-c", f"trap 'echo bye > {last}; exit' TERM; echo up; while :; do sleep 0.05; done")
    lab.ready("polite")
    lab.eventually(lambda: _async(None, lab, "polite", "up\n"), "the trap")
    lab.delete("polite")
    lab.gone("polite")
    assert last.read_text() == "bye\n"


def test_deletion_kills_what_does_not_listen(lab: ClusterLab) -> None:
    lab.pod("deaf", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done", spec={"terminationGracePeriodSeconds": 1})
    lab.ready("deaf")
    lab.delete("deaf")
    lab.gone("deaf")
    assert "default/deaf" not in lab.cluster.kubelet.lives


def test_exec_into_a_pod_that_does_not_run_is_an_error(lab: ClusterLab) -> None:
    with pytest.raises(ClusterError, match="does not run"):
        lab.call(lab.inside({"metadata": {"name": "ghost", "namespace": "default"}}, "true"))


def _lookup(lab: ClusterLab, name: str) -> set[str]:
    out = lab.exec("asker", "getent", "ahostsv4", name).stdout.decode()
    return {line.split()[0] for line in out.splitlines()}


def test_a_deployment_and_its_service(lab: ClusterLab, tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    container = {
        "name": "main",
        "command": list(SLEEP),
        "readinessProbe": {"exec": {"command": ["test", "-e", str(flag)]}},
    }
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container]}}
    lab.create(SERVICES, "db", {"selector": {"app": "db"}, "ports": [{"port": 5432}]})
    lab.create(DEPLOYMENTS, "db", {"replicas": 3, "selector": {"matchLabels": {"app": "db"}}, "template": template})
    lab.pod("asker", *SLEEP)
    lab.ready("asker")
    lab.until("db", lambda each: each.get("status", {}).get("replicas") == 3, DEPLOYMENTS)
    assert _lookup(lab, "db") == set()

    flag.touch()
    lab.until("db", lambda each: each.get("status", {}).get("readyReplicas") == 3, DEPLOYMENTS)
    pods = lab.pods("app=db")
    addresses = {pod["status"]["podIP"] for pod in pods}
    for name in ("db", "db.default", "db.default.svc", "db.default.svc.cluster.local"):
        assert _lookup(lab, name) == addresses
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    assert all(pod["metadata"]["name"].startswith("db-") and pod["metadata"]["name"].count("-") == 2 for pod in pods)
    assert pods[0]["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
    endpoints = lab.until("db-ipv4", lambda each: _ready_addresses(each) == addresses, ENDPOINTSLICES)
    assert endpoints["ports"] == [{"name": "", "port": 5432, "protocol": "TCP"}]

    lab.delete(pods[0]["metadata"]["name"])
    lab.gone(pods[0]["metadata"]["name"])
    assert pods[0]["status"]["podIP"] not in _lookup(lab, "db")
    lab.until("db-ipv4", lambda each: len(_ready_addresses(each)) == 3, ENDPOINTSLICES)
    assert len(_lookup(lab, "db")) == 3


def _ready_addresses(endpoints: Object) -> set[str]:
    return {
        address for entry in endpoints["endpoints"] if entry["conditions"]["ready"] for address in entry["addresses"]
    }


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Recreate"])
def test_a_new_template_is_rolled_out(lab: ClusterLab, strategy: str) -> None:
    name = f"roll-{strategy.lower()}"
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "command": list(SLEEP)}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template, "strategy": {"type": strategy}}
    lab.create(DEPLOYMENTS, name, spec)
    lab.until(name, lambda each: each.get("status", {}).get("readyReplicas") == 2, DEPLOYMENTS)
    before = {pod["metadata"]["name"] for pod in lab.pods(f"app={name}")}
    changed = {"containers": [{"name": "main", "command": ["sleep", "2000"]}]}
    lab.call(lab.api.patch(DEPLOYMENTS, name, {"spec": {"template": {"spec": changed}}}, "default"))

    async def rolled() -> bool:
        pods = (await lab.api.list(_pods(), "default", f"app={name}")).items
        return len(pods) == 2 and all(map(is_ready, pods)) and not before & {pod["metadata"]["name"] for pod in pods}

    lab.eventually(rolled, "the new pods alone")


def test_a_headless_name_for_each_pod(lab: ClusterLab) -> None:
    lab.create(SERVICES, "raft", {"selector": {"app": "raft"}, "clusterIP": "None", "publishNotReadyAddresses": True})
    for number in range(2):
        lab.pod(
            f"raft-{number}",
            *SLEEP,
            labels={"app": "raft"},
            spec={"hostname": f"raft-{number}", "subdomain": "raft"},
            readinessProbe={"exec": {"command": ["false"]}},
        )
    other = lab.until("raft-1", lambda pod: pod["status"].get("podIP"))["status"]["podIP"]
    lab.until("raft-0", _phase("Running"))

    async def known() -> bool:
        pod = lab.runtime.informer(_pods()).objects["default/raft-0"]
        ended = await lab.inside(pod, "getent", "ahostsv4", "raft-1.raft")
        return other in ended.stdout.decode()

    lab.eventually(known, "the name of the other")


@pytest.mark.needs("redis")
def test_a_real_server_and_its_client(lab: ClusterLab, tmp_path: Path) -> None:
    lab.create(SERVICES, "redis", {"selector": {"app": "redis"}, "ports": [{"port": 6379}]})
    lab.pod(
        "redis",
        "redis-server",
        args=["--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--unixsocket", "/run/redis.sock"],
        workingDir="/tmp",
        labels={"app": "redis"},
        readinessProbe={"exec": {"command": ["redis-cli", "-s", "/run/redis.sock", "ping"]}},
    )
    lab.pod("redis-client", *SLEEP)
    lab.ready("redis")
    lab.ready("redis-client")
    assert lab.exec("redis-client", "redis-cli", "-h", "redis", "incr", "visits").stdout == b"1\n"
    assert lab.exec("redis", "redis-cli", "-s", "/run/redis.sock", "get", "visits").stdout == b"1\n"
