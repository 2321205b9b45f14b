"""A program that dies with the thread that started it, however that ends; standard library only.

Run as a script, ``python -I -S dying.py PARENT PROGRAM ARGUMENT...``: it asks the kernel for SIGKILL at its parent's
end and becomes the program, which keeps that (prctl(2), PR_SET_PDEATHSIG: preserved across execve). Linux only.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_KILL = 9


def command(argv: Sequence[str]) -> list[str]:
    """The command line that runs this one so; the thread that spawns it must live as long as it shall."""
    import os

    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def _main() -> None:
    import ctypes
    import os

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(_KILL), 0, 0, 0)
    if os.getppid() == int(sys.argv[1]):  # else it died before it was asked
        os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    _main()
