"""Frames between controller and agent: one JSON object a line.

Request ``{"v": 1, "id": n, "op": ..., "target": ..., ...}``; answer ``{"id": n, "ok": {...}}`` or
``{"id": n, "problems": [...]}``; unsolicited ``{"event": ..., "target": ..., ...}``.

========  =======  ======================================  ====================================================
op        who      fields                                  ok
========  =======  ======================================  ====================================================
hello     any      role, identity, epoch                   agent, capabilities, targets {name: [interface]}
peers     owner    sets {digest: ranges or delta}          {}
prepare   owner    target, plan                            prepared (digest); nothing is impaired yet
commit    owner    target, digest                          observed; filters are on, checks not yet run
abort     owner    target                                  {}; what was prepared is gone, what was in force stays
renew     owner    ttl (seconds, for all its plans)        {}
heal      owner    target                                  observed; filters off, queue drained, devices gone
probe     any      target, [checks]; default: the plan's   observed with checks; counters start anew for an owner
observe   any      target                                  observed
========  =======  ======================================  ====================================================

Events: ``healed`` (target, cause as :attr:`Observed.healed_by`, observed), ``overloaded`` (target, stage),
``segment`` (target, stage, index), ``target`` (target, interfaces; [] = gone).

Locally the node host tells the keeper of targets over an admin socket, with a descriptor beside the frame:
``target`` (target; network namespace), ``forget`` (target), ``session`` (a connected stream socket that speaks frames).
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

VERSION = 1
MAX_FRAME = 1 << 20
"""Most bytes a frame, its newline included."""

OWNER_OPS = frozenset({"peers", "prepare", "commit", "abort", "renew", "heal"})
GUEST_OPS = frozenset({"hello", "probe", "observe"})


class FrameError(ValueError):
    """Bytes that are no frame."""


def encode(frame: dict[str, Any]) -> bytes:
    """A frame as one line.

    :raises FrameError: if it is longer than :data:`MAX_FRAME`.
    """
    line = json.dumps(frame, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(line) > MAX_FRAME:
        raise FrameError(f"a frame of {len(line)} bytes; at most {MAX_FRAME} travel")
    return line


class Decoder:
    """Cuts a byte stream into frames; a line that is none is reported and skipped, the stream goes on behind it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[dict[str, Any] | FrameError]:
        """Frames completed by ``data``, in order; a :class:`FrameError` stands in the place of each bad line."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if self._skipping:
                self._skipping = False
                continue
            yield _parse(line)
        if len(self._buffer) >= MAX_FRAME:
            self._buffer.clear()
            if not self._skipping:
                self._skipping = True
                yield FrameError(f"a line of more than {MAX_FRAME} bytes")


def _parse(line: bytes) -> dict[str, Any] | FrameError:
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError) as error:
        return FrameError(f"not JSON: {error}")
    return frame if isinstance(frame, dict) else FrameError(f"not an object: {type(frame).__name__}")
