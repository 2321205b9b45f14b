"""The keeper as a process: where its targets and sessions come from, and when it ends."""

from __future__ import annotations

import os
import sys

from pytest_k8s_netem.agent.early import signal, socket
from pytest_k8s_netem.agent.keeper import Keeper
from pytest_k8s_netem.agent.loop import Loop
from pytest_k8s_netem.agent.spares import Spares
from pytest_k8s_netem.agent.stream import Stream
from pytest_k8s_netem.model.greeting import INTERFACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_k8s_netem.agent.session import Session
    from pytest_k8s_netem.agent.trial import Trial
    from pytest_k8s_netem.model.capabilities import Capabilities

REAPING = 100_000_000
"""ns between two looks whether the child that tried the kernel is gone."""
PATIENCE = 500_000_000
"""ns that queued packets get when the agent ends."""


def keep_locally(admin_fd: int, trial: Trial) -> int:
    """Serve what the node host brings over an admin socket, until that ends; return the exit status."""
    from pytest_k8s_netem.agent.admin import Admin

    service = Service(trial, lingers=False)
    sock = socket.socket(fileno=admin_fd)
    os.set_inheritable(admin_fd, False)
    Admin(service.loop, sock, service, lambda: service.leave(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the test process decides
    return service.run()


def keep_here(path: str, target: str, trial: Trial, idle: int = 0) -> int:
    """Serve the own network namespace over a unix socket, until SIGTERM; return the exit status.

    :param idle: s without a session and without a plan in force after which it ends by itself; 0 = never.
    """
    from pytest_k8s_netem.agent.namespace import current

    try:
        listener = _listen(path)
    except OSError as error:
        sys.stderr.write(f"keep: {path}: {error}\n")
        return 1
    service = Service(trial, lingers=True)
    try:
        service.add(target, current())
        service.loop.watch(listener.fileno(), lambda _events: service.accept(listener))
        if idle:
            service.end_when_idle(idle)
        return service.run()
    finally:
        os.unlink(path)


def _listen(path: str) -> socket.socket:
    """A listening socket in place of one that nobody serves any more.

    :raises OSError: EADDRINUSE if a keeper lives there.
    """
    import socket

    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with probe:
        if os.path.exists(path):
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(64)
    return listener


def _judged(trial: Trial) -> Capabilities:
    from pytest_k8s_netem.agent.capabilities import judged

    return judged(trial.answer())


class Service:
    """A keeper on a loop, with signals.

    :param trial: asked at the first hello.
    """

    def __init__(self, trial: Trial, lingers: bool) -> None:
        self.loop = Loop()
        self.keeper = Keeper(self.loop, lambda: _judged(trial), lingers)
        self._trial = trial
        self._spares = Spares(self.loop)
        self.loop.after(REAPING, self._reap)
        self._leaving = False
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)  # the loop reads it from the wakeup descriptor
        self.loop.watch(self._woken, self._signalled)

    def run(self) -> int:
        """Serve until the end; return the exit status."""
        self.loop.run()
        self._spares.close()
        self.loop.close()
        return 0

    def leave(self, patience: int) -> None:
        """Put every namespace back as it was, then end; queues get ``patience`` ns to drain."""
        if not self._leaving:
            self._leaving = True
            self.keeper.leave(self.loop.stop, patience)

    def end_when_idle(self, seconds: int) -> None:
        """End once nobody has asked for anything, and nothing was in force, for so many seconds (within a quarter)."""
        since = self.loop.now()

        def look() -> None:
            nonlocal since
            now = self.loop.now()
            since = now if self.keeper.busy else since
            if now - since >= seconds * 1_000_000_000:
                self.leave(PATIENCE)
            else:
                self.loop.after(seconds * 250_000_000, look)

        look()

    def accept(self, listener: socket.socket) -> None:
        """Take one connection."""
        try:
            sock, _address = listener.accept()
        except OSError:
            return
        self._open(sock)

    def serve(self, fd: int) -> None:
        """Speak frames on a connected socket.

        :raises OSError: if it is no socket.
        """
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise
        self._open(sock)

    def add(self, name: str, fd: int) -> list[Any]:
        """Serve a namespace; return its interfaces as JSON.

        :raises OSError: if it cannot be entered or cleared. :raises Refused: if there is a target of that name.
        """
        from pytest_k8s_netem.agent.netns import Netns

        ground = Netns(fd, lambda: self.keeper.capabilities.classifiers, self._spares)
        try:
            target = self.keeper.add(name, ground)
        except BaseException:
            ground.leave()
            raise
        return [INTERFACE.encode(interface) for interface in target.ground.interfaces()]

    def forget(self, name: str, done: Callable[[], None]) -> None:
        """Serve a target no more.

        :raises Refused: if there is none of that name.
        """
        self.keeper.forget(name, done)

    def _reap(self) -> None:
        if not self._trial.over():
            self.loop.after(REAPING, self._reap)

    def _open(self, sock: socket.socket) -> None:
        opened: list[Session] = []
        stream = Stream(
            self.loop,
            sock,
            lambda frame: self.keeper.receive(opened[0], frame),
            lambda: self.keeper.end(opened[0]),
        )
        opened.append(self.keeper.open(stream))

    def _signalled(self, _events: int) -> None:
        if {signal.SIGTERM, signal.SIGHUP, signal.SIGINT} & set(os.read(self._woken, 64)):
            self.leave(PATIENCE)
