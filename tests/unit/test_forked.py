"""What a child that the agent forks keeps of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from pytest_k8s_netem.agent import forked

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="agents run on Linux"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
UNLIMITED = 1 << 30


def in_child(work: Callable[[], bool]) -> bool:
    """Whether a forked child says yes."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("masked", [False, True])
def test_a_child_keeps_what_it_is_told_to(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process may open ever so many descriptors, as in some containers, no time goes by in closing them."""

    def nothing(*_: object) -> list[str]:
        raise FileNotFoundError("/proc/self/fd")

    closerange, ends = os.closerange, list[int]()

    def ranged(low: int, high: int) -> None:
        ends.append(high)
        closerange(low, min(high, 1 << 20))

    pipes = [os.pipe() for _ in range(3)]
    far = os.dup2(pipes[0][0], 900, inheritable=False)
    kept = (far, pipes[1][0])
    dropped = {pipes[0][0], pipes[0][1], pipes[1][1], *pipes[2]}

    def work() -> bool:
        monkeypatch.setattr(os, "closerange", ranged)
        monkeypatch.setattr(os, "sysconf", lambda _: UNLIMITED)
        if masked:
            monkeypatch.setattr(os, "listdir", nothing)
        forked.alone(*kept)
        right = [is_open(fd) for fd in (0, 1, 2, *kept)] == [True] * 5 and not any(map(is_open, dropped))
        return right and max(ends, default=0) < UNLIMITED

    try:
        assert in_child(work)
    finally:
        for fd in (*kept[:1], *dropped, kept[1]):
            os.close(fd)
