"""The cluster in the user's hands, and one namespace of it."""

from __future__ import annotations

from contextlib import contextmanager, suppress

from pytest_k8s_netem.api.protocol import DEPLOYMENTS, PODS, TRAFFICPROFILES, Kind
from pytest_k8s_netem.cluster import declared, manifests, readiness
from pytest_k8s_netem.cluster.pod import Pod
from pytest_k8s_netem.errors import ApiError, ClusterError, ConfigError, NetemError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.cluster.camera import Camera
    from pytest_k8s_netem.cluster.chaos import Block, Netem
    from pytest_k8s_netem.cluster.manifests import Source
    from pytest_k8s_netem.cluster.pod import Process
    from pytest_k8s_netem.cluster.provider import Completed, Provider
    from pytest_k8s_netem.run.portal import Portal


Named = tuple[Kind, str, str | None]
"""An object: kind, name, namespace."""


class Applied:
    """Objects that were applied together; as a context manager those that it made are deleted at its end.

    :ivar made: those of :attr:`objects` that were not there before.
    """

    def __init__(self, cluster: Cluster, objects: list[Named], made: list[Named]) -> None:
        self._cluster = cluster
        self.objects, self.made = tuple(objects), tuple(made)

    def delete(self) -> None:
        """Delete what was made, in reverse order, and wait until its pods are gone; what is gone already is skipped.

        What was there before stays, as it was changed.
        """
        self._cluster._delete(self.made[::-1])

    def __enter__(self) -> Applied:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._cluster._look_before(error)
        self.delete()


class Cluster:
    """What every provider's cluster can do; ``namespace=""`` is its home: ``default``, or what a kubeconfig names."""

    def __init__(
        self,
        provider: Provider,
        portal: Portal,
        timeout: float = 60,
        camera: Camera | None = None,
        impairs: Callable[[str], Netem] | None = None,
    ) -> None:
        self._provider, self._portal, self._timeout, self._camera = provider, portal, timeout, camera
        self._impairs, self._chaos = impairs, dict[str, "Netem"]()

    def __repr__(self) -> str:
        return f"<Cluster {self.provider}>"

    @property
    def provider(self) -> str:
        """What runs it: ``local`` ..."""
        return self._provider.name

    def apply(self, source: Source, *, namespace: str = "") -> Applied:
        """Create the objects of a manifest, or change those that exist.

        :param source: a path, YAML or JSON text, an object, or several.
        :raises ConfigError: naming every field that cannot be honoured, or meant; nothing has been made then.
        :raises ApiError: if one is refused; those that were made before it are deleted again.
        """
        objects = self._checked(source, namespace)
        done: list[Named] = []
        made: list[Named] = []
        try:
            for kind, obj, where in objects:
                name, new = self._portal.call(self._put(kind, obj, where))
                done.append((kind, name, where))
                made += done[-1:] if new else []
        except BaseException:
            with suppress(NetemError):  # the first error is told
                self._delete(made[::-1])
            raise
        return Applied(self, done, made)

    def _checked(self, source: Source, namespace: str) -> list[tuple[Kind, Object, str | None]]:
        """Each object as this provider takes it, with its kind and where it belongs.

        :raises ConfigError: with the mistakes of all of them.
        """
        found, errors = [], []
        for obj in manifests.load(source):
            try:
                kind = manifests.kind_of(obj)
                taken = self._provider.check(obj)
                if kind == TRAFFICPROFILES:
                    self._portal.call(declared.check(self._provider.api, taken))
            except ConfigError as error:
                errors.append(error)
                continue
            own = obj["metadata"].get("namespace") or self._at(namespace)
            found.append((kind, taken, own if kind.namespaced else None))
        if len(errors) > 1:
            raise ConfigError("\n".join(map(str, errors)))
        if errors:
            raise errors[0]
        return found

    async def _put(self, kind: Kind, obj: Object, namespace: str | None) -> tuple[str, bool]:
        """The object's name, and whether it is new."""
        api = self._provider.api
        try:
            return str((await api.create(kind, obj, namespace))["metadata"]["name"]), True
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        name = str(obj["metadata"]["name"])
        if kind == TRAFFICPROFILES:
            await api.patch(kind, name, obj, namespace)  # its lists are replaced as wholes
        else:
            await api.apply(kind, obj, namespace)
        return name, False

    def _at(self, namespace: str) -> str:
        return namespace or self._provider.home

    def _look_before(self, error: BaseException) -> None:
        """Objects are about to go because of an error."""
        if self._camera is not None:
            self._camera.before_now(error)

    def _delete(self, objects: Sequence[Named]) -> None:
        for kind, name, namespace in objects:
            self._portal.call(readiness.delete(self._provider.api, kind, name, namespace))
        self._portal.call(readiness.gone(self._provider.api, objects, self._timeout))

    def pod(self, name: str, *, namespace: str = "") -> Pod:
        """The pod of that name.

        :raises ClusterError: if there is none, naming those that are there.
        """
        namespace = self._at(namespace)
        pod = Pod(self._provider, self._portal, namespace, name)
        try:
            pod.object  # noqa: B018 - asks whether it exists
        except ApiError as error:
            if error.status != 404:
                raise
            there = ", ".join(other.name for other in self.pods(namespace=namespace)) or "none"
            raise ClusterError(f"no pod {name!r} in namespace {namespace!r}; there are: {there}") from None
        return pod

    def pods(self, selector: str = "", *, namespace: str = "") -> list[Pod]:
        """Pods that a label selector takes, by name; all of the namespace without one."""
        namespace = self._at(namespace)
        listing = self._portal.call(self._provider.api.list(PODS, namespace, selector))
        names = sorted(obj["metadata"]["name"] for obj in listing.items)
        return [Pod(self._provider, self._portal, namespace, name) for name in names]

    def wait_ready(self, selector: str = "", *, namespace: str = "", timeout: float | None = None) -> list[Pod]:
        """Wait until the selected pods are ready (finished ones have succeeded), and Deployments are complete.

        :raises ClusterError: after ``timeout`` seconds (default ``--netem-timeout``), or as soon as a pod can never be:
            naming each pod, its state and the end of its log.
        """
        limit = self._timeout if timeout is None else timeout
        namespace = self._at(namespace)
        self._portal.call(readiness.ready(self._provider, namespace, selector, limit))
        return self.pods(selector, namespace=namespace)

    def exec(self, pod: str, argv: Sequence[str], *, namespace: str = "", **options: Any) -> Completed:
        """:meth:`Pod.exec` of the pod of that name."""
        return self.pod(pod, namespace=namespace).exec(argv, **options)

    def spawn(self, pod: str, argv: Sequence[str], *, namespace: str = "", **options: Any) -> Process:
        """:meth:`Pod.spawn` of the pod of that name."""
        return self.pod(pod, namespace=namespace).spawn(argv, **options)

    def logs(self, pod: str, container: str = "", *, namespace: str = "") -> str:
        """:meth:`Pod.logs` of the pod of that name."""
        return self.pod(pod, namespace=namespace).logs(container)

    @contextmanager
    def forward(self, target: str, *, namespace: str = "") -> Iterator[str]:
        """An ``http://127.0.0.1:N`` that reaches ``pod/NAME:PORT`` (or the first ready pod of ``svc/``, ``deploy/``).

        It reaches the pod's loopback out of band, as Kubernetes' port-forward does: a test steers through it, and it
        is never impaired.
        """
        pod, port = self._target(target, self._at(namespace))
        with pod.forward(port) as url:
            yield url

    def _target(self, target: str, namespace: str) -> tuple[Pod, int]:
        kind, slash, rest = target.partition("/")
        name, colon, port = rest.rpartition(":")
        if not slash or not colon or not port.isdecimal() or kind not in {"pod", "svc", "deploy"}:
            raise ConfigError(f'forward({target!r}): write "pod/NAME:PORT", "svc/NAME:PORT" or "deploy/NAME:PORT"')
        if kind == "pod":
            return self.pod(name, namespace=namespace), int(port)
        chosen, number = self._portal.call(readiness.backend(self._provider.api, kind, name, namespace, int(port)))
        return self.pod(chosen, namespace=namespace), number

    def impair(self, *, name: str = "block", namespace: str = "", **arguments: Any) -> Block:
        """Impair for the length of a ``with`` or ``async with`` block outside any one test: for fixtures of any scope.

        The arguments are the marker's. What a test's report would say is raised at the block's end: that the impairment
        was lost, or met no packet. In a test, ``netem.impair`` is what you want.

        :raises ProofError: at its end.
        """
        where = self._at(namespace)
        if where not in self._chaos:
            if self._impairs is None:
                raise ClusterError("this cluster was opened without a session, which impairs")
            self._chaos[where] = self._impairs(where)
        return self._chaos[where].impair(name=name, **arguments)

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace with all in it, and wait until its pods are gone; they get no grace period."""
        self._portal.call(readiness.vacate(self._provider.api, name, self._timeout))

    def load_image(self, name: str) -> None:
        """Load an image from the local Docker (pulled if missing) to where pods run; does nothing on local.

        :raises ProviderError: if that fails.
        """
        self._portal.call(self._provider.load_image(name))

    def scale(self, deployment: str, replicas: int, *, namespace: str = "") -> None:
        """Set a Deployment's number of replicas."""
        patch = {"spec": {"replicas": replicas}}
        self._portal.call(self._provider.api.patch(DEPLOYMENTS, deployment, patch, self._at(namespace)))


class Namespace:
    """One namespace: the cluster's methods bound to it.

    :ivar shared: whether it was there before; then :meth:`end` leaves it.
    """

    def __init__(self, cluster: Cluster, name: str, *, shared: bool = False) -> None:
        self.cluster, self.name, self.shared = cluster, name, shared
        self._applied: list[Applied] = []

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    def end(self) -> None:
        """Delete it with all in it; of one that was there before, what was applied by this handle."""
        if not self.shared:
            self.cluster.delete_namespace(self.name)
        while self.shared and self._applied:
            self._applied.pop().delete()

    def apply(self, source: Source) -> Applied:
        """:meth:`Cluster.apply` here."""
        self._applied.append(self.cluster.apply(source, namespace=self.name))
        return self._applied[-1]

    def pod(self, name: str) -> Pod:
        """:meth:`Cluster.pod` here."""
        return self.cluster.pod(name, namespace=self.name)

    def pods(self, selector: str = "") -> list[Pod]:
        """:meth:`Cluster.pods` here."""
        return self.cluster.pods(selector, namespace=self.name)

    def wait_ready(self, selector: str = "", *, timeout: float | None = None) -> list[Pod]:
        """:meth:`Cluster.wait_ready` here."""
        return self.cluster.wait_ready(selector, namespace=self.name, timeout=timeout)

    def exec(self, pod: str, argv: Sequence[str], **options: Any) -> Completed:
        """:meth:`Cluster.exec` here."""
        return self.cluster.exec(pod, argv, namespace=self.name, **options)

    def spawn(self, pod: str, argv: Sequence[str], **options: Any) -> Process:
        """:meth:`Cluster.spawn` here."""
        return self.cluster.spawn(pod, argv, namespace=self.name, **options)

    def logs(self, pod: str, container: str = "") -> str:
        """:meth:`Cluster.logs` here."""
        return self.cluster.logs(pod, container, namespace=self.name)

    @contextmanager
    def forward(self, target: str) -> Iterator[str]:
        """:meth:`Cluster.forward` here."""
        with self.cluster.forward(target, namespace=self.name) as url:
            yield url

    def impair(self, *, name: str = "block", **arguments: Any) -> Block:
        """:meth:`Cluster.impair` here."""
        return self.cluster.impair(name=name, namespace=self.name, **arguments)

    def scale(self, deployment: str, replicas: int) -> None:
        """:meth:`Cluster.scale` here."""
        self.cluster.scale(deployment, replicas, namespace=self.name)
