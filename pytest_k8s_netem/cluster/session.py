"""All that one pytest process holds while it impairs networks: loop, run directory, provider, cluster."""

from __future__ import annotations

import asyncio
import hashlib
import platform
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from pytest_k8s_netem.api.protocol import NAMESPACES
from pytest_k8s_netem.cluster import readiness
from pytest_k8s_netem.cluster.answering import Answering
from pytest_k8s_netem.cluster.attaching import Attached
from pytest_k8s_netem.cluster.camera import Camera
from pytest_k8s_netem.cluster.cluster import Cluster, Namespace
from pytest_k8s_netem.cluster.measuring import Measuring
from pytest_k8s_netem.cluster.spec import SpecReader
from pytest_k8s_netem.cluster.wide import wide
from pytest_k8s_netem.errors import NetemError
from pytest_k8s_netem.local.refusal import not_linux
from pytest_k8s_netem.run.directory import RunDirectory
from pytest_k8s_netem.run.events import EventLog
from pytest_k8s_netem.run.identity import Identity
from pytest_k8s_netem.run.portal import Portal
from pytest_k8s_netem.run.reaper import Reaper
from pytest_k8s_netem.run.signals import Termination

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from pytest_k8s_netem.cluster.findings import Finding
    from pytest_k8s_netem.cluster.provider import Provider
    from pytest_k8s_netem.cluster.record import Record

PROVIDERS = {
    "local": "pytest_k8s_netem.cluster.local:LocalProvider",
    "apiserver": "pytest_k8s_netem.cluster.apiserver:ApiServerProvider",
    "kind": "pytest_k8s_netem.cluster.kind:KindProvider",
    "k3s": "pytest_k8s_netem.cluster.k3s:K3sProvider",
    "kubeconfig": "pytest_k8s_netem.cluster.kubeconfig:KubeconfigProvider",
}
"""Where each provider's class is; imported when it is chosen."""
NEEDS_LINUX = frozenset({"local"})
"""Providers that make namespaces on this machine, the first when a cluster is asked for; Windows has nothing of it."""

EVENTS = "events.jsonl"
"""In the run's directory: what happens, a line each, for whoever watches a run from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the options choose.

    :ivar timeout: seconds for pods to become ready. :ivar seed: of the run; None = drawn.
    :ivar cluster: name of one to use, or to make if there is none. :ivar keep: ``never``, ``on-failure``, ``always``.
    :ivar kind_image: of the nodes; "" = KIND_NODE_IMAGE or kind's own. :ivar kind_config: path of kind's configuration.
    :ivar agent_image: the agent's, in a registry; "" = built here. :ivar controller_image: likewise.
    :ivar kubeconfig: path of the file that names the cluster; "" = KUBECONFIG or ~/.kube/config. :ivar context: of that
        file, "" = its current one. :ivar namespace: to work in; "" = the context's.
    :ivar controller: ``cluster``, ``process``, or ``auto``: the one in the cluster, where there is one.
    :ivar allow_namespaces: whose pods may be impaired though this run did not make them; ``*`` = of all.
    :ivar k3s_image: of provider k3s. :ivar evidence: whether failing tests are looked at.
    :ivar xdist: the run's uid and the worker's name, in a worker of xdist.
    :ivar folder: where blocks outside any test look for profiles' files.
    """

    provider: str = "local"
    engine: str = "auto"
    nodes: int = 2
    timeout: float = 60.0
    seed: int | None = None
    allow_script: bool = False
    cluster: str = ""
    keep: str = "never"
    kind_image: str = ""
    kind_config: str = ""
    agent_image: str = ""
    controller_image: str = ""
    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    allow_namespaces: tuple[str, ...] = ()
    controller: str = "auto"
    k3s_image: str = ""
    evidence: bool = True
    xdist: tuple[str, str] = ("", "")
    folder: Path = Path()


class Session:
    """Made by :func:`open_session`; :meth:`close` takes everything down again."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.identity = Identity.of(uid=choices.xdist[0], worker=choices.xdist[1])
        self.directory = RunDirectory(self.identity)
        self.portal = Portal()
        self.events = EventLog()
        self.seed = self.identity.seed if choices.seed is None else choices.seed
        self.provider: Provider = _provider(choices.provider)(choices, self.directory.path, self.events)
        run = self.identity.name
        self.camera = Camera(self.provider, self.portal, self.events, run, enabled=choices.evidence)
        self._cluster = Cluster(self.provider, self.portal, choices.timeout, self.camera, partial(wide, self))
        self._opened: NetemError | bool = False
        self._opening: asyncio.Future[None] | None = None
        self._answering = Answering(self.provider, run, self.directory.path)
        self.measuring = Measuring(self.provider)
        self._reaper = Reaper(self.directory.path)
        self._termination = Termination()
        self._facts: dict[str, list[dict[str, Any]]] = {}

    def open(self) -> None:
        """Begin to serve the API.

        :raises ProviderError: if this machine cannot.
        """
        self._termination.hold()
        self.events.write_to(self.directory.path / EVENTS)
        self.portal.call(self.provider.start())
        self.portal.call(self._answering.start())

    @property
    def cluster(self) -> Cluster:
        """The cluster, up since somebody asked for it first.

        :raises ProviderError: if this machine cannot; tried once.
        """
        if not self._opened:
            try:
                self.portal.call(self._open())
                self._opened = True
            except NetemError as error:
                self._opened = error
        if isinstance(self._opened, NetemError):
            raise self._opened
        return self._cluster

    async def _open(self) -> None:
        """Once: it goes on when who waits is interrupted, and the next one waits for the same."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self.provider.open())
        await asyncio.shield(self._opening)

    def reader(self, nodeid: str, namespace: str, folders: Sequence[Path]) -> SpecReader:
        """What turns a test's specs into objects."""
        seed = int.from_bytes(hashlib.sha256(f"{self.seed}/{nodeid}".encode()).digest()[:4], "big")
        suffix = f"{self.identity.name}-{_short(nodeid)}"
        labels = self.identity.labels(nodeid)
        return SpecReader(namespace, suffix, seed, self.choices.engine, folders, labels, self.provider.lease)

    def make_namespace(self, nodeid: str) -> Namespace:
        """A fresh namespace with a valid name of its own; the provider's home where none can be made.

        :raises ProviderError: if this machine cannot have a cluster.
        """
        cluster = self.cluster
        if not self.provider.makes_namespaces:
            return Namespace(cluster, self.provider.home, shared=True)
        name = f"netem-{self.identity.name}-{_short(nodeid)}-{secrets.token_hex(2)}"
        obj = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": self.identity.labels(nodeid)},
        }
        self.portal.call(self._make_namespace(obj))
        self.camera.namespaces.append(name)
        return Namespace(cluster, name)

    async def _make_namespace(self, obj: dict[str, Any]) -> None:
        """Make it and wait until it takes pods; one that never does is deleted again."""
        name = str(obj["metadata"]["name"])
        await self.provider.api.create(NAMESPACES, obj)
        try:
            await self.provider.namespace_ready(name)
        except BaseException:
            with suppress(NetemError):  # the first error is told
                await readiness.delete(self.provider.api, NAMESPACES, name, None)
            raise

    def attach(self, container: object, as_: str, nodeid: str = "") -> Attached:
        """Make a container of Docker one that can be impaired.

        :param nodeid: of the test that it is for; "" = the whole run.
        :raises ConfigError: if it cannot be meant. :raises ProviderError: if Docker cannot be used.
        :raises ImpairmentError: if no agent can come into its network.
        """
        labels = self.identity.labels(nodeid)
        made = self.portal.call(self.provider.attachments.attach(container, as_, labels))
        return Attached(self.provider, self.portal, made)

    def end_namespace(self, namespace: Namespace) -> None:
        """End what :meth:`make_namespace` gave."""
        self.camera.namespaces = [name for name in self.camera.namespaces if name != namespace.name]
        namespace.end()

    def note(self, nodeid: str, record: Record, found: Iterable[Finding]) -> None:
        """Keep what is known of an ended impairment, for the report."""
        self._facts.setdefault(nodeid, []).append(record.fact(f"{finding.level}: {finding.kind}" for finding in found))

    def facts(self, nodeid: str) -> list[dict[str, Any]]:
        """What became of a test's impairments, JSON-simple."""
        return self._facts.pop(nodeid, [])

    def notices(self, failed: bool, artifacts: Callable[[], Path]) -> list[str]:
        """What to tell at the end of the run, a sentence each: what could not be promised, what remains on purpose.

        :param failed: whether a test failed; to be told before :meth:`close`. :param artifacts: where logs go then.
        """
        remains = self.provider.remains(failed)
        logs = self.portal.call(self.provider.save_logs(artifacts())) if failed else ""
        return [*self.provider.limits(), *filter(None, (remains, logs))]

    def close(self) -> None:
        """Take the cluster down and remove the run's files."""
        try:
            self.portal.call(self._answering.stop())
            self.portal.call(self.provider.stop())
        finally:
            self.portal.stop()
            self.events.close()
            self._reaper.stop()
            self.directory.remove()
            self._termination.release()


def open_session(choices: Choices, at_end: Callable[[Callable[[], None]], object] | None = None) -> Session:
    """A session whose API is served.

    :param at_end: takes what closes one that could not be opened, for the end of the run: until then other processes
        of the run are told that there can be none. None = it is closed at once.
    :raises ProviderError: if this machine cannot; nothing is left behind.
    """
    if choices.provider in NEEDS_LINUX and platform.system() == "Windows" and (error := not_linux()):
        raise error
    session = Session(choices)
    try:
        session.open()
    except BaseException:
        (at_end or _now)(session.close)
        raise
    return session


def _now(close: Callable[[], None]) -> None:
    close()


def _provider(name: str) -> Any:
    module, _, attribute = PROVIDERS[name].partition(":")
    return getattr(import_module(module), attribute)


def _short(nodeid: str) -> str:
    return hashlib.sha256(nodeid.encode()).hexdigest()[:6]
