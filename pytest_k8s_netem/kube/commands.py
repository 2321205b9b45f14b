"""Commands that users run in pods: their outputs, their end, signals to them."""

from __future__ import annotations

import asyncio
import signal as signals
from contextlib import suppress

from pytest_k8s_netem.errors import ApiError, ClusterError
from pytest_k8s_netem.kube.exec import STDOUT, Exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.kube.sockets import Sockets

TELL_PID = ("sh", "-c", 'echo $$ >&2; exec "$@"', "sh")
"""Kubernetes has no signals for what exec started, so a shell says its pid before it becomes the command."""
SIGNAL = 'kill -s "$0" -- "-$1" 2>/dev/null || kill -s "$0" "$1"'
"""To the group, which runtimes make with a session of its own for each exec; to the process where they do not."""
NO_SHELL = ("executable file", "no such file or directory")
"""In what container runtimes say (runc, crun), in lower case, when there is no such program."""


class RemoteCommand:
    """A command in a pod; implements :class:`pytest_k8s_netem.cluster.provider.RunningCommand` but for its result.

    In an image without a shell it runs as well, but takes no environment and no signals.
    """

    def __init__(self, sockets: Sockets, pod: Object, container: str) -> None:
        self._sockets, self._pod, self._container = sockets, pod, container
        self._out, self._err = bytearray(), bytearray()
        self._program = ""
        self._pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[int] | None = None

    async def start(self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes) -> None:
        """Start it.

        :raises ApiError: if the API server refuses, or cannot be reached.
        """
        self._program = argv[0]
        words = ["env", *(f"{name}={value}" for name, value in env.items()), *argv] if env else [*argv]
        running = await self._begin([*TELL_PID, *words], stdin)
        plain = None if env else words
        self._task = asyncio.get_running_loop().create_task(self._run(running, plain, stdin), name=f"exec {argv[0]}")

    async def wait(self) -> int:
        """Its exit status, negative for the signal that ended it.

        :raises ClusterError: if it could not run, or the stream broke off.
        """
        if self._task is None:
            raise ClusterError("the command was not started")
        return await asyncio.shield(self._task)

    async def kill(self, signal: int) -> None:
        """Send a signal to it and to what it started; nothing happens if it has ended.

        :raises ClusterError: where that cannot be done.
        """
        if self._task is None or self._task.done():
            return
        await asyncio.wait([self._pid, self._task], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            return
        argv = ["sh", "-c", SIGNAL, str(signal), str(self._pid.result())]
        with suppress(ConnectionError):
            async for _ in (await Exec.start(self._sockets, self._pod, argv, container=self._container)).output():
                pass

    def output(self) -> tuple[str, str]:
        """Standard output and error so far."""
        return self._out.decode(errors="replace"), self._err.decode(errors="replace")

    async def _begin(self, argv: Sequence[str], stdin: bytes) -> Exec:
        running = await Exec.start(self._sockets, self._pod, argv, container=self._container, stdin=bool(stdin))
        if stdin and not running.ends_input:
            running.close()
            raise ClusterError("this API server cannot end a command's standard input: Kubernetes 1.30 can")
        return running

    async def _run(self, running: Exec, plain: Sequence[str] | None, stdin: bytes) -> int:
        try:
            await self._follow(running, stdin, bytearray())
            if plain and not self._pid.done() and any(text in running.failure.lower() for text in NO_SHELL):
                self._err.clear()
                self._takes_no_signals()
                running = await self._begin(plain, stdin)
                await self._follow(running, stdin, None)
        except (ConnectionError, ApiError) as error:
            raise ClusterError(f"lost the command in pod/{self._pod['metadata']['name']}: {error}") from None
        finally:
            running.close()
        if running.status is None:
            where = f"pod/{self._pod['metadata']['name']}"
            raise ClusterError(f"cannot run {self._program} in {where}: {running.failure}")
        return _status(running.status)

    async def _follow(self, running: Exec, stdin: bytes, head: bytearray | None) -> None:
        """Take its output; ``head`` gathers the line with its pid, None = there is none."""
        feeding = asyncio.create_task(_feed(running, stdin)) if stdin else None
        try:
            async for channel, data in running.output():
                if channel == STDOUT:
                    self._out += data
                elif head is None:
                    self._err += data
                else:
                    head = self._without_pid(head + data)
        finally:
            self._err += head or b""
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

    def _without_pid(self, head: bytearray) -> bytearray | None:
        """Take the pid out of what came first on standard error; what its line may still be in, None = it is found.

        A shell may have said something before: bash warns of a locale that is not there.
        """
        while b"\n" in head:
            line, _, head = head.partition(b"\n")
            if line.isdigit():
                self._pid.set_result(int(line))
                self._err += head
                return None
            self._err += line + b"\n"
        return head

    def _takes_no_signals(self) -> None:
        containers = self._pod["spec"]["containers"]
        image = next((one.get("image") for one in containers if one["name"] == self._container), "")
        why = (
            f"a command in pod/{self._pod['metadata']['name']} takes no signals: the image {image} of its container "
            f"{self._container} has no sh, and Kubernetes itself ends no command that pods/exec has started. It goes "
            "on until it ends by itself, or the pod does; take an image with a shell, or a command that ends with its "
            "standard input"
        )
        self._pid.set_exception(ClusterError(why))
        self._pid.exception()  # nobody need ask


async def _feed(running: Exec, stdin: bytes) -> None:
    with suppress(ConnectionError):  # a command need not read all of it
        await running.send(stdin)
        await running.end_input()


def _status(code: int) -> int:
    """Shells and runtimes say 128 + n for a command that signal n ended."""
    ended = code - 128
    return -ended if ended in {*signals.Signals} else code
