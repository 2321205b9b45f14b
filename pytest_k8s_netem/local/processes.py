"""Processes of the embedded cluster: started in a pod's namespaces, reaped by pid 1, ended one by one or by the box."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import socket
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from pytest_k8s_netem.local import sandbox, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn

STARTED_WITHIN = 5.0
"""Seconds for a command to start as another user, a matter of milliseconds; all else waits."""


class StartError(OSError):
    """A command could not be started: errno, reason, and the step or file as file name."""


@dataclass(frozen=True, slots=True)
class Start:
    """A command to start: ``name`` is how its exit will be told, ``net`` the pod's network namespace.

    ``box`` is (pod, container).
    """

    name: int
    net: int
    box: tuple[str, str]
    files: sandbox.Files
    command: sandbox.Command
    stdio: tuple[int, ...]


class Processes:
    """The living children of the node host.

    :param nested: inside a user namespace of our own.
    """

    def __init__(self, *, nested: bool) -> None:
        self._nested = nested
        self._home = sandbox.Home()
        self._names: dict[int, int] = {}
        self._pids: dict[int, int] = {}
        self._boxes: dict[tuple[str, str], sandbox.Box] = {}

    def start(self, wanted: Start) -> None:
        """Run a command in a box, which is made if it is new.

        :raises StartError: with the step that failed, for instance the file that could not be executed.
        """
        command = wanted.command
        known = box = self._boxes.get(wanted.box)
        try:
            syscalls.setns(wanted.net, syscalls.CLONE_NEWNET)
            if known:
                sandbox.join(known)
            else:
                box = sandbox.make(wanted.files)
            os.chdir(command.cwd)
            same_user = command.uid is None and command.gid is None
            pid = sandbox.spawn(command, wanted.stdio) if same_user else self._fork(wanted)
        except BaseException as error:
            if box and not known:
                box.close()
            if isinstance(error, OSError):
                raise StartError(error.errno or 0, error.strerror or str(error), error.filename) from error
            raise
        finally:
            self._home.enter()
        if box:
            self._boxes[wanted.box] = box
        self._add(wanted.name, pid)

    def program(self, name: int, argv: Sequence[str], log: int) -> None:
        """Start a program of ours beside the pods; it inherits what is marked to be, and writes to a log."""
        command = sandbox.Command(argv, os.environ, ".")
        self._add(name, sandbox.spawn(command, (0, log, log)))

    def run(self, name: int, keep: Sequence[int], body: Callable[[], int]) -> None:
        """Run a function in a forked child that keeps only some descriptors; its result is the exit status."""
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                close_all_but(keep)
                os.setsid()
                _plain_signals()
                status = body()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        self._add(name, pid)

    def kill(self, name: int, number: int, *, group: bool) -> None:
        """Send a signal to a process, or to its whole group; one that has ended is left alone."""
        pid = self._pids.get(name)
        if pid is None:
            return
        try:
            (os.killpg if group else os.kill)(pid, number)
        except ProcessLookupError:  # just forked: it leads no group yet, and nobody else is in it
            os.kill(pid, number)

    def end_box(self, key: tuple[str, str]) -> None:
        """Kill all that still runs in a container and forget its namespaces."""
        box = self._boxes.pop(key, None)
        if box is None:
            return
        for pid in _inside(box):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        box.close()

    def boxes(self, pod: str) -> list[tuple[str, str]]:
        """Keys of a pod's boxes."""
        return [key for key in self._boxes if key[0] == pod]

    def reap(self) -> Iterator[tuple[int, int]]:
        """Names and exit statuses (minus the signal that killed) of ended children; orphans are reaped silently."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if name := self._names.pop(pid, 0):
                del self._pids[name]
                yield name, os.waitstatus_to_exitcode(status)

    def _add(self, name: int, pid: int) -> None:
        self._names[pid], self._pids[name] = name, pid

    def _fork(self, wanted: Start) -> int:
        """Start a command as another user, which takes a process of ours; its process id."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            pid = os.fork()
            if pid == 0:
                self._to_command(theirs, wanted)
            theirs.close()
            try:
                _await_start(ours)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise _stuck(wanted) from None
        return pid

    def _to_command(self, report: socket.socket, wanted: Start) -> NoReturn:
        """The child's way from fork to exec; what goes wrong is told."""
        try:
            signal.set_wakeup_fd(-1)
            sandbox.become(wanted.command.uid, wanted.command.gid, self._nested)
            sandbox.execute(wanted.command, wanted.stdio)
        except OSError as error:
            name = os.fsdecode(error.filename or "")
            problem = {"errno": error.errno or 0, "why": error.strerror or str(error), "name": name}
            report.sendall(json.dumps(problem).encode() + b"\n")
        except BaseException as error:
            report.sendall(json.dumps({"errno": 0, "why": repr(error), "name": ""}).encode() + b"\n")
        finally:
            os._exit(127)


def _inside(box: sandbox.Box) -> Iterator[int]:
    """Processes in a box, by their pids here: /proc may be the outer one, which shows others."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{entry}/ns/mnt").st_ino == box.inode:
                status = Path(f"/proc/{entry}/status").read_text(encoding="ascii", errors="replace")
                yield int(re.findall(r"^NSpid:.*\s(\d+)$", status, re.MULTILINE)[0])
        except (OSError, IndexError):
            continue  # ended meanwhile, or somebody else's


def close_all_but(keep: Sequence[int]) -> None:
    """Close every descriptor above 2 except some."""
    start = 3
    for fd in [*sorted(fd for fd in keep if fd > 2), 1 << 20]:
        os.closerange(start, fd)
        start = fd + 1


def _plain_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _await_start(ours: socket.socket) -> None:
    """Wait, some milliseconds, until the child has become its command.

    :raises StartError: if it could not. :raises TimeoutError: if that does not end.
    """
    data, end = b"", time.monotonic() + STARTED_WITHIN
    while True:
        ours.settimeout(max(0.001, end - time.monotonic()))
        if not (chunk := ours.recv(4096)):
            break
        data += chunk
    if data:
        problem: dict[str, Any] = json.loads(data)
        raise StartError(problem["errno"], problem["why"], problem["name"])


def _stuck(wanted: Start) -> StartError:
    """What is known of a child that neither became its command nor said why."""
    (pod, container), command = wanted.box, wanted.command
    user = f"user {command.uid}" if command.uid is not None else f"group {command.gid}"
    why = f"container {container} of pod/{pod.partition('/')[2]} did not start as {user} within {STARTED_WITHIN:g} s"
    return StartError(errno.ETIMEDOUT, why)
