"""Children that the agent forks for what takes long: what each of them does first."""

from __future__ import annotations

import os
import signal


def alone(*kept: int) -> None:
    """In a child: take no signal meant for the agent, and keep no descriptor of it but standard ones and these.

    Else a stream would live on in the child when the agent closes it.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the agent decides
    start = 3
    for fd in sorted(kept):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def is_over(child: int) -> bool:
    """Whether a child has ended; asked again after a yes, or when somebody else has waited for it, it still is."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
