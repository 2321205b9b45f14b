"""Whatever an API server sends: the webhooks answer, let every pod pass, and touch no more of it than they must."""

from __future__ import annotations

import asyncio
import copy
import json
from base64 import b64decode
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from json_values import VALUES, meddled
from test_fuzz_profile import OBJECTS, WORDS

from pytest_k8s_netem.controller import evidence_server
from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.kube import admission
from pytest_k8s_netem.kube.admission import Namespace
from pytest_k8s_netem.kube.ephemeral import CONTAINER
from pytest_k8s_netem.model.frames import MAX_FRAME, Decoder, encode
from pytest_k8s_netem.run.identity import INJECT, INJECTED

OPTED_IN = Namespace("shop", {INJECT: INJECTED}, reachable=True)
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "web-", "labels": {"app": "web"}},
    "spec": {
        "containers": [{"name": "main", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "initContainers": [{"name": "first", "image": "x"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "os": {"name": "linux"},
    },
}
REVIEW = {
    "apiVersion": admission.API_VERSION,
    "kind": admission.KIND,
    "request": {"uid": "u", "operation": "CREATE", "namespace": "shop", "object": POD},
}


def answered(answer: Any, uid: str) -> dict[str, Any]:
    """What the API server reads of an answer."""
    response = json.loads(json.dumps(answer))["response"]
    assert response["uid"] == uid
    assert isinstance(response["allowed"], bool)
    return dict(response)


def applied(patch: list[dict[str, Any]], obj: Any) -> Any:
    """RFC 6902, as far as it is used."""
    obj = copy.deepcopy(obj)
    for step in patch:
        assert step["op"] == "add"
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        where = obj
        for part in path:
            where = where[part]
        if isinstance(where, list):
            where.insert(int(last), step["value"])
        else:
            assert not where.get(last)
            where[last] = step["value"]
    return obj


@given(VALUES | meddled(REVIEW))
@settings(max_examples=150)
@example({"kind": admission.KIND, "request": {"uid": ["u"]}})
def test_any_review_is_a_request_or_refused(review: Any) -> None:
    with suppress(ConfigError):
        request = admission.request_of(review)
        answered(admission.mutated(request, OPTED_IN, "agent"), request["uid"])
        answered(admission.validated(request), request["uid"])
        assert isinstance(admission.namespace_of(request), str)


@given(meddled(POD))
@settings(max_examples=150)
@example({"spec": {"initContainers": ["x"], "volumes": 1}})
@example({"spec": {"containers": [], "os": "windows"}})
def test_any_pod_passes_with_nothing_changed_but_what_is_added(pod: Any) -> None:
    response = answered(admission.mutated({**REVIEW["request"], "object": pod}, OPTED_IN, "agent"), "u")  # type: ignore[dict-item]
    assert response["allowed"]
    if "patch" in response:
        patched = applied(json.loads(b64decode(response["patch"])), pod)
        assert patched["spec"]["initContainers"][0]["name"] == CONTAINER
        again = admission.mutated({**REVIEW["request"], "object": patched}, OPTED_IN, "agent")  # type: ignore[dict-item]
        assert "patch" not in again["response"], "a second call adds nothing"
        for field in ("initContainers", "volumes"):
            del patched["spec"][field][0]
            if field not in pod["spec"] or not pod["spec"][field]:
                patched["spec"][field] = pod["spec"].get(field)
        assert {key: value for key, value in patched["spec"].items() if value is not None} == {
            key: value for key, value in pod["spec"].items() if value is not None
        }


@given(st.sampled_from(OBJECTS).flatmap(lambda obj: meddled(obj, WORDS)), st.sampled_from(["CREATE", "UPDATE"]))
@settings(max_examples=150)
def test_any_profile_is_allowed_or_refused_with_its_paths(obj: Any, operation: str) -> None:
    response = answered(admission.validated({"uid": "u", "operation": operation, "object": obj}), "u")
    if not response["allowed"]:
        assert response["status"]["code"] == admission.NOT_VALID
        assert response["status"]["message"]
        assert all(cause["message"] for cause in response["status"]["details"]["causes"])
        same = {"uid": "u", "operation": "UPDATE", "object": obj, "oldObject": obj}
        assert not isinstance(obj, dict) or answered(admission.validated(same), "u")["allowed"]


class Witness:
    """Knows nothing."""

    async def evidence(self, profile: str) -> Any:
        raise ConfigError(f"there is no {profile!r}")

    async def pairs(self, profile: str) -> tuple[()]:
        return ()

    async def measure(self, checks: Any) -> dict[str, Any]:
        return {}


class Writer:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        return


QUESTIONS = [
    {"id": 1, "op": "evidence", "profile": "x"},
    {"id": 2, "op": "pairs", "profile": "x"},
    {"id": 3, "op": "measure", "checks": {}},
    {"id": 4, "op": "more", "of": 2},
    {"id": 5, "op": "state"},
]


@given(st.lists(VALUES | st.sampled_from(QUESTIONS).flatmap(meddled), max_size=5))
@settings(max_examples=100)
@example([{"id": "x" * (MAX_FRAME - 100), "op": "evidence", "profile": "x"}])
@example([{"id": 10**400, "op": "pairs", "profile": "x"}])
@example([{"id": [1], "op": "more", "of": {}}])
def test_a_witness_answers_any_question(questions: list[Any]) -> None:
    async def ask() -> bytes:
        writer = Writer()
        talk = evidence_server._Talk(Witness(), None, writer)  # type: ignore[arg-type]
        for frame in questions:
            try:
                (taken,) = Decoder().feed(json.dumps(frame).encode() + b"\n")
            except ValueError:
                continue
            await talk._answer(taken)
        return writer.data

    lines = asyncio.run(ask()).splitlines()
    for answer in map(json.loads, lines):
        assert ("ok" in answer) != ("problems" in answer)
        assert len(encode(answer)) <= MAX_FRAME
    assert len(lines) == len(questions)
