"""Answers a witness's questions on a unix socket: what an in-cluster controller knows, for those who may exec into it.

Frames as :mod:`pytest_k8s_netem.model.frames` has them; ops ``evidence`` and ``pairs`` (profile), ``measure`` (checks),
in a run ``state`` (about, profiles: its TrafficProfiles).
An answer is JSON text in portions, since a frame is short: ``{"question": id, "text": ..., "left": n}``; op ``more``
(of: that id) gives the next one.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_k8s_netem.controller import evidence_codec
from pytest_k8s_netem.errors import NetemError
from pytest_k8s_netem.model.frames import Decoder, FrameError, encode, number_of
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.controller.witness import Witness

State = Callable[[], Awaitable[Any]]
PORTION = 400_000
"""Characters of an answer's text a frame; JSON escapes make them more, at most twice as many here."""
MOST_WORDS = 1000
"""Characters of a refusal, which may repeat what was asked."""
CHUNK = 1 << 16


class EvidenceServer:
    """Serves one witness; whoever may connect to the socket may ask.

    :param state: what ``state`` is answered by; None where objects are to be read from an API server.
    """

    def __init__(self, witness: Witness, path: Path, state: State | None = None) -> None:
        self._witness, self._path, self._state = witness, path, state
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, in place of whoever did before.

        :raises OSError: if the path is too long for a socket, or cannot be written.
        """
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener)
        except BaseException:
            listener.close()
            raise
        keep_from_children(listener)

    async def stop(self) -> None:
        """Listen no more, and end all talks."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._talks.add(task)
            task.add_done_callback(self._talks.discard)
        try:
            await _Talk(self._witness, self._state, writer).follow(reader)
        finally:
            writer.close()


class _Talk:
    """One connection; its questions are answered beside each other."""

    def __init__(self, witness: Witness, state: State | None, writer: asyncio.StreamWriter) -> None:
        self._witness, self._state, self._writer = witness, state, writer
        self._left: dict[int, str] = {}
        self._asked: set[asyncio.Task[None]] = set()

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Until the other end closes it."""
        decoder = Decoder()
        try:
            while data := await reader.read(CHUNK):
                for frame in decoder.feed(data):
                    task = asyncio.get_running_loop().create_task(self._answer(frame))
                    self._asked.add(task)
                    task.add_done_callback(self._asked.discard)
        except ConnectionError:
            return
        finally:
            for task in self._asked:
                task.cancel()

    async def _answer(self, frame: dict[str, Any] | FrameError) -> None:
        number: int | None = None
        try:
            if isinstance(frame, FrameError):
                raise frame
            number = number_of(frame)
            answer: dict[str, Any] = {"id": number, "ok": await self._ok(frame)}
        except NetemError as error:
            problems = error.problems or (Problem("", "", str(error)),)
            answer = {"id": number, "problems": [problem.to_wire() for problem in problems]}
        except (ValueError, KeyError, TypeError) as error:
            why = f"not a question: {type(error).__name__} {error}"[:MOST_WORDS]
            answer = {"id": number, "problems": [Problem("", "", why).to_wire()]}
        with suppress(ConnectionError):
            self._writer.write(encode(answer))
            await self._writer.drain()

    async def _ok(self, frame: dict[str, Any]) -> dict[str, Any]:
        number = int(frame["id"])
        if frame["op"] == "more":
            return self._portion(int(frame["of"]))
        self._left[number] = json.dumps(await self._said(frame), separators=(",", ":"))
        return self._portion(number)

    def _portion(self, number: int) -> dict[str, Any]:
        text = self._left.pop(number)
        if len(text) > PORTION:
            self._left[number] = text[PORTION:]
        return {"question": number, "text": text[:PORTION], "left": max(0, len(text) - PORTION)}

    async def _said(self, frame: dict[str, Any]) -> Any:
        match frame["op"]:
            case "evidence":
                return evidence_codec.encode(await self._witness.evidence(str(frame["profile"])))
            case "pairs":
                return evidence_codec.PAIRS.encode(await self._witness.pairs(str(frame["profile"])))
            case "measure":
                checks = evidence_codec.CHECKS.decode(frame["checks"], "checks")
                return evidence_codec.MEASURED.encode(await self._witness.measure(checks))
            case "state" if self._state is not None:
                return await self._state()
        raise KeyError(frame["op"])
