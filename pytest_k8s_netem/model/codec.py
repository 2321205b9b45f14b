"""Codecs between values and JSON, and how they are put together: total over any input, unknown fields refused."""

from __future__ import annotations

from pytest_k8s_netem.model.frozen import defaults as _defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


LEAST, MOST = -(1 << 63), (1 << 64) - 1
"""Whole numbers that travel: what the kernel has room for."""


class WireError(ValueError):
    """A value that is not what its place in a frame asks for; the message starts with the path."""


class Codec:
    """A pair of functions between a value and its JSON form."""

    def __init__(self, encode: Callable[[Any], Any], decode: Callable[[Any, str], Any]) -> None:
        self.encode = encode
        self._decode = decode

    def decode(self, data: Any, path: str = "") -> Any:
        """Read a JSON value.

        :raises WireError: if it is not one.
        """
        return self._decode(data, path)


def _same(value: Any) -> Any:
    return value


def scalar(*types: type) -> Codec:
    """A JSON scalar of one of these Python types; bool is no int, and an int has 64 bits at most."""

    def decode(data: Any, path: str) -> Any:
        if type(data) not in types:
            raise WireError(f"{path}: expected {' or '.join(t.__name__ for t in types)}, got {type(data).__name__}")
        if type(data) is int and not LEAST <= data <= MOST:
            raise WireError(f"{path}: a number beyond 64 bits")
        return data

    return Codec(_same, decode)


def optional(codec: Codec) -> Codec:
    """The codec's value or null."""
    return Codec(
        lambda value: None if value is None else codec.encode(value),
        lambda data, path: None if data is None else codec.decode(data, path),
    )


def many(codec: Codec) -> Codec:
    """A tuple, as a JSON list."""

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, list):
            raise WireError(f"{path}: expected a list")
        return tuple(codec.decode(item, f"{path}[{at}]") for at, item in enumerate(data))

    return Codec(lambda value: [codec.encode(item) for item in value], decode)


def pair(first: Codec, second: Codec) -> Codec:
    """A tuple of two, as a JSON list of two."""

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, list) or len(data) != 2:
            raise WireError(f"{path}: expected two values")
        return (first.decode(data[0], f"{path}[0]"), second.decode(data[1], f"{path}[1]"))

    return Codec(lambda value: [first.encode(value[0]), second.encode(value[1])], decode)


def record(cls: type, **codecs: Codec) -> Codec:
    """A dataclass, as a JSON object without the fields that have their default."""
    defaults = _defaults(cls)

    def encode(value: Any) -> dict[str, Any]:
        said = {name: getattr(value, name) for name in codecs}
        return {
            name: codecs[name].encode(part)
            for name, part in said.items()
            if name not in defaults or part != defaults[name]
        }

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            raise WireError(f"{path}: expected an object")
        for name in data:
            if name not in codecs:
                raise WireError(f"{path}.{name}: unknown field")
        missing = [name for name in codecs if name not in defaults and name not in data]
        if missing:
            raise WireError(f"{path}.{missing[0]}: missing")
        return cls(**{name: codecs[name].decode(part, f"{path}.{name}") for name, part in data.items()})

    return Codec(encode, decode)


def tagged(codecs: Mapping[type, Codec]) -> Codec:
    """One of several records; the class's name stands in the field ``is``."""
    by_name = {cls.__name__: codec for cls, codec in codecs.items()}

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("is"), str) or data["is"] not in by_name:
            raise WireError(f"{path}.is: expected one of {', '.join(by_name)}")
        return by_name[data["is"]].decode({k: v for k, v in data.items() if k != "is"}, path)

    return Codec(lambda value: {"is": type(value).__name__, **codecs[type(value)].encode(value)}, decode)


def guarded(decode: Callable[[Any], Any]) -> Callable[[Any, str], Any]:
    """A decoding function whose complaints are :class:`WireError`."""

    def decoded(data: Any, path: str) -> Any:
        try:
            return decode(data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WireError(f"{path}: {error}") from None

    return decoded


INT = scalar(int)
NUMBER = scalar(int, float)
TEXT = scalar(str)
BOOL = scalar(bool)
