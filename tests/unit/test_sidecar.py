"""The sidecar's patch, on pods as admission requests bring them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pytest_k8s_netem.kube import sidecar

IMAGE = "registry/agent:1"


def pod(**spec: Any) -> dict[str, Any]:
    """Without a name, as a Deployment's pods come."""
    containers = [{"name": "main", "image": "app", "unknownToUs": {"deep": [1]}}]
    return {"metadata": {"generateName": "web-"}, "spec": {"containers": containers, **spec}}


def patched(obj: dict[str, Any], namespace: str = "shop") -> dict[str, Any]:
    """The patch applied, by the little of RFC 6902 that it uses."""
    new = copy.deepcopy(obj)
    for step in sidecar.patch(obj, namespace, IMAGE):
        assert step["op"] == "add"
        _, spec, field, *index = step["path"].split("/")
        assert spec == "spec"
        if index:
            new["spec"][field].insert(int(index[0]), step["value"])
        else:
            assert not new["spec"].get(field)
            new["spec"][field] = step["value"]
    return new


def test_it_comes_first_and_changes_nothing_else() -> None:
    before = pod(initContainers=[{"name": "migrate"}], volumes=[{"name": "data"}])
    after = patched(before)
    assert [entry["name"] for entry in after["spec"]["initContainers"]] == [sidecar.CONTAINER, "migrate"]
    assert after["spec"]["initContainers"].pop(0)["restartPolicy"] == "Always"
    assert after["spec"]["volumes"].pop(0)["name"] == sidecar.NO_TOKEN
    assert after == before


@pytest.mark.parametrize("empty", [{}, {"initContainers": None, "volumes": []}])
def test_a_pod_without_lists_gets_them(empty: dict[str, Any]) -> None:
    assert sidecar.has(patched(pod(**empty)))


def test_a_second_call_changes_nothing() -> None:
    assert sidecar.patch(patched(pod()), "shop", IMAGE) == []


@pytest.mark.parametrize(
    ("namespace", "spec"),
    [
        ("kube-system", {}),
        ("shop", {"hostNetwork": True}),
        ("shop", {"os": {"name": "windows"}}),
        ("shop", {"nodeSelector": {"kubernetes.io/os": "windows"}}),
    ],
)
def test_what_must_not_have_one_is_left_alone(namespace: str, spec: dict[str, Any]) -> None:
    assert sidecar.patch(pod(**spec), namespace, IMAGE) == []


def held(**more: Any) -> dict[str, Any]:
    """A pod as a node has just got it."""
    obj = patched(pod(nodeName="n"))
    return {"metadata": {"uid": "u1", **more.pop("metadata", {})}, "spec": obj["spec"], "status": more}


def seen(**entry: Any) -> list[dict[str, Any]]:
    return [{"name": sidecar.CONTAINER, "containerID": "c1", "started": False, **entry}]


def test_a_pod_waits_from_its_node_on_until_its_status_says_that_the_sidecar_runs() -> None:
    assert sidecar.waits(held()) == "u1 "
    assert sidecar.waits(held(initContainerStatuses=seen(containerID="", state={"waiting": {}}))) == "u1 "
    assert not sidecar.waits(held(initContainerStatuses=seen(state={"running": {}})))
    assert not sidecar.waits({"metadata": {"uid": "u1"}, "spec": patched(pod())["spec"]}), "it has no node"


def test_a_sidecar_that_is_started_anew_is_another_one_to_wait_for() -> None:
    """Its hook runs again; the kubelet looks after nothing else of the pod while it does."""
    assert sidecar.waits(held(initContainerStatuses=seen(state={"terminated": {}}))) == "u1 c1"


@pytest.mark.parametrize("over", [{"phase": "Succeeded"}, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}])
def test_a_pod_that_is_over_waits_for_nothing(over: dict[str, Any]) -> None:
    assert not sidecar.waits(held(**over))


def older(**entry: Any) -> dict[str, Any]:
    """As a webhook before this one made it."""
    agent = {"name": sidecar.CONTAINER, "startupProbe": {"exec": {}}}
    said = seen(**({"state": {"running": {}}} | entry))
    meta = {"metadata": {"uid": "u1"}, "spec": {"initContainers": [agent]}}
    return meta | {"status": {"podIP": "10.0.0.1", "initContainerStatuses": said}}


def test_a_pod_with_a_startup_probe_waits_from_its_sidecars_start_to_its_first_plan() -> None:
    assert not sidecar.held(older())
    assert sidecar.waits(older()) == "c1"
    assert not sidecar.waits(older(started=True))
    assert not sidecar.waits(older(state={"waiting": {}}))
    assert not sidecar.waits(older(name="other"))
    assert not sidecar.waits({"metadata": {"uid": "u1"}, "spec": {}})
