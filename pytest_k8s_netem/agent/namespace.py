"""Entering a network namespace by descriptor, and coming back."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from types import TracebackType

CLONE_NEWNET = 0x40000000
"""linux/sched.h."""


def current() -> int:
    """A descriptor (close-on-exec) of the calling thread's network namespace; the caller closes it.

    :raises OSError: if /proc is not mounted.
    """
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def enter(fd: int) -> None:
    """Move the calling thread into the network namespace of a descriptor, see setns(2).

    Where it is there already nothing is asked of the kernel: a container may lack CAP_SYS_ADMIN over its own.

    :raises OSError: if the descriptor is none (EINVAL) or CAP_SYS_ADMIN over it lacks (EPERM).
    """
    here = os.stat("/proc/thread-self/ns/net")
    if os.path.samestat(os.fstat(fd), here):
        return
    if hasattr(os, "setns"):  # Python 3.12
        os.setns(fd, CLONE_NEWNET)
    else:
        _call("setns", fd, CLONE_NEWNET)


def unshare(more: int = 0) -> None:
    """Move the calling thread into a network namespace of its own, see unshare(2); ``more``: further CLONE_ flags.

    :raises OSError: without CAP_SYS_ADMIN (EPERM).
    """
    if hasattr(os, "unshare"):  # Python 3.12
        os.unshare(CLONE_NEWNET | more)
    else:
        _call("unshare", CLONE_NEWNET | more)


class entered:  # noqa: N801 - reads as a statement; contextlib would be imported by every starting agent
    """Be in the namespace of ``fd`` for the body: sockets opened there belong to it for good.

    :raises OSError: as :func:`enter`; the thread is then where it was.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        self._home = current()
        try:
            enter(self._fd)
        except BaseException:
            os.close(self._home)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            enter(self._home)
        finally:
            os.close(self._home)


_LIBC: list[ctypes.CDLL] = []
"""Loaded with its first call, once."""


def _call(name: str, *arguments: int) -> None:
    import ctypes

    if not _LIBC:
        _LIBC.append(ctypes.CDLL(None, use_errno=True))
    if getattr(_LIBC[0], name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
