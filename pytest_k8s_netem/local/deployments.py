"""Deployments and their ReplicaSets: as many pods of a template as wanted, a new template rolled out."""

from __future__ import annotations

import hashlib
import json
import time

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.protocol import DEPLOYMENTS, PODS, REPLICASETS
from pytest_k8s_netem.api.refusals import tolerated
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.resolve.objects import TEMPLATE_LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.api.protocol import Kind, Object
    from pytest_k8s_netem.controller.informer import Informer
    from pytest_k8s_netem.controller.runtime import Runtime

SEEN_WITHIN = 1.0
"""Seconds for a pod that was made to be seen; of one that is not the server is asked."""
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes names things with: no vowels, so no words."""


class Deployments:
    """Keeps a ReplicaSet for each Deployment's template, and the pods of each ReplicaSet."""

    def __init__(self, runtime: Runtime) -> None:
        self._api = runtime.api
        self._deployments = runtime.informer(DEPLOYMENTS)
        self._sets = runtime.informer(REPLICASETS)
        self._pods = runtime.informer(PODS)
        self._expected: dict[str, dict[str, float]] = {}  # pods that were made and not seen yet, and when
        self._roller = runtime.controller("deployments", self._roll)
        self._filler = runtime.controller("replicasets", self._fill)
        self._deployments.subscribe(lambda key, *_: self._roller.queue.add(key))
        self._sets.subscribe(self._set_changed)
        self._pods.subscribe(self._pod_changed)

    def _set_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        self._filler.queue.add(key)
        if owner := _owner_key(new or old or {}, "Deployment"):
            self._roller.queue.add(owner)

    def _pod_changed(self, _: str, old: Object | None, new: Object | None) -> None:
        if owner := _owner_key(new or old or {}, "ReplicaSet"):
            self._filler.queue.add(owner)

    async def _roll(self, key: str) -> None:
        """New pods first, old ones go when the new are ready; ``Recreate``: the other way round."""
        deployment = self._deployments.objects.get(key)
        if deployment is None or deployment["metadata"].get("deletionTimestamp"):
            return
        wanted, name = deployment["spec"].get("replicas", 1), _set_name(deployment)
        sets = self._owned(self._sets, deployment)
        current = next((each for each in sets if each["metadata"]["name"] == name), None)
        old = [each for each in sets if each is not current and each["spec"].get("replicas")]
        recreate = (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"
        if old and (recreate or _ready(current) >= wanted):
            await self._scale(old, 0)
        if recreate and any((each.get("status") or {}).get("replicas") for each in sets if each is not current):
            return
        if current is None:
            with tolerated(403, 409):  # made a moment ago, not yet seen; or its namespace is on its way out
                await self._api.create(REPLICASETS, _new_set(deployment, name), deployment["metadata"]["namespace"])
        else:
            await self._scale([current], wanted)
        await self._tell_deployment(deployment, current, sets)

    async def _fill(self, key: str) -> float | None:
        """Make or delete pods until their number is right."""
        owner = self._sets.objects.get(key)
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            self._expected.pop(key, None)
            return None
        pods = [pod for pod in self._owned(self._pods, owner) if _lives(pod)]
        coming = self._expected.setdefault(key, {})
        await self._look_for(owner["metadata"]["namespace"], coming)
        missing = owner["spec"].get("replicas", 1) - len(pods) - len(coming)
        for _ in range(missing):
            made = await self._api.create(PODS, _new_pod(owner), owner["metadata"]["namespace"])
            coming[made["metadata"]["name"]] = time.monotonic()
        for pod in sorted(pods, key=is_ready)[: max(0, -missing)]:
            with tolerated(404):
                await self._api.delete(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"])
        await self._tell(REPLICASETS, owner, _counts(pods))
        return SEEN_WITHIN if coming else None

    async def _look_for(self, namespace: str, coming: dict[str, float]) -> None:
        """Expect no longer what has been seen, nor after a while what was deleted before anybody could see it."""
        for name, made in list(coming.items()):
            if f"{namespace}/{name}" in self._pods.objects:
                del coming[name]
            elif time.monotonic() - made >= SEEN_WITHIN:
                try:
                    await self._api.get(PODS, name, namespace)
                except ApiError as error:
                    if error.status != 404:
                        raise
                    del coming[name]

    async def _scale(self, sets: list[Object], replicas: int) -> None:
        for each in sets:
            if each["spec"].get("replicas") != replicas:
                meta = each["metadata"]
                await self._api.patch(REPLICASETS, meta["name"], {"spec": {"replicas": replicas}}, meta["namespace"])

    async def _tell_deployment(self, deployment: Object, current: Object | None, sets: list[Object]) -> None:
        counts = {
            name: sum((each.get("status") or {}).get(name, 0) for each in sets)
            for name in ("replicas", "readyReplicas", "availableReplicas")
        }
        updated = ((current or {}).get("status") or {}).get("replicas", 0)
        await self._tell(DEPLOYMENTS, deployment, counts | {"updatedReplicas": updated})

    async def _tell(self, kind: Kind, obj: Object, counts: Mapping[str, int]) -> None:
        status = {**counts, "observedGeneration": obj["metadata"].get("generation", 1)}
        if any((obj.get("status") or {}).get(name) != value for name, value in status.items()):
            meta = obj["metadata"]
            with tolerated(404):
                await self._api.patch(kind, meta["name"], {"status": status}, meta["namespace"], subresource="status")

    @staticmethod
    def _owned(informer: Informer, owner: Object) -> list[Object]:
        uid = owner["metadata"]["uid"]
        return [
            obj
            for obj in informer.objects.values()
            if any(reference.get("uid") == uid for reference in obj["metadata"].get("ownerReferences") or ())
        ]


def _owner_key(obj: Object, kind: str) -> str:
    meta = obj.get("metadata") or {}
    for reference in meta.get("ownerReferences") or ():
        if reference.get("kind") == kind:
            return f"{meta['namespace']}/{reference['name']}"
    return ""


def _set_name(deployment: Object) -> str:
    return f"{deployment['metadata']['name']}-{template_hash(deployment['spec']['template'])}"


def template_hash(template: Object) -> str:
    """Ten letters that stand for a pod template."""
    number = int.from_bytes(hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()[:8], "big")
    letters = ""
    for _ in range(10):
        number, digit = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[digit]
    return letters


def _new_set(deployment: Object, name: str) -> Object:
    template, meta = deployment["spec"]["template"], deployment["metadata"]
    label = {TEMPLATE_LABEL: name.rpartition("-")[2]}
    labels = {**((template.get("metadata") or {}).get("labels") or {}), **label}
    selector = deployment["spec"].get("selector") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [_reference(deployment, "apps/v1", "Deployment")],
        },
        "spec": {
            "replicas": deployment["spec"].get("replicas", 1),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **label}},
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        },
    }


def _new_pod(owner: Object) -> Object:
    template = owner["spec"]["template"]
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{owner['metadata']['name']}-",
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [_reference(owner, "apps/v1", "ReplicaSet")],
        },
        "spec": template["spec"],
    }


def _reference(obj: Object, version: str, kind: str) -> Object:
    meta = obj["metadata"]
    return {"apiVersion": version, "kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}


def _lives(pod: Object) -> bool:
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not ended and not pod["metadata"].get("deletionTimestamp")


def _ready(owner: Object | None) -> int:
    return int(((owner or {}).get("status") or {}).get("readyReplicas", 0))


def _counts(pods: list[Object]) -> dict[str, int]:
    ready = sum(map(is_ready, pods))
    return {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
