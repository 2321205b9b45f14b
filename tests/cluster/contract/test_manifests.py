"""The embedded cluster in a user's hands: what manifests may say, commands, logs, sockets."""

from __future__ import annotations

import socket
import sys

import pytest
from lanes import address, eventually, manifest

from pytest_k8s_netem.cluster.pod import CommandFailed
from pytest_k8s_netem.errors import ClusterError, ConfigError

pytestmark = pytest.mark.needs("netns")


def pod(name: str = "thing", *, spec: dict | None = None, **container: object) -> dict:
    """A Pod whose one container is changed."""
    obj = manifest(name)
    obj["spec"]["containers"][0] |= container
    obj["spec"] |= spec or {}
    return obj


@pytest.mark.parametrize(
    ("obj", "told"),
    [
        (pod(spec={"volumes": []}), "spec.volumes: "),
        (pod(spec={"hostNetwork": True}), "spec.hostNetwork: "),
        (pod(volumeMounts=[]), r"spec.containers\[0\].volumeMounts: "),
        (pod(livenessProbe={}), r"spec.containers\[0\].livenessProbe: "),
        (pod(command="sleep 1"), r"spec.containers\[0\].command.*list of strings"),
        (pod(readinessProbe={"grpc": {"port": 1}}), r"readinessProbe.grpc: "),
        ({**pod(), "kind": "Job", "apiVersion": "batch/v1"}, r"Job \(batch/v1\) cannot be applied"),
        ({**manifest("web", replicas=1), "metadata": {}}, "no metadata.name"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name_and_nothing_is_made(netem_cluster, obj, told):
    with pytest.raises(ConfigError, match=told):
        netem_cluster.apply([pod("good"), obj])
    assert netem_cluster.pods("app=good") == []


def test_fields_of_images_are_accepted_without_effect(netem_namespace):
    netem_namespace.apply(
        pod(
            image="redis:7",
            imagePullPolicy="Always",
            ports=[{"containerPort": 1}],
            resources={"limits": {"cpu": "1"}},
        )
    )
    netem_namespace.wait_ready()


def test_text_of_several_documents(netem_namespace):
    text = "\n---\n".join(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n"
        f"spec: {{containers: [{{name: c, command: [sleep, infinity]}}]}}"
        for name in ("one", "two")
    )
    netem_namespace.apply(text)
    assert [pod.name for pod in netem_namespace.wait_ready()] == ["one", "two"]


def test_several_containers_share_the_network_and_have_logs_of_their_own(netem_namespace):
    obj = pod(command=["sh", "-c", "echo first; exec sleep infinity"])
    obj["spec"]["containers"].append({"name": "side", "command": ["sh", "-c", "echo second; exec sleep infinity"]})
    netem_namespace.apply(obj)
    (made,) = netem_namespace.wait_ready()
    eventually(lambda: made.logs("side"))
    assert (made.logs(), made.logs("side")) == ("first\n", "second\n")
    addresses = {made.exec(["ip", "-br", "addr"], container=name).stdout for name in ("main", "side")}
    assert len(addresses) == 1
    with pytest.raises(ClusterError, match="no container 'other'; it has main, side"):
        made.exec(["true"], container="other")


def test_environment(netem_namespace):
    env = [{"name": "WHO", "value": "me"}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    netem_namespace.apply(pod(env=env))
    (made,) = netem_namespace.wait_ready()
    assert made.exec(["sh", "-c", "echo $WHO $IP"]).stdout == f"me {made.ip}\n"
    assert made.exec(["sh", "-c", "echo $WHO"], env={"WHO": "you"}).stdout == "you\n"


def test_a_command_runs_as_the_user_that_was_asked_for(netem_namespace):
    netem_namespace.apply(pod(securityContext={"runAsUser": 1234}))
    (made,) = netem_namespace.wait_ready()
    assert made.exec(["id", "-u"]).stdout == "1234\n"


@pytest.mark.parametrize("probe", [{"tcpSocket": {"port": 80}}, {"httpGet": {"port": 80}}, {"exec": {"command": []}}])
def test_readiness(netem_namespace, tmp_path, probe):
    """Not ready before it answers; ready as soon as it does."""
    flag = tmp_path / "go"
    if "exec" in probe:
        probe = {"exec": {"command": ["test", "-e", str(flag)]}}
        command = ["sleep", "infinity"]
    else:
        server = f"until [ -e {flag} ]; do sleep 0.05; done; exec {sys.executable} -m http.server 80 -d {tmp_path}"
        command = ["sh", "-c", server]
    netem_namespace.apply(pod(command=command, readinessProbe={**probe, "periodSeconds": 1}))
    with pytest.raises(ClusterError, match=r"not ready after 1\.5 s: pod/thing"):
        netem_namespace.wait_ready(timeout=1.5)
    flag.touch()
    (made,) = netem_namespace.wait_ready()
    assert made.ready


@pytest.mark.parametrize(("policy", "starts"), [("Never", 1), ("OnFailure", 3), ("Always", 4)])
def test_restart_policy(netem_namespace, tmp_path, policy, starts):
    """It fails twice, then succeeds for good."""
    count = f"echo x >> {tmp_path}/starts; [ $(wc -l < {tmp_path}/starts) -ge 3 ]"
    netem_namespace.apply(pod(spec={"restartPolicy": policy}, command=["sh", "-c", count]))
    made = netem_namespace.pod("thing")
    if policy != "Always":
        eventually(lambda: made.phase == ("Failed" if policy == "Never" else "Succeeded"))
    eventually(lambda: (tmp_path / "starts").exists() and (tmp_path / "starts").read_text().count("x") >= starts)
    if policy != "Always":
        assert (tmp_path / "starts").read_text().count("x") == starts


def test_a_pod_that_cannot_start_says_why(netem_namespace):
    netem_namespace.apply(pod(command=["no-such-program"]))
    with pytest.raises(ClusterError, match=r"can never be ready\n  pod/thing: .*no-such-program"):
        netem_namespace.wait_ready()


def test_commands(netem_namespace):
    netem_namespace.apply(pod())
    (made,) = netem_namespace.wait_ready()
    assert made.exec(["cat"], stdin="text").stdout == "text"
    assert made.exec(["cat"], stdin=b"bytes").stdout == "bytes"
    assert made.exec(["sh", "-c", "echo oops >&2; exit 3"], check=False).returncode == 3
    with pytest.raises(CommandFailed, match=r"sh -c .* in pod .*/thing ended with 3\noops") as failed:
        made.exec(["sh", "-c", "echo oops >&2; exit 3"])
    assert failed.value.completed.stderr == "oops\n"
    with pytest.raises(ClusterError, match=r"did not end within 0\.2 s"):
        made.exec(["sleep", "60"], timeout=0.2)
    with pytest.raises(ConfigError, match=r"list of words.*\['sleep', '1'\]"):
        made.exec("sleep 1")
    with made.spawn(["sh", "-c", "echo up; exec sleep infinity"]) as process:
        eventually(lambda: process.logs == "up\n")
    assert process.wait().returncode == -15


def test_sockets_of_the_test_in_a_pod(people, ann, bob):
    with bob.listen() as listener, ann.connect((address(bob), listener.getsockname()[1])) as here:
        there, peer = listener.accept()
        with there:
            assert peer[0] == address(ann)
            here.sendall(b"hello")
            assert there.recv(16) == b"hello"
    with ann.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((address(ann), 0))
    with pytest.raises(ConnectionRefusedError):
        ann.connect((address(bob), 9))


def test_a_target_of_forward_that_is_none(netem_cluster):
    for target in ("web:80", "pod/web", "node/x:80", "pod/web:http"):
        with pytest.raises(ConfigError, match='write "pod/NAME:PORT"'), netem_cluster.forward(target):
            pass
