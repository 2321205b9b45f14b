"""Copies bytes between stdio and the keeper's socket, nothing else: an exec session's way to a process that stays."""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time

CHUNK = 1 << 16
PATIENCE = 5.0
"""s to wait for a keeper that is just starting."""


def relay(path: str) -> int:
    """Copy until the keeper ends the stream; return the exit status.

    The keeper never stops reading, so a blocking write to it cannot lock up.
    """
    try:
        keeper = _connect(path)
    except OSError as error:
        sys.stderr.write(f"relay: no keeper at {path}: {error}\n")
        return 1
    with keeper, selectors.DefaultSelector() as selector:
        selector.register(keeper, selectors.EVENT_READ, "keeper")
        selector.register(0, selectors.EVENT_READ, "stdin")
        try:
            while True:
                for key, _events in selector.select():
                    if key.data == "keeper":
                        if not _copy_out(keeper):
                            return 0
                    elif not _copy_in(keeper):
                        selector.unregister(0)
        except (BrokenPipeError, ConnectionResetError):
            return 0


def _connect(path: str) -> socket.socket:
    deadline = time.monotonic() + PATIENCE
    while True:
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            keeper.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            keeper.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        except OSError:
            keeper.close()
            raise
        else:
            return keeper


def _copy_in(keeper: socket.socket) -> bool:
    data = os.read(0, CHUNK)
    if data:
        keeper.sendall(data)
    else:
        keeper.shutdown(socket.SHUT_WR)
    return bool(data)


def _copy_out(keeper: socket.socket) -> bool:
    data = keeper.recv(CHUNK)
    left = data
    while left:
        left = left[os.write(1, left) :]
    return bool(data)
