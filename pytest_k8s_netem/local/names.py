"""What a pod's hosts file says: itself, and under each Service's names the addresses of its ready pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from pytest_k8s_netem.errors import ClusterError
from pytest_k8s_netem.local.podspec import hostname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.local.host import NodeHost
    from pytest_k8s_netem.local.lifecycle import PodLife

DOMAIN = "cluster.local"
_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def resolv_conf(namespace: str) -> str:
    """No server: a name that the hosts file lacks is refused at once, nothing leaves the machine."""
    return f"search {namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}\noptions ndots:5 timeout:1 attempts:1\n"


def families(service: Object) -> tuple[bool, bool]:
    """Whether a Service gives IPv4 and IPv6 addresses; IPv4 alone if it does not say."""
    spec = service.get("spec") or {}
    both = spec.get("ipFamilyPolicy") in ("PreferDualStack", "RequireDualStack")
    said = spec.get("ipFamilies") or (["IPv4", "IPv6"] if both else ["IPv4"])
    return "IPv4" in said or both, "IPv6" in said or both


def selects(service: Object, pod: Object) -> bool:
    """Whether a pod stands behind a Service."""
    wanted = service["spec"].get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    same = service["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def full_names(name: str, namespace: str, seen_from: str) -> list[str]:
    """All names of something, shortest first; the bare one only inside its namespace."""
    bare = [name] if namespace == seen_from else []
    return [*bare, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.{DOMAIN}"]


class NameTable:
    """Keeps the hosts files of all living pods current.

    :param lives: living pods by key. :param pods, services: the informers' objects, read only.
    """

    def __init__(
        self,
        host: NodeHost,
        lives: Mapping[str, PodLife],
        pods: Mapping[str, Object],
        services: Mapping[str, Object],
    ) -> None:
        self._host, self._lives, self._pods, self._services = host, lives, pods, services
        self._written: dict[str, tuple[str, str]] = {}
        self._lock = asyncio.Lock()
        self._asked = self._served = 0

    def text(self, pod: Object, addresses: tuple[str, ...]) -> str:
        """The hosts file of one pod now."""
        return self._text(pod, addresses, self._lines(pod["metadata"]["namespace"]))

    def forget(self, key: str) -> None:
        """A pod is gone."""
        self._written.pop(key, None)

    async def refresh(self) -> None:
        """Rewrite the files that say something old; callers that wait together are served by one pass."""
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._served >= mine:
                return
            covered = self._asked
            namespaces = {life.pod["metadata"]["namespace"] for life in self._lives.values()}
            lines = {namespace: self._lines(namespace) for namespace in namespaces}
            writes = [
                self._write(key, life, lines[life.pod["metadata"]["namespace"]]) for key, life in self._lives.items()
            ]
            await asyncio.gather(*writes)
            self._served = covered

    async def _write(self, key: str, life: PodLife, lines: str) -> None:
        uid = life.pod["metadata"]["uid"]
        if self._written.get(key) == (uid, lines):
            return
        with contextlib.suppress(ClusterError):  # the pod ends at this moment
            await self._host.set_hosts(key, self._text(life.pod, life.addresses, lines))
            self._written[key] = uid, lines

    def _text(self, pod: Object, addresses: tuple[str, ...], lines: str) -> str:
        own = hostname(pod)
        if subdomain := pod["spec"].get("subdomain"):
            own = f"{own}.{subdomain}.{pod['metadata']['namespace']}.svc.{DOMAIN} {own}"
        return _LOCAL + "".join(f"{address}\t{own}\n" for address in addresses) + lines

    def _lines(self, seen_from: str) -> str:
        return "".join(line for service in self._services.values() for line in self._of_service(service, seen_from))

    def _of_service(self, service: Object, seen_from: str) -> Iterator[str]:
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        names = full_names(name, namespace, seen_from)
        for pod, address in self._members(service):
            own = []
            if pod["spec"].get("subdomain") == name:
                own = full_names(f"{hostname(pod)}.{name}", namespace, seen_from)
            yield f"{address}\t{' '.join([*names, *own])}\n"

    def _members(self, service: Object) -> Iterator[tuple[Object, str]]:
        four, six = families(service)
        anyway = service["spec"].get("publishNotReadyAddresses", False)
        for key, life in self._lives.items():
            pod = self._pods.get(key)
            if pod is None or not selects(service, pod) or not (life.ready or (anyway and not life.finished)):
                continue
            for address in life.addresses:
                if six if ":" in address else four:
                    yield pod, address
