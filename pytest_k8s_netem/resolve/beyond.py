"""What of a profile goes beyond what its controller may see or touch: refused before anything changes. Pure."""

from __future__ import annotations

from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.profile.rules import NAMESPACE_LABEL
from pytest_k8s_netem.profile.selectors import format_ref
from pytest_k8s_netem.profile.trafficprofile import RefKind
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.rules import peers_of
from pytest_k8s_netem.resolve.select import not_allowed, not_allowed_text, pods_of, spared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.profile.trafficprofile import Selection, TrafficProfile
    from pytest_k8s_netem.resolve.index import Index

LEVEL = "privileged"
"""The one level that lets an agent in, and what holds where nothing is said."""
NEEDS = {RefKind.SERVICE: "services", RefKind.NODE: "nodes"}
"""Tables without which a reference means nothing; a pod says itself to which Deployment it belongs."""
READ_PODS = "list and watch of pods in {}"


def beyond(index: Index, profile: TrafficProfile) -> tuple[str, ...]:
    """Sentences that say what it lacks, and how to get it; () = nothing."""
    several = (profile.pods, *(peer for direction in Direction for peer in peers_of(profile, direction)))
    found = [*_forbidden(index, profile), *(text for one in several for text in _unseen(index, one))]
    return tuple(dict.fromkeys(found))


def _forbidden(index: Index, profile: TrafficProfile) -> Iterator[str]:
    pods = sorted(pods_of(index, profile.pods))
    words = profile.pods.selectors or any(ref.kind is not RefKind.CONTAINER for ref in profile.pods.refs)
    named = {name for name in profile.pods.names if words and not index.world.view.allows(name)}
    reached = {objects.namespace(key) for key in pods if not_allowed(index, key)}
    yield from map(not_allowed_text, sorted(named | reached))
    meant = (key for key in pods if not spared(index, objects.namespace(key)))
    yield from (text for key in meant if (text := _pod_security(index, key)))


def _pod_security(index: Index, key: str) -> str:
    namespace, _, pod = key.partition("/")
    level = objects.labels(index.world.namespaces.get(namespace, {})).get(objects.POD_SECURITY, LEVEL)
    return pod_security(pod, namespace, level) if index.world.view.injects and level != LEVEL else ""


def pod_security(pod: str, namespace: str, level: str) -> str:
    """The sentence about a pod that its namespace keeps from having an agent."""
    return (
        f"pod/{pod} cannot have the agent: namespace {namespace} enforces Pod Security {level} "
        f"(label {objects.POD_SECURITY}={level}), which forbids the capabilities NET_ADMIN and NET_RAW; "
        f"the agent needs {LEVEL}"
    )


def _unseen(index: Index, selection: Selection) -> Iterator[str]:
    view = index.world.view
    for name in selection.names:
        if not view.sees(name):
            yield f"namespace {name} is not looked into: that needs {READ_PODS.format(f'namespace {name}')}"
    for ref in selection.refs:
        if right := view.lacking.get(NEEDS.get(ref.kind, "")):
            yield f"{format_ref(ref)} cannot be looked up: that needs {right}"
    requirements = selection.namespaces.requirements if selection.namespaces else ()
    labels = [one.key for one in requirements if one.key != NAMESPACE_LABEL]
    if labels and (right := view.lacking.get("namespaces")):
        yield f"namespaces cannot be selected by {labels[0]}: that needs {right}"
    for exception in selection.exceptions:
        yield from _unseen(index, exception)
