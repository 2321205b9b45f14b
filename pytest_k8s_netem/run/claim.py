"""Something that one process of this machine has for itself; the kernel ends the claim with the process."""

from __future__ import annotations

import errno
import socket
import sys

from pytest_k8s_netem.run.forks import keep_from_children


class Claim:
    """An abstract unix socket (unix(7)) of that name: nothing of it is on any disk, whoever's processes ask.

    On systems without such sockets it claims nothing.
    """

    def __init__(self, name: str) -> None:
        self._name = f"\0pytest-k8s-netem/{name}"
        self._socket: socket.socket | None = None

    def take(self) -> bool:
        """Have it; False = another process has it, or another object of this one."""
        if sys.platform != "linux":
            return True
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(self._name)
        except OSError as error:
            held.close()
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        keep_from_children(held)
        self._socket = held
        return True

    def release(self) -> None:
        """Let go of it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
