"""From profiles and the world to one plan a pod: the only way to a plan of a pod."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from pytest_k8s_netem.model.plan import Direction, Plan
from pytest_k8s_netem.resolve.checks import checks
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.layout import layout
from pytest_k8s_netem.resolve.peers import overreach, remotes
from pytest_k8s_netem.resolve.regions import exempt, own_node
from pytest_k8s_netem.resolve.rules import peers_of, side_of
from pytest_k8s_netem.resolve.select import excluded, profiles_by_name, profiles_by_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.model.problem import Problem
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile
    from pytest_k8s_netem.resolve.world import World


@dataclass(frozen=True, slots=True)
class Resolution:
    """What shall be done to one pod.

    :ivar problems: by profile, why it is not in the plan. :ivar spared: by profile, what it leaves alone here.
    :ivar notes: by profile, what may surprise: virtual addresses that stand for other pods too.
    :ivar excluded: why no profile may touch this pod although one selects it; "" = nothing is in the way.
    """

    plan: Plan
    problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    spared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    excluded: str = ""


def resolve(pod_key: str, world: World | Index) -> Resolution:
    """The plan of one pod; empty if nothing is to be done to it, it is not there, or its agent has not answered yet.

    Many pods of one world: pass an :class:`Index` of it, which remembers what they share.
    """
    index = Index.of(world)
    if pod_key not in index.live:
        return Resolution(Plan(pod_key))
    found = layout(index, pod_key)
    problems: dict[str, list[Problem]] = defaultdict(list)
    for profile, problem in found.problems:
        problems[profile].append(problem)
    profiles = profiles_by_pod(index).get(pod_key, ())
    return Resolution(
        replace(found.plan, checks=checks(index, pod_key), _digest=[]),
        {profile: tuple(several) for profile, several in problems.items()},
        {profile.name: texts for profile in profiles if (texts := _spared(index, pod_key, profile))},
        {profile.name: texts for profile in profiles if (texts := _notes(index, profile.name))},
        excluded(index, pod_key),
    )


def _spared(index: Index, pod_key: str, profile: TrafficProfile) -> tuple[str, ...]:
    node = own_node(index, pod_key)
    sides = [direction for direction in Direction if side_of(profile, direction)]
    return tuple(dict.fromkeys(text for side in sides for text, _ in exempt(index, profile.name, side, node)))


@once
def _notes(index: Index, profile: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*_overreaching(index, profile), *_unseen(index, profile)]))


def _unseen(index: Index, name: str) -> Iterator[str]:
    """A peer's ClusterIPs belong to it (semantics of ``to``), so it is told where they cannot be known."""
    profile, right = profiles_by_name(index)[name], index.world.view.lacking.get("services")
    if right and any(remotes(index, peer).pods for peer in peers_of(profile, Direction.EGRESS)):
        yield f"packets that its pods send to a Service's ClusterIP are not met: to know those needs {right}"


def _overreaching(index: Index, name: str) -> Iterator[str]:
    profile = profiles_by_name(index)[name]
    for direction in Direction:
        for peer in peers_of(profile, direction):
            yield from overreach(index, peer)
