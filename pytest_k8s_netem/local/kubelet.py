"""Runs the pods of an Api as processes in namespaces: binds them to nodes, gives them life, ends them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass

from pytest_k8s_netem.api.protocol import BINDINGS, NODES, PODS, SERVICES
from pytest_k8s_netem.api.refusals import tolerated
from pytest_k8s_netem.errors import ClusterError, ConfigError
from pytest_k8s_netem.local import podspec, podstatus
from pytest_k8s_netem.local.addresses import MOST_NODES, NodeAddresses
from pytest_k8s_netem.local.lifecycle import Gate, PodLife, Surroundings, open_gate
from pytest_k8s_netem.local.names import NameTable, resolv_conf
from pytest_k8s_netem.resolve.objects import CONTAINERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime
    from pytest_k8s_netem.local.host import NodeHost

_WORKERS = 64
"""Pods that may start or end at the same time; an end takes up to its grace."""
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Settings:
    """How pods run here.

    :ivar base: environment that every container starts from. :ivar logs: directory of their logs.
    :ivar gate: awaited between a pod's network and its first command. :ivar farewell: between its last command and the
        end of its network.
    """

    base: Mapping[str, str]
    logs: Path
    gate: Gate = open_gate
    farewell: Gate = open_gate


class Kubelet:
    """The kubelet of all local nodes, and their scheduler; a ConfigError if the nodes are too many.

    :ivar lives: living pods by ``namespace/name``.
    """

    def __init__(self, runtime: Runtime, host: NodeHost, nodes: Sequence[str], settings: Settings) -> None:
        if not 1 <= len(nodes) <= MOST_NODES:
            raise ConfigError(f"{len(nodes)} nodes: an embedded cluster has 1 to {MOST_NODES}")
        self.lives: dict[str, PodLife] = {}
        self.nodes = {name: NodeAddresses(index) for index, name in enumerate(nodes)}
        self._api, self._host, self._farewell = runtime.api, host, settings.farewell
        self._bound: dict[str, str] = {}  # where pods go whose objects do not show it yet
        self._pods = runtime.informer(PODS)
        services = runtime.informer(SERVICES)
        self.names = NameTable(host, self.lives, self._pods.objects, services.objects)
        self._around = Surroundings(runtime.api, host, settings.base, settings.logs, settings.gate, self.names.refresh)
        self._controller = runtime.controller("kubelet", self._reconcile, _WORKERS)
        self._namer = runtime.controller("names", self._rename)
        self._pods.subscribe(self._changed)
        services.subscribe(lambda *_: self._namer.queue.add("all"))

    async def register(self) -> None:
        """Make the nodes: their namespaces, wires and objects."""
        for name, node in self.nodes.items():
            await self._host.add_node(name, node.index, node.own, node.prefixed(node.gateways))
        names = list(self.nodes)
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                await self._host.add_wire(first, second)
        for name, node in self.nodes.items():
            with tolerated(409):  # registered by an earlier life
                await self._api.create(NODES, _node_object(name, node, ipv6=self._host.ipv6))

    async def stop(self) -> None:
        """Kill all pods without grace; their objects stay as they are."""
        await asyncio.gather(*(life.end(0) for life in list(self.lives.values())), return_exceptions=True)

    def life(self, pod: Object) -> PodLife:
        """The life of a pod.

        :raises ClusterError: if it has none now.
        """
        key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        life = self.lives.get(key)
        if life is None:
            raise ClusterError(f"pod/{pod['metadata']['name']} does not run")
        return life

    def _changed(self, key: str, old: Object | None, new: Object | None) -> None:
        self._controller.queue.add(key)
        if old and new and old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._namer.queue.add("all")

    async def _rename(self, _: str) -> None:
        await self.names.refresh()

    async def _reconcile(self, key: str) -> float | None:
        pod, life = self._pods.objects.get(key), self.lives.get(key)
        if life and (pod is None or pod["metadata"]["uid"] != life.pod["metadata"]["uid"]):
            await self._end(key, life, 0)
        if pod is None:
            return None
        if pod["metadata"].get("deletionTimestamp"):
            await self._delete(key, pod)
        elif not pod["spec"].get("nodeName"):
            await self._bind(pod)
        elif key not in self.lives and pod["status"].get("phase") not in _ENDED:
            await self._begin(key, pod)
        return None

    async def _bind(self, pod: Object) -> None:
        """The scheduler: the node with the fewest pods."""
        present = {other["metadata"]["uid"]: other["spec"].get("nodeName") for other in self._pods.objects.values()}
        self._bound = {uid: name for uid, name in self._bound.items() if uid in present}
        load = Counter(name or self._bound.get(uid) for uid, name in present.items())
        name = min(self.nodes, key=lambda node: load[node])
        meta = pod["metadata"]
        self._bound[meta["uid"]] = name
        target = {"apiVersion": "v1", "kind": "Node", "name": name}
        binding = {"metadata": {"name": meta["name"], "uid": meta["uid"]}, "target": target}
        await self._api.create(BINDINGS, binding, meta["namespace"])

    async def _begin(self, key: str, pod: Object) -> None:
        node = self.nodes.get(pod["spec"]["nodeName"])
        if node is None:
            if pod["metadata"]["namespace"] != CONTAINERS:  # an attached container runs where it runs
                await self._refuse(pod)
            return
        pod = {**pod, "status": dict(pod.get("status") or {})}
        pair = node.take()
        life = PodLife(self._around, pod, pair, node.own)
        namespace = pod["metadata"]["namespace"]
        try:
            await self._host.add_pod(
                key,
                pod["spec"]["nodeName"],
                node.prefixed(pair),
                node.gateways,
                hostname=podspec.hostname(pod),
                hosts=self.names.text(pod, life.addresses),
                resolv=resolv_conf(namespace),
            )
        except ClusterError:
            node.give_back(pair)
            raise
        self.lives[key] = life
        await life.begin()

    async def _refuse(self, pod: Object) -> None:
        """Say of a pod that names its node itself that there is none of that name."""
        there, meta = ", ".join(self.nodes), pod["metadata"]
        message = f"there is no node {pod['spec']['nodeName']}; there are: {there}"
        told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        if told not in (pod.get("status") or {}).get("conditions", ()):
            with tolerated(404):
                status = {"phase": "Pending", "conditions": [told]}
                await self._api.patch(PODS, meta["name"], {"status": status}, meta["namespace"], subresource="status")

    async def _delete(self, key: str, pod: Object) -> None:
        if life := self.lives.get(key):
            await self._end(key, life, podspec.grace(pod))
        meta = pod["metadata"]
        with tolerated(404):
            await self._api.delete(PODS, meta["name"], meta["namespace"], grace=0)

    async def _end(self, key: str, life: PodLife, grace: float) -> None:
        life.leave()
        await asyncio.gather(self.names.refresh(), life.end(grace))
        await self._farewell(life.pod)
        self.lives.pop(key, None)
        self.names.forget(key)
        with contextlib.suppress(ClusterError):
            await self._host.remove_pod(key)
        node = self.nodes[life.pod["spec"]["nodeName"]]
        node.give_back(life.pair)


def _node_object(name: str, node: NodeAddresses, *, ipv6: bool) -> Object:
    count = 2 if ipv6 else 1
    cidrs = [str(network) for network in node.networks[:count]]
    addresses = [{"type": "InternalIP", "address": address} for address in node.own[:count]]
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": podstatus.now()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
        "status": {"addresses": [*addresses, {"type": "Hostname", "address": name}], "conditions": [ready]},
    }
