"""JSON by the parts in C beneath :mod:`json`, which has them too and judges whatever they do not take.

Importing :mod:`json` brings :mod:`re` and :mod:`enum` with it: they take a quarter of the time in which an agent is to
be there, to read one line of a few words.
"""

from __future__ import annotations

try:
    import _json

    _PARTS = True
except ImportError:  # not in every Python
    _PARTS = False

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLANK = " \t\n\r"


def read(text: str) -> Any:
    """The value that a text holds.

    :raises ValueError: if it is not JSON, or holds a number that is not finite. :raises RecursionError: if it is nested
        too deep.
    """
    bare = text.strip(_BLANK)
    if _PARTS:
        try:
            value, end = _json.make_scanner(_Reading)(bare, 0)  # type: ignore[arg-type] # any that has these names
        except (StopIteration, ValueError):  # json says where in the whole text
            end = -1
        if end == len(bare):
            return value
    import json

    return json.loads(text, parse_constant=_refused, parse_float=_finite)


def written(value: Any) -> str:
    """A value as one line of JSON, in ASCII and without blanks.

    :raises ValueError: for a number that is not finite. :raises TypeError: for a value that has no form in JSON.
    """
    if not _PARTS:
        import json

        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    encoder = _json.make_encoder({}, _formless, _json.encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encoder(value, 0))


def _formless(value: object) -> Any:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if number - number == 0 else _refused(text)


class _Reading:
    """What the scanner asks of :class:`json.JSONDecoder`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_finite)
    parse_int = int
    parse_constant = staticmethod(_refused)
