"""A child that outlives a killed run just long enough to remove its directory; standard library only.

Run as a script, ``python -I -S reaper.py DIRECTORY``, it waits for the end of its standard input, whose other end the
run holds, and then removes the directory. The kernel closes that end however the run dies.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

PATIENCE = 3.0
"""Seconds in which those who still write to the directory, dying with the run, have gone."""


class Reaper:
    """The child, in a session of its own so that Ctrl-C at the terminal does not reach it."""

    def __init__(self, directory: Path) -> None:
        import subprocess

        from pytest_k8s_netem.run.forks import keep_from_children

        self._child: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        if self._child.stdin is not None:
            keep_from_children(self._child.stdin)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def stop(self) -> None:
        """Let it remove the directory and wait until it has."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child.wait(PATIENCE + 5)


def _remove(directory: str) -> None:
    import os
    import shutil
    import time

    deadline = time.monotonic() + PATIENCE
    while os.path.lexists(directory) and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.05)
    try:
        os.rmdir(os.path.dirname(directory))
    except OSError:
        return  # other runs live there


def _main() -> None:
    sys.stdin.buffer.read()
    _remove(sys.argv[1])


if __name__ == "__main__":
    _main()
