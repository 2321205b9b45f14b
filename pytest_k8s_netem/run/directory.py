"""A run's files: one private directory, made when first used, locked while the run lives, removed at its end."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from pytest_k8s_netem.errors import NetemError, ProviderError
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

    from pytest_k8s_netem.run.identity import Identity

LOCK = "lock"
WITNESS = "witness"
"""In a run's directory: the socket on which it says what it impairs."""
HELD_WITHIN = 10.0
"""Seconds for the lock of a new directory to be free: who sweeps holds it for a moment."""
YOUNG = 60.0
"""Seconds for which a directory without a lock file may still be in the making."""


def base_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where all runs of this user have their directories: XDG_RUNTIME_DIR, else the directory for temporary files."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime, "pytest-k8s-netem")
    return Path(tempfile.gettempdir(), f"pytest-k8s-netem-{os.getuid()}")


class RunDirectory:
    """The directory of one process of one run; nothing is made before :attr:`path` is asked for."""

    def __init__(self, identity: Identity, base: Path | None = None) -> None:
        self._base = base or base_directory()
        self._name = identity.name
        self._path: Path | None = None
        self._lock: IO[bytes] | None = None
        self._pid = os.getpid()

    @property
    def made(self) -> bool:
        """Whether it exists."""
        return self._path is not None

    @property
    def path(self) -> Path:
        """The directory, mode 0700, locked by flock(2).

        :raises ProviderError: if its parent belongs to somebody else, or a living process has one of that name.
        """
        if self._path is None:
            private(self._base)
            path = self._base / self._name
            while self._lock is None:
                path.mkdir(mode=0o700, exist_ok=True)
                self._lock = hold(path)
            keep_from_children(self._lock)
            self._path = path
        return self._path

    def remove(self) -> None:
        """Remove it with all that is in it; nothing happens in a forked child."""
        if self._path is None or self._pid != os.getpid():
            return
        remove(self._path)
        if self._lock is not None:
            self._lock.close()
        self._path = self._lock = None


def living_directories(base: Path | None = None) -> Iterator[Path]:
    """Directories of runs that go on, this process's own among them."""
    return (path for path in run_directories(base) if _alive(path))


def run_directories(base: Path | None = None) -> Iterator[Path]:
    """Directories of all runs, those that have ended without removing them too."""
    base = base or base_directory()
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            yield path


def living_runs(base: Path | None = None) -> frozenset[str]:
    """Names of the processes of runs that have a directory and live."""
    base = base or base_directory()
    return frozenset(path.name for path in (base.iterdir() if base.is_dir() else ()) if path.is_dir() and _alive(path))


def remove(path: Path) -> None:
    """Remove a directory, and the parent if it was the last one there; no error if it is gone already."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.parent.rmdir()
    except OSError:
        return  # others live there


def remove_dead(path: Path, unlocked: float = YOUNG) -> bool:
    """Remove a directory that nobody holds; it is locked meanwhile, so that nobody takes it in between.

    :param unlocked: seconds for which one without a lock file stays, since it may be in the making.
    :return: whether nobody held it, and it is gone.
    :raises NetemError: if it cannot be removed.
    """
    import fcntl  # not on Windows, where this module is imported too

    try:
        with (path / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _gone(path)
    except FileNotFoundError:
        with suppress(FileNotFoundError):  # somebody else was faster
            return time.time() - path.stat().st_mtime > unlocked and _gone(path)
    except OSError:  # it is held, or that cannot be told
        pass
    return False


def _gone(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        raise NetemError(f"{path} could not be removed; remove it by hand: rm -r {path}")
    return True


def private(base: Path) -> None:
    """Make a directory that this user alone can enter, or see that it is one.

    :raises ProviderError: if it is not.
    """
    with suppress(FileExistsError):  # a file
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = base.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise ProviderError(f"{base} is not a directory that this user alone can enter; remove it, or set TMPDIR")


def hold(path: Path) -> IO[bytes] | None:
    """A directory's lock file, held; None if a sweep removed it just before it was held.

    :raises ProviderError: if another process holds it.
    """
    try:
        lock = (path / LOCK).open("ab")
    except FileNotFoundError:
        return None
    if not _locked(lock):
        lock.close()
        raise ProviderError(f"{path} is another living process's, which was given the same name")
    if os.fstat(lock.fileno()).st_nlink:
        return lock
    lock.close()
    return None


def _locked(lock: IO[bytes]) -> bool:
    """Hold it; False if another process does for longer than a sweep looks at it."""
    import fcntl  # not on Windows, where this module is imported too

    end = time.monotonic() + HELD_WITHIN
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        else:
            return True


def _alive(path: Path) -> bool:
    import fcntl

    try:
        with (path / LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return time.time() - path.stat().st_mtime < YOUNG
