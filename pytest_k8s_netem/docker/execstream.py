"""A program's standard streams as a way to an agent."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from contextlib import suppress

from pytest_k8s_netem.controller.stream import CHUNK
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from asyncio.subprocess import Process
    from collections.abc import Sequence

TAIL = 1000
"""Bytes of its complaints that a message repeats."""
END_WITHIN = 5.0
"""Seconds for the program to end when its input has."""


class ExecStream:
    """A :class:`pytest_k8s_netem.controller.stream.ByteStream`; made by :meth:`start`."""

    def __init__(self, process: Process, stdin: StreamWriter, stdout: StreamReader, stderr: StreamReader) -> None:
        self._process, self._stdin, self._stdout = process, stdin, stdout
        self._said = b""
        self._listening = asyncio.get_running_loop().create_task(self._listen(stderr))

    @classmethod
    async def start(cls, argv: Sequence[str]) -> ExecStream:
        """Start the program.

        :raises ImpairmentError: if it is missing.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
        except OSError as error:
            raise ImpairmentError(f"{argv[0]}: {error.strerror}") from None
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ImpairmentError(f"{argv[0]}: no pipes")  # asked for above
        keep_from_children(process.stdin.get_extra_info("pipe"))  # else a fork keeps a dead run's session alive
        return cls(process, process.stdin, process.stdout, process.stderr)

    async def receive(self) -> bytes:
        """See :meth:`ByteStream.receive`."""
        if data := await self._stdout.read(CHUNK):
            return data
        if status := await self._process.wait():
            await self._listening
            raise ConnectionError(self._said.decode(errors="replace").strip() or f"it ended with status {status}")
        return b""

    async def send(self, data: bytes) -> None:
        """See :meth:`ByteStream.send`."""
        self._stdin.write(data)
        await self._stdin.drain()

    def close(self) -> None:
        """See :meth:`ByteStream.close`: the end of its input is the program's."""
        self._stdin.close()

    async def wait_closed(self) -> None:
        """See :meth:`ByteStream.wait_closed`."""
        try:
            async with asyncio.timeout(END_WITHIN):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._listening.cancel()

    async def _listen(self, stderr: StreamReader) -> None:
        while data := await stderr.read(CHUNK):
            self._said = (self._said + data)[-TAIL:]
