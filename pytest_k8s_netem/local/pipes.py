"""Standard input and outputs of a command that runs to its end."""

from __future__ import annotations

import asyncio
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_CHUNK = 1 << 16


class Pipes:
    """Three pipes; their far ends are in ``theirs`` (read, write, write) and are closed by :meth:`communicate`."""

    def __init__(self, stdin: bytes) -> None:
        self._input = stdin
        pairs = [os.pipe(), os.pipe(), os.pipe()]
        self.theirs = pairs[0][0], pairs[1][1], pairs[2][1]
        self._ours = pairs[0][1], pairs[1][0], pairs[2][0]
        self._open = {*self.theirs, *self._ours}
        for fd in self._ours:
            os.set_blocking(fd, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in list(self._open):
            self._close(fd)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Send the input, read both outputs to their ends."""
        for fd in self.theirs:
            self._close(fd)
        into, out, err = self._ours
        outputs = await asyncio.gather(_read_all(out), _read_all(err), self._write(into))
        return outputs[0], outputs[1]

    async def _write(self, fd: int) -> None:
        left = memoryview(self._input)
        while left:
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:
                await _ready(fd, writing=True)
            except BrokenPipeError:
                break
        self._close(fd)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)


async def _read_all(fd: int) -> bytes:
    chunks: list[bytes] = []
    while True:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            await _ready(fd, writing=False)
            continue
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


async def _ready(fd: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(fd, _resolve, future)
    try:
        await future
    finally:
        remove(fd)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
