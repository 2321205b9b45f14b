"""Brings an installation into a cluster, or an older one up to date, without a gap."""

from __future__ import annotations

from pytest_k8s_netem.api.protocol import DEPLOYMENTS, NAMESPACES, PODS, TRAFFICPROFILES
from pytest_k8s_netem.errors import ApiError, ClusterError
from pytest_k8s_netem.kube.definition import define
from pytest_k8s_netem.kube.install.names import CONTROLLER, NAMESPACE, WEBHOOKS
from pytest_k8s_netem.kube.install.objects import objects
from pytest_k8s_netem.kube.install.workload import SELECTOR
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api, Kind, Object

AVAILABLE_WITHIN = 180.0
"""Seconds for the controller to run; its image may have to be pulled."""
ANSWERS_WITHIN = 30.0
"""Seconds for the webhooks to be called after that."""
NONSENSE: Object = {
    "metadata": {"name": "netem-install-asks"},
    "spec": {"podSelector": {}, "egress": [{}], "impairment": {"delay": "1ms"}, "nonsense": True},
}
"""A profile that the definition takes and the webhook refuses; never kept."""


class _NotYet(Exception):
    """What is waited for has not come."""


async def install(api: Api, *, controller_image: str, agent_image: str) -> None:
    """Make or change all objects, then wait until the controller runs and its webhooks answer.

    :param controller_image: and ``agent_image``: as the nodes know them.
    :raises ApiError: if the API server refuses an object. :raises ClusterError: if the controller does not come up.
    """
    for kind, obj in objects(controller_image, agent_image):
        await apply(api, kind, obj)
    await define(api)  # which waits until TrafficProfiles are served
    await available(api)
    await answering(api)


async def apply(api: Api, kind: Kind, obj: Object) -> None:
    """Make an object, or change the one that is there to it; what it does not speak of stays.

    :raises ApiError: if the API server refuses.
    """
    name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace")
    try:
        await api.create(kind, obj, namespace)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        if kind != NAMESPACES:  # one that somebody else made stays his: his labels, and his to delete
            await api.patch(kind, name, _carried(obj, await api.get(kind, name, namespace)), namespace)


async def available(api: Api, within: float = AVAILABLE_WITHIN) -> None:
    """Wait until the Deployment's newest pods run, and no older one.

    :raises ClusterError: with what is wrong with its pods.
    """
    try:
        async for attempt in attempts(within, _NotYet, most=0.5):
            with attempt:
                if why := _unavailable(await api.get(DEPLOYMENTS, CONTROLLER, NAMESPACE)):
                    raise _NotYet(why)
    except _NotYet as error:
        said = await _pods(api)
        raise ClusterError(f"the controller did not come up within {within:g} s: {error}{said}") from None


async def answering(api: Api, within: float = ANSWERS_WITHIN) -> None:
    """Wait until the API server asks the webhooks, and they answer.

    :param within: seconds. :raises ClusterError: if they do not.
    """
    try:
        async for attempt in attempts(within, _NotYet, most=0.5):
            with attempt:
                await _refused(api)
    except _NotYet:
        raise ClusterError(
            f"the controller runs, but the API server gets no answer from its webhooks within {within:g} s; "
            f"look at the log: kubectl -n {NAMESPACE} logs deploy/{CONTROLLER}"
        ) from None


async def _refused(api: Api) -> None:
    try:
        await api.create(TRAFFICPROFILES, NONSENSE, dry_run=True)
    except ApiError as error:
        if WEBHOOKS in str(error) and "denied" in str(error):
            return
        if error.status not in (404, 500, 503):
            raise
    raise _NotYet


def _carried(new: Object, old: Object) -> Object:
    """``new`` with the CA that the controller has written into webhooks: a merge patch replaces lists whole."""
    known = {hook["name"]: hook["clientConfig"].get("caBundle") for hook in old.get("webhooks") or ()}
    hooks = [
        {**hook, "clientConfig": {**hook["clientConfig"], "caBundle": known[hook["name"]]}}
        if known.get(hook["name"])
        else hook
        for hook in new.get("webhooks") or ()
    ]
    return {**new, "webhooks": hooks} if hooks else new


def _unavailable(deployment: Object) -> str:
    """Why it is not as declared; "" = it is."""
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "the Deployment's controller has not seen it"
    if status.get("updatedReplicas", 0) < wanted or status.get("availableReplicas", 0) < wanted:
        return f"{status.get('availableReplicas', 0)} of {wanted} pods are available"
    if status.get("replicas", 0) > wanted:
        return "an older pod still runs"
    return ""


async def _pods(api: Api) -> str:
    """What their containers wait for, for a message."""
    selector = ",".join(f"{key}={value}" for key, value in SELECTOR.items())
    lines = []
    for pod in (await api.list(PODS, NAMESPACE, selector)).items:
        for entry in (pod.get("status") or {}).get("containerStatuses") or ():
            state = entry.get("state") or {}
            detail = state.get("waiting") or state.get("terminated") or {}
            if detail:
                lines.append(f"pod/{pod['metadata']['name']}: {detail.get('reason')} {detail.get('message', '')}")
    return "".join(f"\n  {line.strip()}" for line in lines)
