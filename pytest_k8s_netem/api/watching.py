"""A watch of a real API server: one thread reads it and hands each change to the event loop."""

from __future__ import annotations

import asyncio
import json
import threading

from pytest_k8s_netem.api.protocol import Change
from pytest_k8s_netem.api.refusals import of_status
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_k8s_netem.api.connection import Stream

    Open = Callable[[str], Stream]
    Given = Change | ApiError | None


class Watch:
    """Changes after a version, over as many streams as it takes.

    A stream that ends, as the server ends each after a while, is followed by one from the last version seen, which
    bookmarks keep young. Made on the loop that reads it.

    :param open_stream: called in the thread with the version to go on from; raises :class:`ApiError`.
    """

    def __init__(self, open_stream: Open, version: str, name: str) -> None:
        self._open, self._version = open_stream, version
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Given] = asyncio.Queue()
        self._stopped = threading.Event()
        self._stream: Stream | None = None
        threading.Thread(target=self._run, name=f"watch of {name}", daemon=True).start()

    async def next(self) -> Change | None:
        """The next change; None once it is stopped.

        :raises ApiError: 410 Expired, or whatever keeps the server from going on; nothing comes after that.
        """
        given = await self._queue.get()
        if isinstance(given, ApiError):
            raise given
        return given

    def stop(self) -> None:
        """End the thread; from any thread."""
        self._stopped.set()
        self._give(None)
        if stream := self._stream:
            stream.close()

    def _run(self) -> None:
        idle = 0  # streams in a row that ended before they said anything
        try:
            while not self._stopped.is_set():
                idle = 0 if self._follow() else idle + 1
                if idle > 1:
                    self._stopped.wait(backoff(idle - 1))
        except ApiError as error:
            self._give(error)
        except Exception as error:  # who waits for the next change must hear of it
            text = f"{threading.current_thread().name}: {type(error).__name__}: {error}"
            self._give(ApiError(0, "WatchFailed", text))

    def _follow(self) -> bool:
        """Read one stream to its end; whether anything came."""
        stream, said = self._open(self._version), False
        self._stream = stream
        try:
            for line in () if self._stopped.is_set() else stream:
                if line.strip():
                    said = True
                    self._take(json.loads(line))
        except Exception:
            if not self._stopped.is_set():  # a stream closed under its reader fails in many ways
                raise
        finally:
            stream.close()
        return said

    def _take(self, event: dict[str, object]) -> None:
        obj = event["object"]
        if not isinstance(obj, dict):
            raise ApiError(0, "BadAnswer", f"a watch event without an object: {event}")
        if event["type"] == "ERROR":
            raise of_status(obj)
        self._version = str(obj["metadata"]["resourceVersion"])
        if event["type"] != "BOOKMARK":
            self._give(Change(str(event["type"]), obj))

    def _give(self, what: Given) -> None:
        if not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._queue.put_nowait, what)
            except RuntimeError:
                return  # closed at this moment
