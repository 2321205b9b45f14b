"""First process of a guest: makes the kernel usable, runs one command, reports its exit status, powers off.

Started by the guest's kernel as ``python -I -S init.py JOB``, with the host's root file system (hostfs) as its root and
nothing mounted yet. It stands alone: standard library only, nothing of this package. The guest's serial lines are
the command's standard output (0), its standard error (1) and the control line (2), which carries words, one a line:

- to the host: ``ready`` once, ``beat`` every :data:`BEAT` seconds, ``fault TEXT`` or ``exit STATUS`` at the end;
- from the host: ``interrupt`` (Ctrl-C). Its end means that the host's side is gone: power off.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import termios
import time
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BEAT = 5.0
"""Seconds between two signs of life."""
DRAIN = 2.0
"""Seconds that output may still come after the command and all it started are gone."""
OWN = "/run/netem-guest"
"""What this program puts into the guest's own /run."""
TEMPORARY = "/dev/shm/tmp"
"""The command's TMPDIR: the guest's own memory, where every file has the owner that the guest gave it; not below /run,
which pods of the embedded cluster have for themselves."""
POWER_OFF = 0x4321FEDC
"""LINUX_REBOOT_CMD_POWER_OFF of linux/reboot.h."""

MOUNTS = (
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("devpts", "/dev/pts", "ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
)
"""(type, where, data): all that is the guest's own; the rest of the tree is the host's."""

libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, where: str, data: str) -> None:
    """Mount a file system without a source.

    :raises OSError: the kernel's refusal; what is mounted there already is left as it is.
    """
    if libc.mount(b"none", where.encode(), kind.encode(), 0, data.encode()) == 0:
        return
    if (code := ctypes.get_errno()) != errno.EBUSY:
        raise OSError(code, f"mount {kind}: {os.strerror(code)}", where)


def mount_all() -> None:
    """Mount what every program expects, and give /dev the links that udev would make."""
    for kind, where, data in MOUNTS:
        if where.startswith("/dev/"):
            os.makedirs(where, exist_ok=True)
        mount(kind, where, data)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        if not os.path.lexists(f"/dev/{name}"):
            os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")
    os.mkdir(OWN)
    os.mkdir(TEMPORARY)
    os.chmod(TEMPORARY, 0o1777)


def load_modules(directory: str, names: list[str]) -> None:
    """Load kernel modules from the host's folder of them, and have the kernel find the others there by itself.

    modprobe looks below /lib/modules, which an ordinary user cannot extend: hence an own root for it, and a helper
    that the kernel calls (/proc/sys/kernel/modprobe).
    """
    os.makedirs(f"{OWN}/lib/modules")
    os.symlink(directory, f"{OWN}/lib/modules/{os.uname().release}")
    helper = f"{OWN}/modprobe"
    with open(helper, "w") as script:
        script.write(f'#!/bin/sh\nexec modprobe -d {OWN} "$@"\n')
    os.chmod(helper, 0o755)
    with open("/proc/sys/kernel/modprobe", "w") as setting:
        setting.write(helper)
    command = ["/bin/sh", helper, "-a", *names]
    os.waitpid(os.posix_spawn(command[0], command, os.environ), 0)


def raise_loopback() -> None:
    """Set the loopback device up: SIOCGIFFLAGS, SIOCSIFFLAGS and IFF_UP of linux/sockios.h and linux/if.h."""
    with socket.socket() as any_socket:
        request = bytearray(struct.pack("16s16x", b"lo"))
        fcntl.ioctl(any_socket, 0x8913, request)
        struct.pack_into("H", request, 16, struct.unpack_from("H", request, 16)[0] | 1)
        fcntl.ioctl(any_socket, 0x8914, request)


def open_line(number: int) -> int:
    """Open a serial line that passes every byte as it is."""
    line = os.open(f"/dev/ttyS{number}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(line)
    termios.tcflush(line, termios.TCIFLUSH)
    return line


class Output:
    """One of the command's output streams on its way to a serial line.

    Where the host's stream is a terminal the command gets the line itself, a terminal of the same size; elsewhere a
    pipe, so that the command sees what it would see outside.
    """

    def __init__(self, line: int, size: list[int] | None) -> None:
        self.line = line
        self.source: int | None = None
        self.command_end = line
        if size is None:
            self.source, self.command_end = os.pipe()
        else:
            fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("4H", size[1], size[0], 0, 0))

    def command_started(self) -> None:
        """The command holds its end now; keep ours only."""
        if self.source is not None:
            os.close(self.command_end)

    def pass_on(self, data: bytes) -> None:
        """Write all of it to the line; waits for a slow reader on the host, as the command would outside."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.line, rest) :]


class Command:
    """The command, from its start to its exit status."""

    def __init__(self, job: dict[str, Any], control: int) -> None:
        self.control = control
        self.status: int | None = None
        self.outputs = [Output(open_line(number), job["terminals"][number]) for number in (0, 1)]
        self.poll = select.poll()
        for output in self.outputs:
            if output.source is not None:
                self.poll.register(output.source, select.POLLIN)
        self.pid = self.start(job)

    def start(self, job: dict[str, Any]) -> int:
        """Start it in a session of its own, in the host's folder and environment and with the host's limit of files."""
        os.chdir(job["cwd"])
        resource.setrlimit(resource.RLIMIT_NOFILE, job["files"])
        ends = [os.open("/dev/null", os.O_RDONLY), *(output.command_end for output in self.outputs)]
        actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends)]
        pid = os.posix_spawnp(
            job["argv"][0], job["argv"], job["env"], file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE]
        )
        for output in self.outputs:
            output.command_started()
        return pid

    def run(self) -> int:
        """Copy output and obey the host until the command ends; its exit status, 128 + signal if one ended it."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(woken, select.POLLIN)
        self.poll.register(self.control, select.POLLIN)
        beat = time.monotonic()
        self.reap()
        while self.status is None:
            self.step(woken, max(0.0, beat - time.monotonic()))
            if time.monotonic() >= beat:
                say(self.control, "beat")
                beat = time.monotonic() + BEAT
        self.poll.unregister(woken)
        self.poll.unregister(self.control)
        self.drain()
        return self.status

    def step(self, woken: int, seconds: float) -> None:
        """Wait at most so long for something to do, and do it."""
        for ready, _ in self.poll.poll(seconds * 1000):
            if ready == woken:
                os.read(woken, 4096)
                self.reap()
            elif ready == self.control:
                self.obey()
            else:
                self.copy(ready)

    def obey(self) -> None:
        """Do what the host says; power off when it says nothing more."""
        try:
            said = os.read(self.control, 4096)
        except OSError:
            said = b""
        if not said:
            power_off()
        if b"interrupt" in said and self.status is None:
            os.killpg(self.pid, signal.SIGINT)

    def copy(self, source: int) -> None:
        """Pass on output of the stream that has some."""
        output = next(output for output in self.outputs if output.source == source)
        data = os.read(source, 65536)
        output.pass_on(data)
        if not data:
            self.poll.unregister(source)
            output.source = None

    def reap(self) -> None:
        """Bury whatever ended, as a first process must; keep the command's status."""
        while True:
            try:
                pid, state = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(state)
                self.status = code if code >= 0 else 128 - code

    def drain(self) -> None:
        """End what the command left running and pass on the last of its output."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        until = time.monotonic() + DRAIN
        while any(output.source is not None for output in self.outputs) and time.monotonic() < until:
            for ready, _ in self.poll.poll(DRAIN * 1000):
                self.copy(ready)
        for output in self.outputs:
            termios.tcdrain(output.line)


def say(control: int, word: str) -> None:
    """Send one line to the host."""
    os.write(control, word.encode(errors="replace") + b"\n")


def power_off() -> None:
    """End the guest; files on the host are complete before."""
    os.sync()
    libc.reboot(POWER_OFF)


def main(path: str) -> None:
    """Read the job before anything hides it, then run it."""
    with open(path) as file:
        job = json.load(file)
    mount_all()
    control = open_line(2)
    try:
        socket.sethostname("netem-guest")
        load_modules(job["modules"], job["load"])
        raise_loopback()
        say(control, "ready")
        status = Command(job, control).run()
        os.sync()
        say(control, f"exit {status}")
    except Exception as error:  # whatever it is, the host must hear of it
        say(control, f"fault {error}")
    termios.tcdrain(control)
    power_off()


if __name__ == "__main__":
    main(sys.argv[1])
