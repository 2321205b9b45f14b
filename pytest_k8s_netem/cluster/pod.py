"""A pod in the user's hands."""

from __future__ import annotations

import signal as signals
import socket as sockets
from contextlib import contextmanager, nullcontext, suppress

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.cluster.provider import Completed
from pytest_k8s_netem.errors import ClusterError, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.cluster.provider import Provider, RunningCommand
    from pytest_k8s_netem.run.portal import Portal


KILLED_WITHIN = 5.0
"""Seconds at least that a command gets to end of SIGKILL, whatever it got to end by itself."""


class CommandFailed(ClusterError):
    """A command in a pod ended badly; :attr:`completed` has all of it."""

    def __init__(self, pod: str, completed: Completed) -> None:
        self.completed = completed
        tail = (completed.stderr or completed.stdout).strip()[-2000:]
        super().__init__(f"{' '.join(completed.argv)} in {pod} ended with {completed.returncode}\n{tail}".rstrip())


class Process:
    """A command that runs in a pod in the background; ended when the pod is, or by :meth:`stop`."""

    def __init__(self, portal: Portal, pod: str, running: RunningCommand) -> None:
        self._portal, self._pod, self._running = portal, pod, running

    @property
    def logs(self) -> str:
        """What it has written so far, stdout before stderr."""
        return "".join(self._running.output())

    def wait(self, timeout: float = 60) -> Completed:
        """Wait until it ends by itself.

        :raises ClusterError: if it has not after ``timeout`` seconds; it goes on.
        """
        try:
            return self._portal.call(self._running.wait(), timeout)
        except TimeoutError:
            raise ClusterError(f"a command in {self._pod} did not end within {timeout:g} s") from None

    def stop(self, timeout: float = 5) -> Completed:
        """SIGTERM, and SIGKILL if that does not end it within ``timeout`` seconds.

        :raises ClusterError: where it takes no signals, as in an image without a shell on a real cluster; or if
            SIGKILL does not end it in that time either.
        """
        self._portal.call(self._running.kill(signals.SIGTERM))
        try:
            return self._portal.call(self._running.wait(), timeout)
        except TimeoutError:
            self._portal.call(self._running.kill(signals.SIGKILL))
        try:
            return self._portal.call(self._running.wait(), max(timeout, KILLED_WITHIN))
        except TimeoutError:
            raise ClusterError(f"a command in {self._pod} goes on after SIGKILL") from None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(ClusterError) if kind is not None else nullcontext():  # the first error is told
            self.stop()


class Pod:
    """One pod; each attribute is looked up anew."""

    def __init__(self, provider: Provider, portal: Portal, namespace: str, name: str) -> None:
        self._provider, self._portal = provider, portal
        self.namespace, self.name = namespace, name

    def __repr__(self) -> str:
        return f"<Pod {self.namespace}/{self.name}>"

    @property
    def object(self) -> Object:
        """The Pod as the API has it now.

        :raises ApiError: 404 when it is gone.
        """
        return self._portal.call(self._provider.api.get(PODS, self.name, self.namespace))

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.object["metadata"].get("labels") or {})

    @property
    def node(self) -> str:
        """The node it runs on; "" while it has none."""
        return str(self.object["spec"].get("nodeName", ""))

    @property
    def ip(self) -> str:
        """Its first address; "" while it has none."""
        return str((self.object.get("status") or {}).get("podIP", ""))

    @property
    def ips(self) -> tuple[str, ...]:
        """Its addresses, IPv4 and IPv6."""
        return tuple(entry["ip"] for entry in (self.object.get("status") or {}).get("podIPs") or ())

    @property
    def phase(self) -> str:
        """``Pending``, ``Running``, ``Succeeded`` or ``Failed``."""
        return str((self.object.get("status") or {}).get("phase", "Pending"))

    @property
    def ready(self) -> bool:
        """Whether its condition Ready is True."""
        return is_ready(self.object)

    def exec(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes = b"",
        container: str = "",
        check: bool = True,
    ) -> Completed:
        """Run a command in the pod and wait for its end.

        :param timeout: seconds; then it is killed.
        :raises CommandFailed: if it ended with another status than 0 and ``check`` is true.
        :raises ClusterError: if it had to be killed.
        """
        data = stdin.encode() if isinstance(stdin, str) else stdin
        process = self._spawn(argv, env, data, container)
        try:
            completed = process.wait(timeout)
        except BaseException:
            with suppress(Exception):  # the first error is told
                process.stop(timeout=0.1)
            raise
        if check and completed.returncode:
            raise CommandFailed(f"pod {self.namespace}/{self.name}", completed)
        return completed

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes = b"",
        container: str = "",
    ) -> Process:
        """Start a command in the pod that keeps running in the background."""
        return self._spawn(argv, env, stdin.encode() if isinstance(stdin, str) else stdin, container)

    def _spawn(self, argv: Sequence[str], env: Mapping[str, str] | None, stdin: bytes, container: str) -> Process:
        if isinstance(argv, str):
            raise ConfigError(f"argv is a list of words, not one string: {argv.split()!r}")
        words = list(argv)
        if not words or not all(isinstance(word, str) for word in words):
            raise ConfigError(f"argv is a list of words, the program first, not {words!r}")
        started = self._provider.spawn(self.object, words, container=container, env=env, stdin=stdin)
        return Process(self._portal, f"{self.namespace}/{self.name}", self._portal.call(started))

    def logs(self, container: str = "") -> str:
        """All that a container (default: the first) has written."""
        return self._portal.call(self._provider.logs(self.object, container))

    def socket(self, family: int = sockets.AF_INET, type: int = sockets.SOCK_STREAM, proto: int = 0) -> sockets.socket:
        """A socket of the test process that lives in the pod's network (embedded cluster only)."""
        return self._portal.call(self._provider.socket(self.object, family, type, proto))

    def connect(self, address: tuple[str, int], *, timeout: float = 10) -> sockets.socket:
        """A TCP connection from the pod; ``timeout``, in seconds, stays set on the socket.

        :param address: (IP address, port); names are looked up by what runs *in* a pod, not here.
        """
        made = self.socket(_family(address[0]))
        made.settimeout(timeout)
        try:
            made.connect(address)
        except BaseException:
            made.close()
            raise
        return made

    def listen(self, port: int = 0, *, backlog: int = 16) -> sockets.socket:
        """A listening TCP socket on all IPv4 addresses of the pod; port 0 = a free one."""
        made = self.socket()
        made.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        try:
            made.bind(("", port))
            made.listen(backlog)
        except BaseException:
            made.close()
            raise
        return made

    @contextmanager
    def forward(self, port: int) -> Iterator[str]:
        """An ``http://127.0.0.1:N`` that reaches a port on the pod's loopback, out of band: never impaired."""
        address = self._portal.call(self._provider.forward(self.object, port))
        try:
            yield f"http://{address[0]}:{address[1]}"
        finally:
            self._portal.call(self._provider.unforward(address))

    def delete(self, *, grace: int | None = None) -> None:
        """Delete it; what owns it replaces it. ``grace``: seconds between SIGTERM and SIGKILL; 0 = at once."""
        self._portal.call(self._provider.api.delete(PODS, self.name, self.namespace, grace=grace))


def _family(host: str) -> int:
    return sockets.AF_INET6 if ":" in host else sockets.AF_INET
