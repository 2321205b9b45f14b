"""A thing that several processes of this user share: made by the first of them, taken down by the last."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager

from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import IO


class Share:
    """Users hold a shared flock(2) on one file, which the kernel ends with them however they die.

    :param directory: exists, and is this user's own.
    :ivar note: a file for what its users have to tell each other, in :meth:`alone`; gone when nobody uses it.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._lock, self._users = directory / f"{name}.lock", directory / f"{name}.users"
        self.note = directory / f"{name}.note"
        self._held: IO[bytes] | None = None

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be the only one who makes it, takes it down, joins or leaves."""
        with await asyncio.to_thread(self._locked):
            yield
            if self._held is None and not self.used():
                for path in (self.note, self._users, self._lock):
                    path.unlink(missing_ok=True)

    def busy(self) -> bool:
        """Whether somebody is alone with it at this moment."""
        return _held(self._lock)

    def join(self) -> None:
        """Use it from now on; in :meth:`alone`. What earlier users noted who were killed is nothing to new ones."""
        if not self.used():
            self.note.unlink(missing_ok=True)
        self._held = self._users.open("ab")
        fcntl.flock(self._held, fcntl.LOCK_SH)
        keep_from_children(self._held)

    def leave(self) -> bool:
        """Use it no more; whether nobody does now. In :meth:`alone`."""
        if self._held is not None:
            self._held.close()
            self._held = None
        return not self.used()

    def used(self) -> bool:
        """Whether somebody uses it; in :meth:`alone`."""
        return self._users.exists() and _held(self._users)

    def _locked(self) -> IO[bytes]:
        """The held lock file; not one that somebody removed while it was waited for."""
        while True:
            lock = self._lock.open("ab")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_nlink:
                return lock
            lock.close()


def _held(path: Path) -> bool:
    """Whether anybody holds a lock on that file."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
