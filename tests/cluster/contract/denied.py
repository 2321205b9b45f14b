"""``python denied.py CALL ERRNO COMMAND...``: run a command to which the kernel refuses a system call.

``ioctl:0x8914`` is refused with that second argument only. It is what a security module or a container's profile does,
done by seccomp (linux/seccomp.h, linux/filter.h), for which no privilege is needed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"mount": 165, "unshare": 272, "ioctl": 16},
    "aarch64": {"mount": 40, "unshare": 97, "ioctl": 29},
}
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARGUMENT = 0, 24
"""Offsets in struct seccomp_data: of the call's number, of the low half of its second argument."""
_REFUSE, _ALLOW = 0x00050000, 0x7FFF0000


def refuse(call: str, number: int, second: int | None = None) -> None:
    """From now on, for this process and all that it starts; ``second``: only with this second argument."""
    steps = [(_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, 3 if second is not None else 1, NUMBERS[platform.machine()][call])]
    if second is not None:
        steps += [(_LOAD, 0, 0, _ARGUMENT), (_EQUAL, 0, 1, second)]
    steps += [(_RETURN, 0, 0, _REFUSE | number), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    call, _, second = sys.argv[1].partition(":")
    refuse(call, getattr(errno, sys.argv[2]), int(second, 0) if second else None)
    os.execvp(sys.argv[3], sys.argv[3:])
