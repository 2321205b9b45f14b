"""Waits on a cluster: pods ready, objects gone, a Service's pod to talk to; by watch, never by polling."""

from __future__ import annotations

import asyncio
import contextlib

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.protocol import DEPLOYMENTS, NAMESPACES, PODS, SERVICES, Kind
from pytest_k8s_netem.errors import ApiError, ClusterError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pytest_k8s_netem.api.protocol import Api, Object
    from pytest_k8s_netem.cluster.provider import Provider

HOPELESS = frozenset({"ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError", "RunContainerError"})
"""Waiting reasons of a container that no waiting mends."""

LIST_AGAIN = 0.1
"""Seconds between the end of a watch and the next list."""


async def ready(provider: Provider, namespace: str, selector: str, timeout: float) -> None:
    """Until the selected pods are ready and, without a selector, every Deployment that may be read has its replicas.

    :raises ClusterError: naming what is missing, after ``timeout`` seconds or once a pod can never be ready.
    """
    waiting: list[str] = []
    deployments = [DEPLOYMENTS] if provider.reads(DEPLOYMENTS, namespace) else []

    async def settled() -> bool:
        if why := provider.lost():
            raise ClusterError(why)
        listing = await provider.api.list(PODS, namespace, selector)
        alive = [pod for pod in listing.items if not pod["metadata"].get("deletionTimestamp")]
        hopeless = [pod for pod in alive if not _done(pod) and _reason(pod) in HOPELESS]
        if hopeless:
            raise ClusterError(await _report(provider, hopeless, "can never be ready"))
        waiting[:] = [f"pod/{pod['metadata']['name']}" for pod in alive if not _done(pod)]
        if deployments and not selector:
            waiting.extend(await _incomplete(provider.api, namespace))
        elif not alive:
            waiting.append(f"any pod with {selector}")
        return not waiting

    if not await _until(provider.api, (PODS, *deployments), namespace, settled, timeout):
        listing = await provider.api.list(PODS, namespace, selector)
        late = [pod for pod in listing.items if not _done(pod)]
        said = f"not ready after {timeout:g} s: {', '.join(waiting)}"
        raise ClusterError(await _report(provider, late, said))


def _done(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Succeeded" or is_ready(pod)


def _reason(pod: Object) -> str:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason"):
            return str(waiting["reason"])
    return ""


async def _incomplete(api: Api, namespace: str) -> list[str]:
    """Deployments with fewer ready pods than replicas."""
    listing = await api.list(DEPLOYMENTS, namespace)
    found = []
    for obj in listing.items:
        wanted = obj["spec"].get("replicas", 1)
        status = obj.get("status") or {}
        current = status.get("observedGeneration") == obj["metadata"].get("generation")
        if not current or status.get("readyReplicas", 0) < wanted:
            found.append(f"deploy/{obj['metadata']['name']} ({status.get('readyReplicas', 0)} of {wanted} ready)")
    return found


async def _report(provider: Provider, pods: Sequence[Object], said: str) -> str:
    lines = [said]
    for pod in pods:
        status = pod.get("status") or {}
        states = "; ".join([*_unscheduled(status), *map(_state, status.get("containerStatuses") or ())])
        lines.append(f"  pod/{pod['metadata']['name']}: {status.get('phase', 'Pending')} {states}".rstrip())
        try:
            tail = (await provider.logs(pod)).strip().splitlines()[-10:]
        except ClusterError:
            tail = []
        lines += [f"    | {line}" for line in tail]
    return "\n".join(lines)


def _unscheduled(status: Object) -> list[str]:
    """Why it has no node, in the scheduler's words."""
    conditions = status.get("conditions") or ()
    return [str(one["message"]) for one in conditions if one["type"] == "PodScheduled" and one.get("message")]


def _state(status: Object) -> str:
    for kind, detail in (status.get("state") or {}).items():
        words = [detail.get("reason", ""), detail.get("message", "")]
        code = f"exit code {detail['exitCode']}" if "exitCode" in detail else ""
        return f"{status['name']} {kind} {' '.join([*words, code])}".strip()
    return str(status.get("name", ""))


async def delete(api: Api, kind: Kind, name: str, namespace: str | None) -> None:
    """Delete an object; one that is gone already is no error."""
    try:
        await api.delete(kind, name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise


async def made(api: Api, kind: Kind, name: str, namespace: str | None, timeout: float) -> None:
    """Until an object is there.

    :raises ClusterError: after ``timeout`` seconds.
    """

    async def there() -> bool:
        try:
            await api.get(kind, name, namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    if not await there() and not await _until(api, (kind,), namespace, there, timeout):
        raise ClusterError(f"{kind.name} {name} is not there after {timeout:g} s")


async def vacate(api: Api, namespace: str, timeout: float) -> None:
    """Delete a namespace and kill its pods; until they are gone: the rest of it goes by itself.

    :raises ClusterError: naming the pods that are left after ``timeout`` seconds.
    """
    await delete(api, NAMESPACES, namespace, None)
    left: list[str] = []

    async def empty() -> bool:
        left[:] = [str(pod["metadata"]["name"]) for pod in (await api.list(PODS, namespace)).items]
        return not left

    for pod in (await api.list(PODS, namespace)).items:
        with contextlib.suppress(ApiError):  # gone already, or held by a finalizer: then it is named below
            await api.delete(PODS, pod["metadata"]["name"], namespace, grace=0)
    if not await empty() and not await _until(api, (PODS,), namespace, empty, timeout):
        raise ClusterError(f"namespace {namespace} still has {', '.join(left)} {timeout:g} s after it was deleted")


async def gone(api: Api, objects: Sequence[tuple[Kind, str, str | None]], timeout: float) -> None:
    """Until none of the objects is there, nor any pod that one of them owned.

    :raises ClusterError: naming what is left after ``timeout`` seconds.
    """
    for kind, name, namespace in objects:

        async def away(kind: Kind = kind, name: str = name, namespace: str | None = namespace) -> bool:
            try:
                await api.get(kind, name, namespace)
            except ApiError as error:
                return error.status == 404 and (kind is not DEPLOYMENTS or not await _owned(api, name, namespace))
            return False

        if not await _until(api, (kind, PODS), namespace, away, timeout):
            raise ClusterError(f"{kind.name} {name} is still there {timeout:g} s after it was deleted")


async def _owned(api: Api, deployment: str, namespace: str | None) -> bool:
    listing = await api.list(PODS, namespace)
    owners = (owner for pod in listing.items for owner in pod["metadata"].get("ownerReferences") or ())
    return any(owner["name"].rpartition("-")[0] == deployment for owner in owners)


async def backend(api: Api, kind: str, name: str, namespace: str, port: int) -> tuple[str, int]:
    """A ready pod of a Service or Deployment, and the port on it: (pod name, port).

    :raises ClusterError: if there is none.
    """
    obj = await api.get(SERVICES if kind == "svc" else DEPLOYMENTS, name, namespace)
    labels = obj["spec"]["selector"] if kind == "svc" else obj["spec"]["selector"].get("matchLabels", {})
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    listing = await api.list(PODS, namespace, selector)
    pods = sorted((pod for pod in listing.items if is_ready(pod)), key=lambda pod: str(pod["metadata"]["name"]))
    if not pods:
        raise ClusterError(f"{kind}/{name} has no ready pod in namespace {namespace!r}")
    if kind == "svc":
        port = _target_port(obj, pods[0], port)
    return str(pods[0]["metadata"]["name"]), port


def _target_port(service: Object, pod: Object, port: int) -> int:
    for entry in service["spec"].get("ports") or ():
        if entry["port"] == port:
            target = entry.get("targetPort", port)
            if isinstance(target, int):
                return target
            named = (p for c in pod["spec"]["containers"] for p in c.get("ports") or () if p.get("name") == target)
            return next((int(p["containerPort"]) for p in named), port)
    raise ClusterError(f"svc/{service['metadata']['name']} has no port {port}")


async def _until(
    api: Api, kinds: Sequence[Kind], namespace: str | None, condition: Callable[[], Awaitable[bool]], timeout: float
) -> bool:
    """Ask the condition now and after each change of one of the kinds; False if the time ran out."""
    changed = asyncio.Event()

    async def watch(kind: Kind) -> None:
        where = namespace if kind.namespaced else None
        while True:
            with contextlib.suppress(ApiError):  # 410 Expired, or a server that is away for a moment: list anew
                since = (await api.list(kind, where)).resource_version
                changed.set()
                async for _ in api.watch(kind, since, where):
                    changed.set()
            await asyncio.sleep(LIST_AGAIN)

    watches = [asyncio.create_task(watch(kind)) for kind in kinds]
    try:
        async with asyncio.timeout(timeout):
            while not await condition():
                await changed.wait()
                changed.clear()
            return True
    except TimeoutError:
        return False
    finally:
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
