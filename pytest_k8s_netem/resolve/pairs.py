"""Every pair that a profile comes between, and the packet with which to measure it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.model.match import TCP
from pytest_k8s_netem.model.plan import Check
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.checks import GRACE, kinds, met_class
from pytest_k8s_netem.resolve.expected import addresses, main_interface, path
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.layout import layout
from pytest_k8s_netem.resolve.regions import node_of
from pytest_k8s_netem.resolve.remotes import Remote, every_running, main_addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.model.plan import Stage
    from pytest_k8s_netem.resolve.world import World


@dataclass(frozen=True, slots=True)
class Pair:
    """An impaired pod and a pod that it talks to through the impairment; both as ``namespace/name``.

    A container has its machine as remote too, from which the test itself may talk to it: its name is "".

    :ivar check: one packet between them, without bounds; its timeout covers what all profiles add.
    """

    pod: str
    remote: str
    check: Check


def pairs(world: World | Index, profile: str) -> tuple[Pair, ...]:
    """All pairs of a profile that a probe can measure, by pod and remote."""
    index = Index.of(world)
    found: dict[tuple[str, str], Pair] = {}
    for pod in sorted(index.live):
        for stage in layout(index, pod).plan.stages:
            if stage.profile == profile:
                for pair in _pairs_of(index, pod, stage):
                    found.setdefault((pair.pod, pair.remote), pair)
    return tuple(found.values())


def _remotes(index: Index, pod: str, stage: Stage) -> Iterator[Remote]:
    yield from every_running(index, stage.profile, stage.direction, pod)
    if objects.attached(index.live[pod]):
        yield Remote("", node_of(index, pod)[1])


def _pairs_of(index: Index, pod: str, stage: Stage) -> Iterator[Pair]:
    whole = layout(index, pod)
    if whole.interfaces[stage.profile] != main_interface(index, pod):
        return
    mine = main_addresses(index, pod)
    packets = kinds([one for one in whole.plan.classes if stage.id in one.stages])
    for remote in _remotes(index, pod, stage):
        for kind in packets:
            for family, source, address in addresses(mine, remote.addresses)[:1]:
                out = kind.request(family, address)
                if met := met_class(index, pod, stage, out):
                    longest = path(index, pod, remote.pod, source, out).round_trip.high + GRACE
                    name, where = "tcp" if kind.protocol == TCP else "icmp", objects.textual(family, address)
                    yield Pair(
                        pod,
                        remote.pod,
                        Check(
                            remote.pod,
                            stage.profile,
                            met.id,
                            name,
                            where,
                            kind.port,
                            kind.local_port,
                            count=1,
                            timeout=longest,
                        ),
                    )
