"""The agent in pods that run already: as an ephemeral container, one a pod and run."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import defaultdict

from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.errors import ApiError, ImpairmentError
from pytest_k8s_netem.kube import image
from pytest_k8s_netem.resolve.beyond import pod_security
from pytest_k8s_netem.resolve.objects import finished
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime

CONTAINER = "netem-agent"
"""Name of the agent's container, of an ephemeral one its beginning."""
IDLE = 120
"""Seconds without a session and without a plan after which an ephemeral agent ends: a run that was killed is over
by then, and the reconnect after any outage that keeps its plans has come (see controller.leases.LEASE)."""
RUNS_WITHIN = 20.0
"""Seconds for the container to run; its image may have to be pulled."""
HOPELESS = frozenset({"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"})
"""Waiting reasons that no waiting mends; a pull is tried again by the kubelet."""
SECURITY: Object = {
    "runAsUser": 0,
    "runAsGroup": 0,
    "runAsNonRoot": False,
    "privileged": False,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
}
"""All that the agent may do, whatever the pod says for its own containers."""
_VIOLATED = re.compile(r'violates PodSecurity "(?P<level>[a-z]+)[:"]')
"""How a namespace's Pod Security refuses (k8s.io/pod-security-admission, admission/admission.go)."""
UNKNOWN = "could not find the requested resource"
"""How an API server says that it has not even the kind, or the subresource."""


class _Conflict(ImpairmentError):
    """Somebody else changed the pod's ephemeral containers at the same time, or it can have none at all."""


class EphemeralAgents:
    """Finds the agent's container in a pod, or brings it there.

    :param image_name: the agent's, as the nodes know it.
    """

    def __init__(self, runtime: Runtime, image_name: str) -> None:
        self._api = runtime.api
        self._image = image_name
        self._pods = runtime.informer(PODS)
        self._pods.subscribe(self._changed)
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._brought: dict[str, str] = {}
        self._reached: set[str] = set()

    def there(self) -> set[str]:
        """Uids of all pods."""
        return {str(pod["metadata"]["uid"]) for pod in self._pods.objects.values()}

    def residue(self) -> list[str]:
        """Pods (``namespace/name``) that are there and to which it brought a container: no API takes one away."""
        there = self.there()
        return sorted(key for uid, key in self._brought.items() if uid in there)

    def reached(self, pod: Object) -> None:
        """The pod's sidecar runs, though its status will say so only when the kubelet has left the sidecar's hook."""
        meta = pod["metadata"]
        self._reached.add(str(meta["uid"]))
        self._wake(f"{meta['namespace']}/{meta['name']}")

    async def container(self, pod: Object) -> str:
        """The name of the container in which the pod's agent runs.

        :raises ImpairmentError: if the pod is gone, or cannot have one. :raises ApiError: if the API server refuses.
        """
        current = await self._current(pod)
        name = _serving(current)
        if not name:
            name = await self._added(current)
        await self._running(current, name)
        return name

    async def _current(self, pod: Object) -> Object:
        meta = pod["metadata"]
        try:
            current = await self._api.get(PODS, meta["name"], meta["namespace"])
        except ApiError as error:
            if error.status == 404:
                raise ImpairmentError(f"pod/{meta['name']} is gone") from None
            raise
        leaving = "deletionTimestamp" in current["metadata"]
        there = bool(_serving(current)) or (_phase(current) == "Running" and not leaving)
        if current["metadata"]["uid"] != meta["uid"] or not there:
            state = "it is being deleted" if leaving else _phase(current)
            raise ImpairmentError(f"pod/{meta['name']} does not run: {state}")
        return current

    async def _added(self, pod: Object) -> str:
        """Add the container; the API takes the whole list, in which those that are there must stay."""
        meta, name = pod["metadata"], f"{CONTAINER}-{secrets.token_hex(3)}"
        key = f"{meta['namespace']}/{meta['name']}"
        async for attempt in attempts(5, _Conflict):
            with attempt:
                current = await self._current(pod)
                there = current["spec"].get("ephemeralContainers") or []
                patch = {"spec": {"ephemeralContainers": [*there, manifest(name, self._image, key)]}}
                try:
                    await self._api.patch(PODS, meta["name"], patch, meta["namespace"], "ephemeralcontainers")
                except ApiError as error:
                    raise _refused(pod, error) from None
        self._brought[str(meta["uid"])] = key
        return name

    async def _running(self, pod: Object, name: str) -> None:
        """Wait until it runs."""
        key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"

        def runs() -> bool:
            seen = self._pods.objects.get(key)
            if seen is None or seen["metadata"]["uid"] != pod["metadata"]["uid"]:
                return False
            if name == CONTAINER and seen["metadata"]["uid"] in self._reached:
                return True
            state = _states(seen).get(name, {})
            waiting = state.get("waiting") or {}
            if ("terminated" in state and not _returns(seen, name)) or waiting.get("reason") in HOPELESS:
                detail = state.get("terminated") or waiting
                why = f"{detail.get('reason', '')} {detail.get('message', '')}".strip()
                raise ImpairmentError(f"the agent does not run in pod/{key}: {why}")
            return "running" in state

        try:
            async with asyncio.timeout(RUNS_WITHIN):
                await self._until(key, runs)
        except TimeoutError:
            state = _states(self._pods.objects.get(key, {})).get(name, {})
            raise ImpairmentError(f"the agent did not run in pod/{key} within {RUNS_WITHIN:g} s: {state}") from None

    async def _until(self, key: str, condition: Callable[[], bool]) -> None:
        changed = asyncio.Event()
        self._waiting[key].add(changed)
        try:
            while not condition():
                await changed.wait()
                changed.clear()
        finally:
            self._waiting[key].discard(changed)
            if not self._waiting[key]:
                del self._waiting[key]

    def _changed(self, key: str, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or "running" in _states(new).get(CONTAINER, {})):
            self._reached.discard(str(old["metadata"]["uid"]))
        self._wake(key)

    def _wake(self, key: str) -> None:
        for event in self._waiting.get(key, ()):
            event.set()


def manifest(name: str, image_name: str, target: str) -> Object:
    """The ephemeral container; the API allows it neither resources nor probes nor ports.

    :param target: what the agent calls the pod.
    """
    return {
        "name": name,
        "image": image_name,
        "imagePullPolicy": "IfNotPresent",
        "args": ["keep", "--socket", image.SOCKET, "--idle", str(IDLE)],
        "env": [{"name": "NETEM_TARGET", "value": target}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": SECURITY,
    }


def _serving(pod: Object) -> str:
    """A container of the agent that runs, or is about to; "" = none."""
    states = _states(pod)
    spec = pod["spec"]
    there = [*(spec.get("initContainers") or ()), *(spec.get("ephemeralContainers") or ())]
    names = (str(container["name"]) for container in there if str(container["name"]).startswith(CONTAINER))
    return next((name for name in names if "terminated" not in states.get(name, {}) or _returns(pod, name)), "")


def _returns(pod: Object, name: str) -> bool:
    """Whether this container, which has ended, is started again: the sidecar is while its pod stays."""
    return name == CONTAINER and not finished(pod) and "deletionTimestamp" not in pod["metadata"]


def _states(pod: Object) -> dict[str, dict[str, Any]]:
    """State of each container that is not the application's, by name."""
    status = pod.get("status") or {}
    found = [*(status.get("initContainerStatuses") or ()), *(status.get("ephemeralContainerStatuses") or ())]
    return {entry["name"]: entry.get("state") or {} for entry in found}


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def _refused(pod: Object, error: ApiError) -> Exception:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    if error.status in (409, 422):
        return _Conflict(f"pod/{name} cannot have the agent: {error}")
    if violated := _VIOLATED.search(str(error)):
        return ImpairmentError(pod_security(name, namespace, violated["level"]))
    if error.status == 404 and UNKNOWN in str(error):
        return ImpairmentError(f"pod/{name} cannot have the agent: Kubernetes has ephemeral containers from 1.25 on")
    return error  # a right that has just been given may not be known yet: who asked tries again
