"""What happened in a run: typed events, kept in memory, and as JSON lines on disk once there is a directory.

Times are unix times in seconds; pods are ``namespace/name``; profiles are names of TrafficProfiles.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    at: float = field(default_factory=time.time, kw_only=True)


@dataclass(frozen=True, slots=True)
class ConditionChanged(Event):
    """A condition of a status: ``Accepted``, ``Applied``, ``Verified`` is ``True``, ``False``, ``Unknown``."""

    profile: str
    generation: int
    condition: str
    status: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Committed(Event):
    """Plans took force together. ``skew``: seconds between the first and the last pod's commit."""

    pods: tuple[str, ...]
    profiles: tuple[str, ...]
    skew: float


@dataclass(frozen=True, slots=True)
class Healed(Event):
    """A pod's plan ended: cause as :attr:`Observed.healed_by`."""

    pod: str
    profiles: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True)
class GapOpened(Event):
    """From now on a pod is not impaired although the profile says so."""

    pod: str
    profile: str
    cause: str


@dataclass(frozen=True, slots=True)
class GapClosed(Event):
    """It is impaired again, or need not be any more; ``seconds``: how long it was not."""

    pod: str
    profile: str
    cause: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PodEnded(Event):
    """A pod ended under impairment."""

    pod: str
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChannelLost(Event):
    """The stream to an agent ended without being asked to."""

    pods: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Overloaded(Event):
    """A user-space worker left packets later than its bound."""

    pod: str
    stage: str


@dataclass(frozen=True, slots=True)
class SegmentBegan(Event):
    """A timeline went on to its segment ``index``."""

    pod: str
    stage: str
    index: int


@dataclass(frozen=True, slots=True)
class Trouble(Event):
    """Something failed and is tried again, or was left behind; ``where``: pod, profile or part."""

    where: str
    message: str


CAUSES = {
    "session": "its agent ended, or did not answer any more",
    "ttl": "its lease was not renewed in time",
    "worker": "the process that carries its packets ended or hung",
}
"""Words for what ends an impairment too soon, by :attr:`Observed.healed_by`; other causes are words already."""


class EventLog:
    """Takes events from any thread; iterating gives those so far, in order."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._file: IO[str] | None = None
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Event], None]] = []

    def __call__(self, event: Event) -> None:
        """Add an event."""
        with self._lock:
            self._events.append(event)
            if self._file is not None:
                self._file.write(dumps(event) + "\n")
        for listener in self._listeners:
            listener(event)

    @property
    def count(self) -> int:
        """How many there are so far."""
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events.copy())

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Tell ``listener`` of each event from now on, on the thread that adds it."""
        self._listeners.append(listener)

    def write_to(self, path: Path) -> None:
        """Write what there is and all that follows, a line each."""
        with self._lock:
            self._file = path.open("a", encoding="utf-8", buffering=1)
            self._file.writelines(dumps(event) + "\n" for event in self._events)

    def close(self) -> None:
        """Close the file, if there is one; events stay in memory."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def dumps(event: Event) -> str:
    """An event as one line of JSON, its class under ``is``."""
    return json.dumps({"is": type(event).__name__, **asdict(event)})
