"""Runs one command in a guest: streams its output, passes Ctrl-C on, ends a guest that hangs."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import threading

from pytest_k8s_netem.errors import ProviderError
from pytest_k8s_netem.guest.machine import PRELOADED, Job, Machine
from pytest_k8s_netem.guest.needs import DEFAULT_MEMORY, memory_bytes, memory_folder, modules_folder, requirements
from pytest_k8s_netem.guest.session import Limits, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

BOOT_TIMEOUT = 60.0
"""Seconds from the start to the guest's first word; 1.5 on an idle machine."""
SILENCE_TIMEOUT = 60.0
"""Seconds without a sign of life (there is one every 5) after which a guest counts as hung."""
MOST_OPEN_FILES = 1 << 20
"""fs.nr_open of a kernel that nobody tuned."""
TEMPORARY = "/dev/shm/tmp"
"""TMPDIR in the guest: its own memory. The host's /tmp stays visible: paths in it mean what they mean outside."""


def run_in_guest(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    memory: str = DEFAULT_MEMORY,
    timeout: float | None = None,
    boot_timeout: float = BOOT_TIMEOUT,
    silence_timeout: float = SILENCE_TIMEOUT,
    stdout: int = 1,
    stderr: int = 2,
) -> int:
    """Run a command as root in a user-mode-linux guest on this file system, and return its exit status.

    The first Ctrl-C is passed on, the second ends the guest. The command's stdin is empty.

    :param env: its environment, this process's by default; TMPDIR becomes the guest's own.
    :param cwd: its working directory, this process's by default.
    :param memory: the guest's memory: ``512M``, ``1G``.
    :param timeout: seconds for everything; None for no limit.
    :param boot_timeout: seconds until the guest must have spoken.
    :param silence_timeout: seconds without a sign of life after which it counts as hung.
    :param stdout: descriptor that receives the command's standard output as it comes.
    :param stderr: the same for its standard error.
    :raises ProviderError: something is missing, the guest did not start, died, hung or took too long.
    """
    if problems := requirements(memory):
        raise ProviderError(problems=problems)
    size = memory_bytes(memory)
    folder = memory_folder(size)
    if folder is None:
        raise ProviderError(f"no folder has room for {memory} of guest memory any more")
    job = Job(
        argv=list(argv),
        cwd=cwd or os.getcwd(),
        env=_environment(os.environ if env is None else env),
        terminals=(_terminal(stdout), _terminal(stderr)),
        files=_open_files(),
        modules=str(modules_folder()),
        load=PRELOADED,
    )
    with contextlib.ExitStack() as ends:
        interrupts = ends.enter_context(_interrupts())
        machine = Machine(job, memory=size, memory_folder=folder)
        ends.callback(machine.end)
        limits = Limits(boot_timeout, silence_timeout, timeout)
        return Session(machine, interrupts, {machine.stdout: stdout, machine.stderr: stderr}, limits).run()


def _environment(outside: Mapping[str, str]) -> dict[str, str]:
    """The outside's, less what names places the guest does not share, plus root's folders of programs."""
    hidden = {"TMP", "TEMP", "XDG_RUNTIME_DIR"}
    if os.geteuid() != 0:
        hidden.add(
            "PYTEST_DEBUG_TEMPROOT"
        )  # root in there does not own what this user owns out here; pytest refuses it
    env = {name: value for name, value in outside.items() if name not in hidden}
    path = env.get("PATH", os.defpath).split(os.pathsep)
    path += [folder for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin") if folder not in path]
    return env | {"TMPDIR": TEMPORARY, "PATH": os.pathsep.join(path)}


def _open_files() -> tuple[int, int]:
    """This process's limits, soft and hard, as far as any kernel grants them (fs.nr_open, 2^20 by default)."""
    soft, hard = (
        MOST_OPEN_FILES if limit == resource.RLIM_INFINITY else min(limit, MOST_OPEN_FILES)
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return soft, hard


def _terminal(descriptor: int) -> tuple[int, int] | None:
    return tuple(os.get_terminal_size(descriptor)) if os.isatty(descriptor) else None  # type: ignore[return-value]


@contextlib.contextmanager
def _interrupts() -> Iterator[socket.socket]:
    """A socket that gets a byte for every SIGINT; signals reach the main thread only, elsewhere it stays silent."""
    heard, tell = socket.socketpair()
    tell.setblocking(False)

    def handler(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            tell.send(b"!")

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, handler) if main else None
    try:
        yield heard
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
        heard.close()
        tell.close()
