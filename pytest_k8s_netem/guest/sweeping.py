"""Removes the folders of guests that have died with all who would have removed them, as at a machine's sudden end."""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

from pytest_k8s_netem.errors import NetemError
from pytest_k8s_netem.guest.command import INSIDE
from pytest_k8s_netem.guest.machine import FOLDER, shared_folder
from pytest_k8s_netem.run.directory import LOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.run.sweep import Sweeper

UNLOCKED = 24 * 3600.0
"""Seconds for which a folder without a lock file stays: it is in the making, or an older version's guest lives."""


def folders(base: Path | None = None) -> Sweeper:
    """Sweeps folders of this user's guests that nobody holds; in a guest none, for the host's locks are unseen there.

    :param base: where they are; default: where this process would make one.
    """

    def sweep() -> Iterable[str]:
        if INSIDE in os.environ:
            return
        for folder in sorted((base or Path(shared_folder())).glob(f"{FOLDER}*")):
            with suppress(FileNotFoundError):  # its own reaper was faster
                seen = folder.lstat()
                if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and _removed(folder, seen.st_mtime):
                    yield f"folder {folder} of a guest"

    return sweep


def _removed(folder: Path, changed: float) -> bool:
    """Remove it, locked meanwhile, unless somebody holds it; ``changed``: when, in seconds since the epoch.

    :raises NetemError: if it cannot be removed.
    """
    import fcntl  # not on Windows, where this module is imported too

    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _gone(folder)
    except FileNotFoundError:
        return time.time() - changed > UNLOCKED and _gone(folder)
    except OSError:  # it is held, or that cannot be told
        return False


def _gone(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise NetemError(f"{folder} could not be removed; remove it by hand: rm -r {folder}")
    return True
