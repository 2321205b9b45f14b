"""Commands in pods: what comes before the pid, and pods without a shell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from pytest_k8s_netem.errors import ClusterError
from pytest_k8s_netem.kube.commands import RemoteCommand
from pytest_k8s_netem.kube.exec import STDERR, STDOUT

POD: Any = {
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "b", "image": "other"}, {"name": "c", "image": "scratch"}]},
}
WARNING = b"sh: warning: setlocale: LC_ALL: cannot change locale (en_US.UTF-8)\n"


class Running:
    """What an exec says, in portions; with ``ends`` None it goes on until that event is set."""

    ends_input = True

    def __init__(self, *said: tuple[int, bytes], failure: str = "", ends: asyncio.Event | None = None) -> None:
        self.status = None if failure else 0
        self.failure = failure
        self._said, self._ends = said, ends

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        for one in self._said:
            yield one
        if self._ends is not None:
            await self._ends.wait()

    def close(self) -> None:
        """Nothing is open."""


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(main())


async def started(*runs: Running) -> RemoteCommand:
    command, left = RemoteCommand(None, POD, "c"), list(runs)  # type: ignore[arg-type]

    async def begin(argv: Any, stdin: bytes) -> Any:
        return left.pop(0)

    command._begin = begin  # type: ignore[method-assign]
    await command.start(["cat"], {}, b"")
    return command


@pytest.mark.parametrize("portion", [1, 7, 1000])
def test_what_a_shell_says_before_the_pid_is_standard_error(portion: int) -> None:
    async def scenario() -> None:
        said = WARNING + b"17\n18\nmine"
        portions = [(STDERR, said[at : at + portion]) for at in range(0, len(said), portion)]
        command = await started(Running(*portions, (STDOUT, b"out\n")))
        assert await command.wait() == 0
        assert command.output() == ("out\n", WARNING.decode() + "18\nmine")
        assert command._pid.result() == 17

    play(scenario)


def test_a_shell_that_ends_before_it_tells_its_pid_is_heard() -> None:
    async def scenario() -> None:
        command = await started(Running((STDERR, b"sh: no memory")))
        await command.wait()
        assert command.output() == ("", "sh: no memory")

    play(scenario)


@pytest.mark.parametrize(
    "said",
    [
        'exec: "sh": executable file not found in $PATH',
        "executable file `sh` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command",
        "stat sh: No such file or directory",
    ],
)
def test_a_command_without_a_shell_runs_and_refuses_signals(said: str) -> None:
    async def scenario() -> None:
        ends = asyncio.Event()
        missing = Running((STDERR, b"no sh\n"), failure=said)
        command = await started(missing, Running((STDERR, b"serving\n"), ends=ends))
        with pytest.raises(
            ClusterError, match="pod/p takes no signals: the image scratch of its container c has no sh"
        ):
            await command.kill(15)
        ends.set()
        assert await command.wait() == 0
        assert command.output() == ("", "serving\n")
        await command.kill(15)

    play(scenario)


def test_a_program_that_is_not_there_either_is_named_with_its_pod() -> None:
    async def scenario() -> None:
        no_shell = Running(failure='exec: "sh": executable file not found in $PATH')
        command = await started(no_shell, Running(failure='exec: "cat": executable file not found in $PATH'))
        with pytest.raises(ClusterError, match=r'cannot run cat in pod/p: exec: "cat": executable file not found'):
            await command.wait()

    play(scenario)
