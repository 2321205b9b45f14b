"""Whose plan a change of the world can change: by comparing what plans are made of, never the plans themselves."""

from __future__ import annotations

from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.regions import apiserver, named, node_of, senders_of
from pytest_k8s_netem.resolve.remotes import candidates, nodes_named
from pytest_k8s_netem.resolve.rules import own_ports, taken
from pytest_k8s_netem.resolve.select import profiles_by_name, profiles_by_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pytest_k8s_netem.resolve.world import World


def affected(before: World | Index, after: World | Index) -> frozenset[str]:
    """Keys of pods whose plan may differ; every other pod's plan is equal.

    Pass the :class:`Index` that the last plans were made from as ``before``: it is a snapshot, the world is not.
    """
    old, new = Index.of(before), Index.of(after)
    concerned = profiles_by_pod(old).keys() | profiles_by_pod(new).keys()
    changed = {name for name in _names(old) | _names(new) if _shared(old, name) != _shared(new, name)}
    touched = {key for key in concerned if _own(old, key) != _own(new, key) or changed & _profiles(new, key)}
    moved = touched | {key for key in old.live.keys() | new.live.keys() if _address(old, key) != _address(new, key)}
    return frozenset(touched | {key for key in concerned - touched if _leans_on(old, new, key, moved)})


def _names(index: Index) -> set[str]:
    return set(profiles_by_name(index))


def _profiles(index: Index, key: str) -> set[str]:
    return {profile.name for profile in profiles_by_pod(index).get(key, ())}


@once
def _shared(index: Index, name: str) -> Any:
    """What a profile means to all its pods: itself, and whom and what its sides take."""
    profile = profiles_by_name(index).get(name)
    if profile is None:
        return None
    senders = _senders(index, name) if profile.egress and profile.ingress else None
    return (profile, senders, *(_parts(index, name, direction) for direction in Direction))


def _senders(index: Index, name: str) -> Any:
    """Who sends what the profile has impaired already."""
    groups = senders_of(index, name)
    return {own: (peers, taken(index, name, Direction.EGRESS, own)) for own, peers in groups.items()}


def _parts(index: Index, name: str, direction: Direction) -> Any:
    """What the side takes, addresses that it names, and the nodes it names."""
    return (taken(index, name, direction), named(index, name, direction), nodes_named(index, name, direction))


def _own(index: Index, key: str) -> Any:
    """What a plan takes from the pod itself, its node and its agent."""
    if key not in index.live:
        return None
    return (
        _address(index, key),
        node_of(index, key),
        apiserver(index),
        index.world.targets.get(key),
        tuple(profile.name for profile in profiles_by_pod(index).get(key, ())),
        _named_sides(index, key),
    )


def _named_sides(index: Index, key: str) -> Any:
    """Sides whose ports the pod itself gives numbers to."""
    owns: Iterable[tuple[str, Direction]] = (
        (name, direction) for name in sorted(_profiles(index, key)) for direction in Direction
    )
    return [
        (own, taken(index, name, direction, own))
        for name, direction in owns
        if (own := own_ports(index, name, direction, key))
    ]


def _address(index: Index, key: str) -> Any:
    """What others see of a pod; a probe needs it to be running."""
    pod = index.live.get(key)
    return None if pod is None else (objects.pod_addresses(pod), objects.running(pod))


def _leans_on(old: Index, new: Index, key: str, moved: set[str]) -> bool:
    """Whether a probe of the pod may go to another remote, or to one that is impaired otherwise than before."""
    for name in _profiles(new, key):
        for direction in Direction:
            now = candidates(new, name, direction, key)
            if now != candidates(old, name, direction, key) or any(remote.pod in moved for remote in now):
                return True
    return False
