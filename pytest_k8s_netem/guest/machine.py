"""The guest as the host sees it: a process group that is started, spoken to over three lines, and ended for certain."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_k8s_netem.guest.needs import KERNEL, own_place
from pytest_k8s_netem.run.directory import hold
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO

FOLDER = "netem-guest-"
"""How the names of guests' folders begin."""
PRELOADED = (
    *("ipv6", "veth", "ifb", "bridge", "dummy", "tun"),
    *("sch_netem", "sch_tbf", "sch_htb", "sch_prio", "sch_ingress"),
    *("cls_bpf", "cls_flower", "cls_matchall", "cls_u32", "act_mirred", "act_gact", "act_skbedit"),
)
"""Modules a network test needs at once; the guest's kernel loads any other when it is asked for."""

REAPER = 'read -r ended || { sleep 5; kill -s KILL -- "-$1"; rm -rf -- "$2"; }'
"""Shell text that outlives us: our end without a word leaves no guest, not even a hung one, and no folder."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the guest's first process is to do; travels as JSON.

    :ivar argv: the command; its first word is an absolute path, or found on PATH.
    :ivar cwd: working directory.
    :ivar env: the whole environment.
    :ivar terminals: for stdout and stderr (columns, lines) where the host's stream is a terminal, else None.
    :ivar files: soft and hard RLIMIT_NOFILE.
    :ivar modules: the host's folder of kernel modules.
    :ivar load: modules to load before the command starts.
    """

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    terminals: tuple[tuple[int, int] | None, tuple[int, int] | None]
    files: tuple[int, int]
    modules: str
    load: Sequence[str]


class Machine:
    """A running user-mode-linux.

    :ivar stdout: socket that gives the command's standard output, end of stream when the guest is gone.
    :ivar stderr: the same for its standard error.
    :ivar control: socket of words, one a line (see the guest's first process).
    """

    def __init__(self, job: Job, *, memory: int, memory_folder: Path) -> None:
        self._folder, self._lock = _made()
        self._kernel: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        pairs = [socket.socketpair() for _ in range(3)]
        self._lines = [ours for ours, _ in pairs]
        self.stdout, self.stderr, self.control = self._lines
        try:
            (self._folder / "job.json").write_text(json.dumps(asdict(job)))
            self._boot([theirs for _, theirs in pairs], memory, memory_folder)
        except BaseException:
            self.end()
            raise

    def _boot(self, ends: list[socket.socket], memory: int, memory_folder: Path) -> None:
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._folder), "TMPDIR": str(memory_folder)}
        with open(self._folder / "console", "wb") as console, _one_cpu():
            self._kernel = subprocess.Popen(
                self._arguments(memory, ends),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=env,
                pass_fds=[*(end.fileno() for end in ends), self._lock.fileno()],
                start_new_session=True,
            )
        for end in ends:
            end.close()
        self._reaper = subprocess.Popen(
            ["sh", "-c", REAPER, "netem-guest-reaper", str(self._kernel.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _arguments(self, memory: int, ends: list[socket.socket]) -> list[str]:
        """The kernel's command line; what stands behind ``--`` becomes the first process's arguments."""
        lines = [f"ssl{number}=fd:{end.fileno()}" for number, end in enumerate(ends)]
        init = Path(__file__).with_name("init.py")
        return [
            *(KERNEL, f"mem={memory}", f"uml_dir={self._folder}/uml", "umid=guest", "noreboot"),
            *("rootfstype=hostfs", "rw", "quiet", "loglevel=3", "con=null", "con0=null,fd:1", "ssl=null", *lines),
            *("ifb.numifbs=0", "dummy.numdummies=0"),
            *(f'init="{sys.executable}"', "--", "-I", "-S", f'"{init}"', f'"{self._folder}/job.json"'),
        ]

    def console(self, lines: int = 12) -> str:
        """The last lines of what the kernel said, or those from its panic on."""
        try:
            said = (self._folder / "console").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        panic = next((number for number, line in enumerate(said) if "Kernel panic" in line), None)
        return "\n".join(said[-lines:] if panic is None else said[panic : panic + lines])

    def say(self, word: str) -> None:
        """Send one line to the guest's first process; a guest that is gone does not hear it."""
        with contextlib.suppress(OSError):
            self.control.sendall(word.encode() + b"\n")

    def wait(self, seconds: float) -> bool:
        """Whether the guest has powered off within so many seconds."""
        if self._kernel is not None:
            try:
                self._kernel.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
        return True

    def kill(self) -> None:
        """End all processes of the guest now; safe to call again."""
        if self._kernel is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._kernel.pid, signal.SIGKILL)
            self._kernel.wait()

    def end(self) -> None:
        """Leave nothing: no process, socket or folder. The memory's file has no name and goes with the processes."""
        self.kill()
        for line in self._lines:
            line.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()
        if self._reaper is not None:
            self._reaper.communicate(b"ended\n")


def _made() -> tuple[Path, IO[bytes]]:
    """A guest's folder and its lock, which this process and the guest hold for as long as either lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=shared_folder()))
        if (lock := hold(folder)) is not None:
            keep_from_children(lock)
            return folder, lock


def shared_folder() -> str:
    """Where temporary files go, unless the guest could not see it: TMPDIR may be /dev/shm."""
    usual = tempfile.gettempdir()
    return "/var/tmp" if own_place(usual) else usual


@contextlib.contextmanager
def _one_cpu() -> Iterator[None]:
    """Processes started meanwhile stay on one CPU: a guest that moves between CPUs is up to three times slower."""
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[os.getpid() % len(allowed)]
    os.sched_setaffinity(0, {chosen})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
