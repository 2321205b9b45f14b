"""Frames between controller and agent: one JSON object a line.

Request ``{"v": 1, "id": n (a whole number), "op": ..., "target": ..., ...}``; answer ``{"id": n, "ok": {...}}`` or
``{"id": n, "problems": [...]}``; unsolicited ``{"event": ..., "target": ..., ...}``.

========  =======  ======================================  ====================================================
op        who      fields                                  ok
========  =======  ======================================  ====================================================
hello     any      role, identity, epoch                   agent, capabilities, targets {name: [interface]}
peers     owner    sets {digest: set, delta or null}       {}; null forgets a set that no later plan will name
prepare   owner    target, plan                            prepared (digest); nothing is impaired yet
commit    owner    target, digest                          observed; filters are on, checks not yet run
abort     owner    target                                  {}; what was prepared is gone, what was in force stays
renew     owner    ttl (seconds, for all its plans)        {}
heal      owner    target                                  observed; filters off, queue drained, devices gone
probe     any      target, [checks]; default: the plan's   observed with checks; counters start anew for an owner
observe   any      target                                  observed
========  =======  ======================================  ====================================================

Requests of one session are taken in order; the answers of ``heal`` and ``probe`` come when these are done, others may
overtake them. A line that is no frame, an unknown op or an unknown field is answered by problems, nothing else happens.

The first frame of a session is ``hello``; role is ``owner`` or ``guest``. There is one owner identity at a time, as
long as its session lives or one of its plans is in force; another identity is refused with a problem whose value is
``busy``. The same identity takes over, plans and all, with an epoch at least as high: an equal one is a process that
lost its stream. A session that was taken over gets the event ``deposed`` and is ended. An owner's end heals what it
owned: at once where the agent has an admin socket and for plans without ttl, else when the ttl runs out.

A plan's ttl runs from its commit and from each ``renew``; a profile's duration, from its commit. A stage's timeline
starts at its commit and goes on through later plans that hold the same stage with the same timeline.

Events: ``healed`` (target, cause as :attr:`Observed.healed_by`, observed; when all is gone), ``ended`` (target,
profile; its duration is over, the rest of the plan stays), ``overloaded`` (target, stage), ``segment`` (target, stage,
index; first segment = 0), ``target`` (target, interfaces; [] = gone), ``deposed`` (identity, epoch of the new owner).
The end of a duration tells what was observed just before it as ``last``: counting begins anew with it.

Locally the node host tells the keeper of targets over an admin socket (SOCK_STREAM), with a descriptor beside the
frame (SCM_RIGHTS; ``fds`` may say how many): ``target`` (target; network namespace), ``forget`` (target), ``session``
(a connected stream socket that speaks frames). Each is answered as above, ``target`` with its interfaces, ``forget``
once all of it is gone. The end of this socket ends the agent.
"""

from __future__ import annotations

from pytest_k8s_netem.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

VERSION = 1
MAX_FRAME = 1 << 20
"""Most bytes a frame, its newline included."""

OWNER_OPS = frozenset({"peers", "prepare", "commit", "abort", "renew", "heal"})
GUEST_OPS = frozenset({"hello", "probe", "observe"})

MOST_ID = 1 << 53
"""Ids are below: whole numbers that every reader of JSON keeps."""
_TOO_LONG = f"a line of more than {MAX_FRAME} bytes"


class FrameError(ValueError):
    """Bytes that are no frame."""


def encode(frame: dict[str, Any]) -> bytes:
    """A frame as one line.

    :raises FrameError: if it is longer than :data:`MAX_FRAME`.
    """
    line = jsontext.written(frame).encode() + b"\n"
    if len(line) > MAX_FRAME:
        raise FrameError(f"a frame of {len(line)} bytes; at most {MAX_FRAME} travel")
    return line


def number_of(frame: dict[str, Any]) -> int | None:
    """The id by which a frame is answered; None = it has none.

    :raises FrameError: for anything but a whole number: it goes back as it came, so it must be small and simple.
    """
    number = frame.get("id")
    if number is None or (type(number) is int and 0 <= number < MOST_ID):
        return number
    raise FrameError(f"the id is not a whole number below {MOST_ID}")


class Decoder:
    """Cuts a byte stream into frames; a line that is none is reported and skipped, the stream goes on behind it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skipping = False

    @property
    def pending(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._skipping or bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[dict[str, Any] | FrameError]:
        """Frames completed by ``data``, in order; a :class:`FrameError` stands in the place of each bad line."""
        looked = len(self._buffer)  # without a newline, as the last call left it
        self._buffer += data
        while (end := self._buffer.find(b"\n", looked)) >= 0:
            looked = 0
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if self._skipping:
                self._skipping = False
            else:
                yield _parse(line) if end < MAX_FRAME else FrameError(_TOO_LONG)
        if len(self._buffer) >= MAX_FRAME and not self._skipping:
            self._skipping = True
            yield FrameError(_TOO_LONG)
        if self._skipping:
            self._buffer.clear()


def _parse(line: bytes) -> dict[str, Any] | FrameError:
    try:
        frame = jsontext.read(line.decode())
    except (ValueError, RecursionError) as error:
        return FrameError(f"not JSON: {error}")
    return frame if isinstance(frame, dict) else FrameError(f"not an object: {type(frame).__name__}")
