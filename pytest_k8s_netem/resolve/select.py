"""Which pods a selection takes, and which of them a profile impairs."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict

from pytest_k8s_netem.profile.rules import NAMESPACE_LABEL
from pytest_k8s_netem.profile.trafficprofile import Operator, RefKind
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index, once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from pytest_k8s_netem.profile.trafficprofile import LabelSelector, Ref, Selection, TrafficProfile
    from pytest_k8s_netem.resolve.world import World

NOT_CHOSEN = "!"
"""Before a key in :attr:`World.chosen`: a pod of a chosen owner that was there and was not chosen."""
SLOTS = "*"
"""In an entry ``uid*n`` of :attr:`World.chosen`: that many pods of this owner are chosen."""
HOST_NETWORK = "it uses its node's network (hostNetwork): impairing it would impair the node"
WINDOWS = "it runs on Windows ({}), whose network has no queueing disciplines"


@once
def pods_of(index: Index, selection: Selection) -> frozenset[str]:
    """Keys of the live pods that the selection takes: the union of its parts, without its exceptions."""
    found: set[str] = set()
    for selector in selection.selectors:
        found |= _labelled(index, selector)
    for ref in selection.refs:
        found |= _referred(index, ref, selection)
    found = {key for key in found if within(index, key, selection)}
    found |= _named_containers(index, selection)
    for exception in selection.exceptions:
        found -= pods_of(index, exception)
    return frozenset(found)


def within(index: Index, key: str, selection: Selection) -> bool:
    """Whether the selection looks where the pod is; a container is in no namespace, so no name keeps it out."""
    if objects.attached(index.live[key]):
        return selection.namespaces is None
    return in_namespaces(index, objects.namespace(key), selection)


def _named_containers(index: Index, selection: Selection) -> set[str]:
    """Attached containers by their name, wherever the selection looks for pods."""
    names = (ref.name for ref in selection.refs if ref.kind is RefKind.CONTAINER)
    return set().union(*(index.by_label.get((objects.CONTAINER_LABEL, name), ()) for name in names))


def in_namespaces(index: Index, namespace: str, selection: Selection) -> bool:
    """Whether the selection looks in that namespace: by name and by labels, where either is given."""
    if selection.names and namespace not in selection.names:
        return False
    if selection.namespaces is None:
        return True
    labels = objects.labels(index.world.namespaces.get(namespace, {}))
    return selection.namespaces.takes({NAMESPACE_LABEL: namespace, **labels})


def _labelled(index: Index, selector: LabelSelector) -> set[str]:
    """Starts from the label that the fewest pods carry, so that a narrow selector costs little in a large cluster."""
    candidates: Collection[str] = index.live
    for requirement in selector.requirements:
        if requirement.operator is Operator.IN:
            having = set().union(*(index.by_label.get((requirement.key, value), ()) for value in requirement.values))
            candidates = min(candidates, having, key=len)
    return {key for key in candidates if selector.takes(objects.labels(index.live[key]))}


def _referred(index: Index, ref: Ref, selection: Selection) -> set[str]:
    match ref.kind:
        case RefKind.POD:
            names = selection.names or index.world.namespaces or {objects.namespace(key) for key in index.live}
            known = {f"{namespace}/{ref.name}" for namespace in names} & index.live.keys()
            return {key for key in known if not objects.attached(index.live[key])}
        case RefKind.DEPLOYMENT:
            return set(_deployed(index).get(ref.name, ()))
        case RefKind.SERVICE:
            keys = (key for key in index.world.services if key.partition("/")[2] == ref.name)
            return set().union(*(service_pods(index, key) for key in keys))
    return set()


@once
def service_pods(index: Index, key: str) -> frozenset[str]:
    """The live pods behind a Service: by its selector; without one, those that its EndpointSlices name."""
    selector = objects.spec(index.world.services[key]).get("selector")
    namespace = objects.namespace(key)
    if selector:
        carriers = set.intersection(*(index.by_label.get(item, set()) for item in selector.items()))
        return frozenset(pod for pod in carriers if objects.namespace(pod) == namespace)
    targets = (endpoint.get("targetRef") or {} for piece in slices(index, key) for endpoint in piece["endpoints"] or ())
    keys = (f"{namespace}/{target.get('name')}" for target in targets if target.get("kind") == "Pod")
    return frozenset(pod for pod in keys if pod in index.live)


def slices(index: Index, service: str) -> tuple[Mapping[str, Any], ...]:
    """The EndpointSlices of a Service."""
    return _slices(index).get(service, ())


@once
def _slices(index: Index) -> dict[str, tuple[Mapping[str, Any], ...]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for key, piece in sorted(index.world.endpointslices.items()):
        service = objects.labels(piece).get(objects.SERVICE_LABEL)
        found[f"{objects.namespace(key)}/{service}"].append({"endpoints": (), "ports": (), **piece})
    return {service: tuple(pieces) for service, pieces in found.items()}


@once
def _deployed(index: Index) -> dict[str, tuple[str, ...]]:
    """Keys of live pods by the name of the Deployment that owns them."""
    found: dict[str, list[str]] = defaultdict(list)
    for key, pod in index.live.items():
        owner = root_owner(index.world, key, pod)
        if owner.get("kind") == "Deployment":
            found[str(owner.get("name"))].append(key)
    return {name: tuple(keys) for name, keys in found.items()}


def root_owner(world: World, key: str, pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Who replaces the pod when it goes: its controller, or the Deployment behind its ReplicaSet; {} = nobody."""
    owner = objects.owner(pod)
    if owner.get("kind") != "ReplicaSet":
        return owner
    replicaset = world.replicasets.get(f"{objects.namespace(key)}/{owner.get('name')}", {})
    return objects.owner(replicaset) or _deployment(world, key, pod) or owner


def _deployment(world: World, key: str, pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The Deployment, by the name and label that its controller gives, where ReplicaSets cannot be read."""
    name, made = str(objects.owner(pod).get("name")), objects.labels(pod).get(objects.TEMPLATE_LABEL)
    if "replicasets" not in world.view.lacking or not made or not name.endswith(f"-{made}"):
        return {}
    deployment = name.removesuffix(f"-{made}")
    return {"kind": "Deployment", "name": deployment, "uid": f"{objects.namespace(key)}:{deployment}"}


@once
def profiles_by_pod(index: Index) -> dict[str, tuple[TrafficProfile, ...]]:
    """For each impaired pod the profiles that impair it, in the order in which its packets meet them."""
    found: dict[str, list[TrafficProfile]] = defaultdict(list)
    for profile in sorted(index.world.profiles.values(), key=lambda profile: profile.sort_key):
        for key in selected(index, profile.name):
            found[key].append(profile)
    return {key: tuple(profiles) for key, profiles in found.items()}


@once
def profiles_by_name(index: Index) -> dict[str, TrafficProfile]:
    """The profiles by their own name."""
    return {profile.name: profile for profile in index.world.profiles.values()}


@once
def selected(index: Index, profile_name: str) -> frozenset[str]:
    """Keys of the pods that a profile impairs: selected, impairable, chosen."""
    profile = profiles_by_name(index)[profile_name]
    chosen = index.world.chosen.get(profile.uid)
    if chosen is not None:
        return _impairable(index, _followed(index, chosen))
    return _drawn(profile, _impairable(index, pods_of(index, profile.pods)))


def excluded(index: Index, pod_key: str) -> str:
    """Why no profile may impair this pod although one selects it; "" = nothing is in the way, or none selects it."""
    why = barred(index, pod_key) if pod_key in index.live else ""
    wanted = why and any(pod_key in pods_of(index, profile.pods) for profile in index.world.profiles.values())
    return why if wanted else ""


def left_out(index: Index, selection: Selection) -> dict[str, str]:
    """Selected pods that nothing may impair, and why; not those of the system that no word means in particular."""
    unmeant = index.world.view.system.difference(selection.names)
    keys = (key for key in sorted(pods_of(index, selection)) if objects.namespace(key) not in unmeant)
    return {key: why for key in keys if (why := barred(index, key))}


@once
def barred(index: Index, pod_key: str) -> str:
    """Why nothing may impair this live pod; "" = nothing is in the way."""
    pod = index.live[pod_key]
    if objects.host_network(pod):
        return HOST_NETWORK
    if said := objects.windows(pod, index.world.nodes.get(objects.node_name(pod), {})):
        return WINDOWS.format(said)
    return spared(index, objects.namespace(pod_key)) or not_allowed(index, pod_key)


@once
def spared(index: Index, namespace: str) -> str:
    """Why pods of a namespace are left alone that nobody has opted in; "" = somebody has, or need not."""
    labels = objects.labels(index.world.namespaces.get(namespace, {}))
    if not index.world.view.spares(namespace, labels):
        return ""
    if namespace in index.world.view.system:
        return f"namespace {namespace} is never touched"
    return f"namespace {namespace} is not enabled: netem namespace enable {namespace}"


def not_allowed(index: Index, pod_key: str) -> str:
    """Why this live pod is not this run's to impair; "" = it is. An attached container was attached by the run."""
    namespace = objects.namespace(pod_key)
    if index.world.view.allows(namespace) or objects.CONTAINER_LABEL in objects.labels(index.live[pod_key]):
        return ""
    return not_allowed_text(namespace)


def not_allowed_text(namespace: str) -> str:
    """How to allow it."""
    return (
        f"pods of namespace {namespace} may not be impaired, since this run did not make it; "
        f"allow it with --netem-allow-namespaces={namespace}"
    )


def _impairable(index: Index, keys: Iterable[str]) -> frozenset[str]:
    return frozenset(key for key in keys if not barred(index, key))


def _drawn(profile: TrafficProfile, keys: frozenset[str]) -> frozenset[str]:
    """``count`` of the keys, drawn so that pods that come and go move as few others as possible."""
    if profile.count is None:
        return keys
    share = isinstance(profile.count, float)
    number = max(1, int(profile.count * len(keys) + 0.5)) if share else int(profile.count)
    return frozenset(sorted(keys, key=lambda key: _lot(profile, key))[:number])


def _lot(profile: TrafficProfile, key: str) -> bytes:
    """A pod's rank in a draw; by its name alone, since namespaces are often made anew for each test."""
    name = key.partition("/")[2]
    return hashlib.sha256(f"{profile.seed}/{name}".encode()).digest() + key.encode()


def choose(profile: TrafficProfile, world: World | Index) -> frozenset[str]:
    """What to keep in :attr:`World.chosen` for a profile with ``follow="start"``: its pods now, and their owners.

    Beside the keys of the pods it holds ``uid*n`` (n pods of that owner are chosen, so n replacements will be) and
    ``!key`` for the owner's pods that were not chosen, which are nobody's replacement.
    """
    index = Index.of(world)
    keys = _drawn(profile, _impairable(index, pods_of(index, profile.pods)))
    owners = {key: _owner_uid(index, key) for key in index.live}
    slots = Counter(owners[key] for key in keys if owners[key])
    others = {f"{NOT_CHOSEN}{key}" for key, uid in owners.items() if uid in slots and key not in keys}
    return keys | others | {f"{uid}{SLOTS}{number}" for uid, number in slots.items()}


def _owner_uid(index: Index, key: str) -> str:
    return str(root_owner(index.world, key, index.live[key]).get("uid") or "")


def _followed(index: Index, chosen: frozenset[str]) -> set[str]:
    """The chosen pods that live, and for each that does not the pod that its owner made instead."""
    kept = {key for key in chosen if key in index.live}
    slots = {uid: int(number) for uid, star, number in (entry.partition(SLOTS) for entry in chosen) if star}
    whole = {entry for entry in chosen if entry[:1] != NOT_CHOSEN and "/" not in entry and SLOTS not in entry}
    if not slots and not whole:
        return kept
    staying = Counter(_owner_uid(index, key) for key in kept if not _leaving(index, key))
    newcomers = sorted((key for key in index.live if key not in chosen and f"!{key}" not in chosen), key=index.age)
    for key in newcomers:
        uid = _owner_uid(index, key)
        if uid in whole or staying[uid] < slots.get(uid, 0):
            staying[uid] += 1
            kept.add(key)
    return kept


def _leaving(index: Index, key: str) -> bool:
    return bool(objects.metadata(index.live[key]).get("deletionTimestamp"))
