"""What the embedded cluster takes, and how it refuses the rest."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.local import manifests

CONTAINER = {"name": "web", "command": ["serve"]}


def _pod(spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    whole = {"containers": [{**CONTAINER, **container}], **(spec or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": whole}


def _service(**spec: Any) -> dict[str, Any]:
    whole = {"selector": {"app": "x"}, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": whole}


def _deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [CONTAINER]}}
    whole = {"selector": {"matchLabels": {"app": "x"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": whole}


@pytest.mark.parametrize(
    "manifest",
    [
        _pod(image="redis:7", imagePullPolicy="Always", ports=[{"containerPort": 1}], resources={"limits": {"cpu": 1}}),
        _pod({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0}, args=["x"], workingDir="/"),
        _pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
        _pod(
            readinessProbe={"httpGet": {"port": "web"}, "periodSeconds": 1},
            ports=[{"name": "web", "containerPort": 80, "protocol": "TCP", "hostPort": 80}],
            securityContext={"runAsUser": 999},
        ),
        _pod({"hostname": "web-0", "subdomain": "shop"}, readinessProbe={"tcpSocket": {"port": "80"}}),
        _service(clusterIP="None"),
        _service(ports=[{"port": 80, "targetPort": 80}, {"port": 81, "targetPort": "web"}]),
        _deployment(replicas=3, strategy={"type": "Recreate"}),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"a": "b"}}},
        {"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "spec": {"anything": 1}},
    ],
)
def test_what_runs_is_taken_as_it_is(manifest: dict[str, Any]) -> None:
    assert manifests.check(manifest) == manifest


@pytest.mark.parametrize(
    ("manifest", "path"),
    [
        (_pod({"volumes": []}), "spec.volumes"),
        (_pod({"initContainers": [CONTAINER]}), "spec.initContainers"),
        (_pod(livenessProbe={}), "spec.containers[0].livenessProbe"),
        (
            _pod(env=[{"name": "A", "valueFrom": {"secretKeyRef": {}}}]),
            "spec.containers[0].env[0].valueFrom.secretKeyRef",
        ),
        (_pod(command=None), "spec.containers[0].command"),
        (_pod(command="sleep 1"), "spec.containers[0].command='sleep 1'"),
        (_pod({"containers": []}), "spec.containers"),
        (_pod({"containers": [CONTAINER, CONTAINER]}), "spec.containers[1].name=web"),
        (_pod({"restartPolicy": "Sometimes"}), "spec.restartPolicy='Sometimes'"),
        (
            _pod(readinessProbe={}, securityContext={"runAsUser": "me"}),
            "spec.containers[0].securityContext.runAsUser='me'",
        ),
        (_pod(readinessProbe={"periodSeconds": 1}), "spec.containers[0].readinessProbe"),
        (_pod(readinessProbe={"tcpSocket": {"port": 0}}), "spec.containers[0].readinessProbe.tcpSocket.port=0"),
        (_pod(readinessProbe={"grpc": {"port": 1}}), "spec.containers[0].readinessProbe.grpc"),
        (_pod(readinessProbe={"tcpSocket": {"port": "web"}}), "spec.containers[0].readinessProbe.tcpSocket.port=web"),
        (
            _pod(readinessProbe={"httpGet": {"port": "web"}}, ports=[{"name": "other", "containerPort": 80}]),
            "spec.containers[0].readinessProbe.httpGet.port=web",
        ),
        (_pod(ports=[{"name": "web"}]), "spec.containers[0].ports[0].containerPort"),
        (_pod(ports=[{"containerPort": "80"}]), "spec.containers[0].ports[0].containerPort='80'"),
        (_pod(ports=[{"containerPort": 80, "protocol": "tcp"}]), "spec.containers[0].ports[0].protocol='tcp'"),
        (_pod(ports=[3]), "spec.containers[0].ports[0]=3"),
        (_pod(ports="80", readinessProbe={"tcpSocket": {"port": "web"}}), "spec.containers[0].ports='80'"),
        (_pod({"hostname": "bücher"}), "spec.hostname='bücher'"),
        (_pod({"subdomain": "a.b"}), "spec.subdomain='a.b'"),
        ({**_pod(), "metadata": {"name": "p", "labels": {"a": 1}}}, "metadata.labels={'a': 1}"),
        (_service(type="NodePort"), "spec.type='NodePort'"),
        (_service(selector=None), "spec.selector"),
        (_service(ports=[{"port": 80, "targetPort": 8080}]), "spec.ports[0].targetPort=8080"),
        (_deployment(selector={"matchLabels": {"app": "y"}}), "spec.template.metadata.labels.app=x"),
        (_deployment(template={"metadata": {}, "spec": {"hostNetwork": True}}), "spec.template.spec.hostNetwork"),
        (_deployment(replicas=-1), "spec.replicas=-1"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}, "kind=ConfigMap (v1)"),
        ({"apiVersion": "v1", "kind": "Pod", "spec": "x"}, "spec='x'"),
    ],
)
def test_everything_else_is_refused_by_its_path(manifest: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        manifests.check(manifest)
    assert any(str(problem).startswith(path) for problem in refused.value.problems), refused.value


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        manifests.check(_pod({"volumes": [], "hostPID": True}, livenessProbe={}))
    assert len(refused.value.problems) == 3
