"""What a container of the embedded cluster sees: the machine's files, with /sys, /run, hosts and resolv.conf its own.

A box is a mount and a UTS namespace, made by the first process of a container and joined by those that follow
(``exec``). All run in the pod's network namespace. Code here runs in a forked child on its way to exec.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from pytest_k8s_netem.local import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Box:
    """Descriptors of a container's namespaces; ``inode`` tells its processes from others."""

    mounts: int
    names: int
    inode: int

    def close(self) -> None:
        """Let go of it; the kernel removes it with its last process."""
        os.close(self.mounts)
        os.close(self.names)


@dataclass(frozen=True, slots=True)
class Files:
    """Sources, on a file system of ours, of the files that a box shows in place of the machine's."""

    hosts: str
    resolv: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute; ``uid`` None keeps the node host's (0), ``cwd`` must exist."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    uid: int | None = None
    gid: int | None = None


def make(files: Files) -> tuple[int, int]:
    """Leave for a new box and furnish it; returns descriptors of its mount and UTS namespaces."""
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS)
    syscalls.sethostname(files.hostname)
    _cover("/etc/hosts", files.hosts)
    resolv = os.path.realpath("/etc/resolv.conf")
    under_run = resolv.startswith("/run/")
    if not under_run:
        _cover(resolv, files.resolv)
    content = Path(files.resolv).read_text(encoding="ascii")
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", "/run", "tmpfs", flags, "mode=0755")
    if under_run:
        os.makedirs(os.path.dirname(resolv), exist_ok=True)
        Path(resolv).write_text(content, encoding="ascii")
    with contextlib.suppress(OSError):  # refused where an outer mount covers part of it; the machine's stays then
        syscalls.mount("sysfs", "/sys", "sysfs", flags | syscalls.MS_NOEXEC)
    return syscalls.open_namespace("mnt"), syscalls.open_namespace("uts")


def join(box: Box) -> None:
    """Enter a box; the working directory is / afterwards."""
    syscalls.setns(box.mounts, syscalls.CLONE_NEWNS)
    syscalls.setns(box.names, syscalls.CLONE_NEWUTS)


def become(uid: int | None, gid: int | None, nested: bool) -> None:
    """Take a container's user: by setuid as root, by a further user namespace where only one uid is ours."""
    if uid is None and gid is None:
        return
    uid = 0 if uid is None else uid
    gid = _primary_group(uid) if gid is None else gid
    if nested:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        syscalls.map_ids(uid, 0, gid, 0)
        return
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def execute(command: Command, stdio: Sequence[int]) -> None:
    """Become the command; returns never, raises OSError."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    program = command.argv[0]
    try:
        os.execvpe(program, list(command.argv), dict(command.env))
    except OSError as error:  # it names the last place tried, which is nobody's mistake
        code = error.errno if _found(program, command.env.get("PATH", os.defpath)) else errno.ENOENT
        raise OSError(code, os.strerror(code or 0), program) from error


def _found(program: str, path: str) -> bool:
    """Whether there is such a file at all; a folder of PATH that we may not look into says "permission denied"."""
    if "/" in program:
        return True
    return any(os.path.exists(os.path.join(folder, program)) for folder in path.split(os.pathsep))


def _cover(target: str, source: str) -> None:
    """Show ``source`` at ``target``, if the machine has such a file."""
    path = os.path.realpath(target)
    if os.path.exists(path):
        syscalls.mount(source, path, flags=syscalls.MS_BIND)


def _primary_group(uid: int) -> int:
    """The user's group as the machine's passwd has it, else 0, as container runtimes do."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return 0
