"""Children that the agent forks for what takes long: what each of them does first."""

from __future__ import annotations

import os

from pytest_k8s_netem.agent.early import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 1 << 20
"""Descriptors that may be open where /proc does not tell; containers may allow a thousand times as many."""


def alone(*kept: int) -> None:
    """In a child: take no signal meant for the agent, and keep no descriptor of it but standard ones and these.

    Else a stream would live on in the child when the agent closes it.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the agent decides
    _close_all_but(kept)


def _close_all_but(kept: Sequence[int]) -> None:
    try:
        there = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # it is masked, or another process namespace's
        _close_ranges(kept)
        return
    for fd in there:
        if fd > 2 and fd not in kept:
            try:
                os.close(fd)
            except OSError:  # the one that listed them
                continue


def _close_ranges(kept: Sequence[int]) -> None:
    start = 3
    for fd in [*sorted(fd for fd in kept if fd > 2), _MOST]:
        os.closerange(start, fd)
        start = fd + 1


def is_over(child: int) -> bool:
    """Whether a child has ended; asked again after a yes, or when somebody else has waited for it, it still is."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
