"""What the webhooks answer, for requests as API servers send them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.kube import admission
from pytest_k8s_netem.kube.admission import Namespace

IMAGE = "registry/agent:1"
LABELS = {"k8s-netem.riasc.eu/inject": "enabled"}
SHOP = Namespace("shop", LABELS, reachable=True)


def asked(operation: str = "CREATE", **more: Any) -> dict[str, Any]:
    return {"uid": "u-1", "operation": operation, "namespace": "shop", **more}


def pod(**spec: Any) -> dict[str, Any]:
    """Without a name and without a namespace of its own, as a Deployment's pods come."""
    return {"metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "main"}], **spec}}


def profile(**spec: Any) -> dict[str, Any]:
    spec = {"podSelector": {}, "egress": [{}], "impairment": {"delay": "1ms"}, **spec}
    meta = {"name": "slow", "uid": "x", "generation": 2, "managedFields": [{}], "resourceVersion": "7"}
    return {"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "metadata": meta, "spec": spec}


def response(review: dict[str, Any]) -> dict[str, Any]:
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert review["response"]["uid"] == "u-1"
    found: dict[str, Any] = review["response"]
    return found


def patch_of(review: dict[str, Any]) -> list[dict[str, Any]]:
    said = response(review)
    assert said["allowed"] is True
    if "patch" not in said:
        return []
    assert said["patchType"] == "JSONPatch"
    found: list[dict[str, Any]] = json.loads(base64.b64decode(said["patch"]))
    return found


def test_a_new_pod_gets_its_agent() -> None:
    paths = [step["path"] for step in patch_of(admission.mutated(asked(object=pod()), SHOP, IMAGE))]
    assert paths == ["/spec/initContainers", "/spec/volumes"]


def test_its_other_containers_wait_for_the_first_plan_at_one_look_of_the_kubelet() -> None:
    [agent] = patch_of(admission.mutated(asked(object=pod()), SHOP, IMAGE))[0]["value"]
    assert "startupProbe" not in agent, "the kubelet would look twice, a second each"
    [_, _, command] = agent["lifecycle"]["postStart"]["exec"]["command"]
    assert command.endswith("|| true"), "a hook that fails has its container killed"


@pytest.mark.parametrize(
    "request_",
    [
        asked("UPDATE", object=pod()),
        asked("DELETE", object=None, oldObject=pod()),
        asked(object=pod(), subResource="binding"),
        asked(object=None),
        asked(object={"metadata": {}}),
        asked(object=pod(hostNetwork=True)),
        asked(object=pod(initContainers=[{"name": "netem-agent"}])),
    ],
)
def test_other_requests_pass_unchanged(request_: dict[str, Any]) -> None:
    assert patch_of(admission.mutated(request_, SHOP, IMAGE)) == []


def test_a_cluster_without_native_sidecars_gets_none() -> None:
    assert patch_of(admission.mutated(asked(object=pod()), SHOP, "")) == []


@pytest.mark.parametrize(
    ("namespace", "why"),
    [
        (Namespace("shop", {}, reachable=True), ""),
        (Namespace("kube-system", LABELS, reachable=True), ""),
        (Namespace("shop", LABELS, reachable=False), "netem namespace enable shop"),
        (
            Namespace("shop", {**LABELS, "pod-security.kubernetes.io/enforce": "baseline"}, reachable=True),
            "pod-security.kubernetes.io/enforce=baseline",
        ),
    ],
)
def test_a_namespace_that_cannot_have_agents(namespace: Namespace, why: str) -> None:
    review = admission.mutated(asked(object=pod()), namespace, IMAGE)
    assert patch_of(review) == []
    assert why in " ".join(response(review).get("warnings", []))
    assert bool(why) == ("warnings" in response(review))


def test_a_good_profile_passes() -> None:
    assert response(admission.validated(asked(object=profile())))["allowed"] is True


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_a_bad_one_is_refused_with_path_and_reason(operation: str) -> None:
    obj = profile(impairment={"delay": "1ms", "jiter": "1ms"})
    said = response(admission.validated(asked(operation, object=obj, oldObject=profile())))
    assert said["allowed"] is False
    assert said["status"]["code"] == 422
    [cause] = said["status"]["details"]["causes"]
    assert cause["field"] == "spec.impairment.jiter"
    assert "did you mean jitter?" in cause["message"]
    assert "spec.impairment.jiter" in said["status"]["message"]


def test_nonsense_can_still_be_finalised_and_deleted() -> None:
    old = profile(nonsense=True)
    new = {**old, "metadata": {**old["metadata"], "finalizers": []}}
    assert response(admission.validated(asked("UPDATE", object=new, oldObject=old)))["allowed"] is True
    assert response(admission.validated(asked("DELETE", object=None, oldObject=old)))["allowed"] is True


@pytest.mark.parametrize(
    "review", [None, [], "x", {}, {"kind": "AdmissionReview"}, {"kind": "AdmissionReview", "request": {"uid": 1}}]
)
def test_what_is_no_review_is_told(review: object) -> None:
    with pytest.raises(ConfigError, match="not an AdmissionReview"):
        admission.request_of(review)
