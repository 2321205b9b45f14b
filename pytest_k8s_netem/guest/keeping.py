"""A folder of the host for the evidence of a run in a guest, whose temporary files end with it: the last runs' stay."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from pytest_k8s_netem.guest.needs import own_place
from pytest_k8s_netem.run.directory import private

EVIDENCE = "NETEM_GUEST_EVIDENCE"
"""Environment variable that names the folder in a guest."""
KEPT = 3
"""Runs whose evidence stays, as pytest keeps temporary directories."""


def evidence_folder(base: Path | None = None) -> Path:
    """For this process's run; not made, for most runs need none. Of those that older runs needed the last stay.

    :param base: where this user's are; default: in the directory for temporary files, as far as a guest sees that.
    :raises ProviderError: if it belongs to somebody else, or others could write there.
    """
    temporary = tempfile.gettempdir()
    base = base or Path("/tmp" if own_place(temporary) else temporary, f"netem-evidence-{os.getuid()}")
    if os.path.lexists(base):
        _close_to_others(base)
        private(base)
        _forget_old(base)
    return base / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def begun(folder: Path) -> Path:
    """The folder, whose parent is there and this user's alone; in a guest, where all of the host's files are root's."""
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    return folder


def _close_to_others(base: Path) -> None:
    """Take away from others that they may look into a directory of ours; one in which they could write stays as it is.

    Earlier versions made it with what the user's umask left.
    """
    with suppress(OSError):
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            seen = os.fstat(fd)
            if seen.st_uid == os.getuid() and not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                os.fchmod(fd, 0o700)
        finally:
            os.close(fd)


def _forget_old(base: Path) -> None:
    """Make room for one more; runs that go on may need all that they have."""
    ended = sorted(path.name for path in base.iterdir() if not _lives(path))
    for name in ended[: max(0, len(ended) - KEPT + 1)]:
        shutil.rmtree(base / name, ignore_errors=True)


def _lives(folder: Path) -> bool:
    """Whether the process that named it is there; another one of that number keeps it for a while longer."""
    number = folder.name.rpartition("-")[2]
    return number.isdecimal() and Path("/proc", number).exists()
