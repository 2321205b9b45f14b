"""What a container of the embedded cluster sees: the machine's files, with /sys, /run, hosts and resolv.conf its own.

A box is a mount and a UTS namespace, made for the first process of a container and joined by those that follow
(``exec``). All run in the pod's network namespace. The node host itself goes there, starts the command and goes home
(:class:`Home`): a copy of it that did would cost more than most commands, in a guest ten times as much.
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


class Home:
    """Where this single-threaded program is by itself: its network, mount and UTS namespace and its folder."""

    def __init__(self) -> None:
        self._namespaces = [(syscalls.open_namespace(name), kind) for name, kind in _KINDS.items()]
        self._folder = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Come home, from wherever."""
        for fd, kind in self._namespaces:
            syscalls.setns(fd, kind)
        os.fchdir(self._folder)


_KINDS = {"net": syscalls.CLONE_NEWNET, "mnt": syscalls.CLONE_NEWNS, "uts": syscalls.CLONE_NEWUTS}


def make(files: Files) -> Box:
    """Leave for a new box and furnish it."""
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
    mounts = syscalls.open_namespace("mnt")
    return Box(mounts, syscalls.open_namespace("uts"), os.fstat(mounts).st_ino)


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


def spawn(command: Command, stdio: Sequence[int]) -> int:
    """Start the command here, in a session of its own, as the user that this program is; its process id.

    :raises OSError: it cannot be executed; the file name is the program's.
    """
    path = _find(command)
    ends = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)]
    try:
        return os.posix_spawn(path, list(command.argv), command.env, file_actions=ends, setsid=True, setsigdef=_PLAIN)
    except OSError as error:
        raise _named(error, command) from error


def execute(command: Command, stdio: Sequence[int]) -> None:
    """Become the command; returns never, raises OSError."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    os.setsid()
    for number in _PLAIN:
        signal.signal(number, signal.SIG_DFL)
    path = _find(command)
    try:
        os.execve(path, list(command.argv), dict(command.env))
    except OSError as error:
        raise _named(error, command) from error


_PLAIN = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
)
"""Signals that somebody in front of us may ignore, and a command inherits what is ignored."""


def _find(command: Command) -> str:
    """Path of the program, which is looked for in the folders that the command's own PATH names."""
    program = command.argv[0]
    if "/" in program:
        return program
    folders = command.env.get("PATH", os.defpath).split(os.pathsep)
    found = [path for folder in folders if os.path.isfile(path := os.path.join(folder, program))]
    for path in found:
        if os.access(path, os.X_OK):
            return path
    code = errno.EACCES if found else errno.ENOENT
    raise OSError(code, os.strerror(code), program)


def _named(error: OSError, command: Command) -> OSError:
    return OSError(error.errno, os.strerror(error.errno or 0), command.argv[0])


def _cover(target: str, source: str) -> None:
    """Show ``source`` at ``target``, if the machine has such a file."""
    path = os.path.realpath(target)
    if os.path.exists(path):
        syscalls.mount(source, path, flags=syscalls.MS_BIND)


def _primary_group(uid: int) -> int:
    """The user's group as the file passwd has it, else 0: like container runtimes, it asks no directory service."""
    with contextlib.suppress(OSError), open("/etc/passwd", "rb") as users:
        for line in users:
            fields = line.split(b":")
            if len(fields) > 3 and fields[2] == b"%d" % uid and fields[3].isdigit():
                return int(fields[3])
    return 0
