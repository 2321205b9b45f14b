"""How the node host leaves the machine: into namespaces of its own, as pid 1, bound to its parent's life."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct

from pytest_k8s_netem.local import syscalls

_NAMESPACES = (
    syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
)
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
"""Of linux/sockios.h and linux/if.h."""


def enter(control_fd: int) -> bool:
    """Become pid 1 of new namespaces; returns in the new process only, the old one waits for it and follows its end.

    An ordinary user, or a root that the machine does not allow it, gets a user namespace around them all, in which
    it is uid 0. ``control_fd`` stays open in the new process only.

    :returns: True if inside a user namespace of our own.
    :raises OSError: naming the step that the machine refuses.
    """
    parent = os.getppid()
    nested = _unshare()
    syscalls.die_with_parent(signal.SIGKILL)  # after the credentials changed: that forgets it
    if os.getppid() != parent:
        os._exit(1)
    if pid := os.fork():
        _stand_by(pid, control_fd)
    syscalls.die_with_parent(signal.SIGKILL)
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    _stay_in_root()
    return nested


def _stay_in_root() -> None:
    """See that who enters a mount namespace (setns(2)) has the same files: from a chroot, one comes out.

    :raises OSError: / is that of a chroot; as the kernel says it of one that is no mount point.
    """
    root, folder, namespace = os.stat("/"), os.open(".", os.O_PATH | os.O_DIRECTORY), syscalls.open_namespace("mnt")
    try:
        syscalls.setns(namespace, syscalls.CLONE_NEWNS)
        if not os.path.samestat(root, os.stat("/")):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), "mount /")
        os.fchdir(folder)
    finally:
        os.close(folder)
        os.close(namespace)


def mount_proc() -> None:
    """Show this pid namespace's processes in /proc, except where outer mounts on /proc forbid it (containers)."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    with contextlib.suppress(OSError):
        syscalls.mount("proc", "/proc", "proc", flags)


def raise_loopback() -> None:
    """Set this namespace's loopback up: what a security module refuses that grants namespaces, but no right in them.

    :raises OSError: naming the step.
    """
    request = struct.pack("16sH14x", b"lo", _IFF_UP)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "set lo up") from error


def _unshare() -> bool:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            syscalls.unshare(_NAMESPACES)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
        else:
            return False
    syscalls.unshare(_NAMESPACES | syscalls.CLONE_NEWUSER)
    syscalls.map_ids(0, uid, 0, gid)
    return True


def _stand_by(pid: int, control_fd: int) -> None:
    """The life of the process outside: hold nothing, wait, end as pid 1 ended."""
    os.close(control_fd)
    with contextlib.suppress(OSError):
        syscalls.set_name("netem-node-host")
    _, status = os.waitpid(pid, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
