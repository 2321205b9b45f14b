"""Removes the folders of guests that have died with all who would have removed them, as at a machine's sudden end."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from pytest_k8s_netem.guest.command import INSIDE
from pytest_k8s_netem.guest.machine import FOLDER, shared_folder
from pytest_k8s_netem.run.directory import remove_dead

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
                if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and remove_dead(folder, UNLOCKED):
                    yield f"folder {folder} of a guest"

    return sweep
