"""Descriptors that a forked child must not hold, or the far end would not notice that this process has ended."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class HasDescriptor(Protocol):
    """Anything with a file descriptor; a negative one means closed."""

    def fileno(self) -> int:
        """The descriptor."""


_kept: weakref.WeakSet[HasDescriptor] = weakref.WeakSet()


def keep_from_children(thing: HasDescriptor) -> None:
    """In children that fork without exec, put /dev/null in this thing's place; its object stays usable to close."""
    if not _kept:
        _register()
    _kept.add(thing)


def _register() -> None:
    if not _registered:
        _registered.append(True)
        os.register_at_fork(after_in_child=_in_child)


_registered: list[bool] = []


def _in_child() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for thing in list(_kept):
        try:
            os.dup2(null, thing.fileno(), inheritable=False)
        except (OSError, ValueError):
            continue  # closed already
    os.close(null)
