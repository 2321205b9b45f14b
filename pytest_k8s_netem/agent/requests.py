"""What a frame of a session asks for: read completely, or refused completely."""

from __future__ import annotations

from pytest_k8s_netem.model.codec import INT, NUMBER, TEXT, Codec, WireError, many
from pytest_k8s_netem.model.frames import GUEST_OPS, OWNER_OPS, VERSION
from pytest_k8s_netem.model.frozen import frozen
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _object(data: Any, path: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise WireError(f"{path}: expected an object")
    return data


def _checks(data: Any, path: str) -> Any:
    from pytest_k8s_netem.model.wire import CHECK

    return many(CHECK).decode(data, path)


OBJECT = Codec(lambda value: value, _object)
"""A JSON object, read later by whoever knows what is in it."""

FIELDS: dict[str, dict[str, Codec]] = {
    "hello": {"role": TEXT, "identity": TEXT, "epoch": INT},
    "peers": {"sets": OBJECT},
    "prepare": {"target": TEXT, "plan": OBJECT},
    "commit": {"target": TEXT, "digest": TEXT},
    "abort": {"target": TEXT},
    "renew": {"ttl": NUMBER},
    "heal": {"target": TEXT},
    "probe": {"target": TEXT, "checks": Codec(lambda value: value, _checks)},
    "observe": {"target": TEXT},
}
OPTIONAL = {"hello": frozenset({"identity", "epoch"}), "probe": frozenset({"checks"})}
MOST_ID = 1 << 53
"""Ids are below: whole numbers that every reader of JSON keeps."""
ENVELOPE = frozenset({"v", "id", "op"})


class Refused(Exception):
    """A request that cannot be met; carries its problems."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))


@frozen
class Request:
    """One frame's op and its decoded fields."""

    op: str
    fields: dict[str, Any]


def identify(frame: dict[str, Any]) -> int | None:
    """The id by which a frame is answered.

    :raises Refused: for anything but a number: it goes back as it came, so it must be small and simple.
    """
    number = frame.get("id")
    if number is None or (type(number) is int and 0 <= number < MOST_ID):
        return number
    raise Refused(Problem("id", "", f"not a whole number below {MOST_ID}", "number the requests 1, 2, 3 ..."))


def read(frame: dict[str, Any]) -> Request:
    """Decode the fields of a frame, each by its own codec.

    :raises Refused: naming the path of everything that is unknown, missing or of a wrong type.
    """
    op = frame.get("op")
    if frame.get("v", VERSION) != VERSION:
        raise Refused(Problem("v", "", f"this agent speaks version {VERSION}", "use its own controller"))
    if not isinstance(op, str) or op not in FIELDS:
        known = ", ".join(sorted(OWNER_OPS | GUEST_OPS))
        raise Refused(Problem("op", op if isinstance(op, str) else "", "no such operation", f"use one of {known}"))
    problems = [
        Problem(name, "", f"unknown field of {op}", f"it has {', '.join(FIELDS[op])}")
        for name in frame
        if name not in FIELDS[op] and name not in ENVELOPE
    ]
    fields: dict[str, Any] = {}
    for name, codec in FIELDS[op].items():
        if name in frame:
            problems += _decode(fields, name, codec, frame[name])
        elif name not in OPTIONAL.get(op, ()):
            problems.append(Problem(name, "", f"{op} lacks it"))
    if problems:
        raise Refused(*problems)
    return Request(op, fields)


def _decode(fields: dict[str, Any], name: str, codec: Codec, data: Any) -> list[Problem]:
    try:
        fields[name] = codec.decode(data, name)
    except WireError as error:
        return [problem_of(error)]
    return []


def problem_of(error: WireError) -> Problem:
    """A decoding error as a problem: its message starts with the path."""
    path, _, why = str(error).partition(": ")
    return Problem(path, "", why or "cannot be read")
