"""What the two webhooks answer to an AdmissionReview (admission.k8s.io/v1). Pure."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.kube import sidecar
from pytest_k8s_netem.kube.install.rights import closed
from pytest_k8s_netem.profile.parse import parse
from pytest_k8s_netem.resolve.objects import pod_security
from pytest_k8s_netem.run.identity import INJECT, INJECTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.model.problem import Problem

API_VERSION, KIND = "admission.k8s.io/v1", "AdmissionReview"
NOT_VALID = 422


@dataclass(frozen=True, slots=True)
class Namespace:
    """What counts of a pod's namespace.

    :ivar reachable: whether the controller may start relays in its pods.
    """

    name: str
    labels: Mapping[str, str]
    reachable: bool


def request_of(review: object) -> Object:
    """The request in a review.

    :raises ConfigError: if it is none.
    """
    request = review.get("request") if isinstance(review, dict) and review.get("kind") == KIND else None
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str):
        raise ConfigError(f"not an {KIND} of {API_VERSION} with a request and its uid")
    return request


def namespace_of(request: Object) -> str:
    """The namespace of the object that a request brings; the object itself may not have it yet."""
    return str(request.get("namespace") or "")


def mutated(request: Object, namespace: Namespace, image: str) -> Object:
    """The answer for a pod that is to be made: the sidecar's patch where it may have one, and where not, why.

    Whatever it is, the pod is let pass.

    :param image: the agent's; "" = this cluster has no native sidecars.
    """
    pod = request.get("object")
    new = request.get("operation") == "CREATE" and not request.get("subResource")
    if not new or not image or not isinstance(pod, dict) or not isinstance(pod.get("spec"), dict):
        return answer(request)
    if namespace.labels.get(INJECT) != INJECTED:
        return answer(request)
    if why := _unwilling(namespace):
        return answer(request, warnings=[f"k8s-netem: no agent in this pod: {why}"])
    try:
        return answer(request, patch=sidecar.patch(pod, namespace.name, image))
    except (AttributeError, KeyError, TypeError):  # no pod that an API server would take
        return answer(request, warnings=["k8s-netem: no agent in this pod: its spec cannot be read"])


def validated(request: Object) -> Object:
    """The answer for a TrafficProfile: refused if its spec is new and cannot be meant."""
    obj, old = request.get("object"), request.get("oldObject")
    if request.get("operation") not in ("CREATE", "UPDATE"):
        return answer(request)
    if isinstance(obj, dict) and isinstance(old, dict) and obj.get("spec") == old.get("spec"):
        return answer(request)  # status and finalizers of nonsense can be written, or it could never be deleted
    try:
        parse(obj)
    except ConfigError as error:
        return answer(request, refusal=error)
    return answer(request)


def answer(
    request: Object,
    *,
    patch: Sequence[Mapping[str, Any]] = (),
    refusal: ConfigError | None = None,
    warnings: Sequence[str] = (),
) -> Object:
    """A review with our response."""
    response: Object = {"uid": request["uid"], "allowed": refusal is None}
    if patch:
        response |= {"patchType": "JSONPatch", "patch": b64encode(json.dumps(patch).encode()).decode()}
    if refusal is not None:
        causes = [{"reason": "FieldValueInvalid", "message": _said(one), "field": one.path} for one in refusal.problems]
        status = {"code": NOT_VALID, "reason": "Invalid", "message": str(refusal), "details": {"causes": causes}}
        response["status"] = status
    if warnings:
        response["warnings"] = [*warnings]
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def _unwilling(namespace: Namespace) -> str:
    if level := pod_security(namespace.labels):
        return f"namespace {namespace.name} has the label {level}, which refuses its capabilities"
    if not namespace.reachable:
        return closed(namespace.name)
    return ""


def _said(problem: Problem) -> str:
    """A cause without its field, which it names beside."""
    return f"{problem.why}; {problem.fix}" if problem.fix else problem.why
