"""All mistakes of one input in one error: readers refuse, a :class:`Findings` collects and goes on."""

from __future__ import annotations

import difflib

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

SHOWN = 80
"""Characters of a user's value that a message repeats."""


def shown(value: object) -> str:
    """A value as the user wrote it, cut to :data:`SHOWN` characters; strings in double quotes."""
    try:
        text = f'"{value}"' if isinstance(value, str) else repr(value)
    except Exception:  # a foreign object's repr may raise anything, and a refusal must still be told
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def written(path: str, form: str) -> str:
    """How to write ``form`` where ``path`` points: ``delay="1ms"`` in a marker, ``delay: 1ms`` in an object."""
    leaf = path.rpartition(".")[2]
    if "." not in path and "[" not in path:
        return f'{leaf}="{form}"' if leaf else f'"{form}"'
    return f'"{form}"' if leaf.endswith("]") else f"{leaf}: {form}"


def refusal(path: str, value: object, why: str, fix: str = "") -> ConfigError:
    """One problem, as the error that readers raise."""
    return ConfigError(problems=[Problem(path, shown(value), why, fix)])


def under(path: str, key: str) -> str:
    """The path of a member."""
    return f"{path}.{key}" if path else key


def nearest(name: object, known: Iterable[str]) -> str:
    """Advice for an unknown name: the nearest of the known ones, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name)[:SHOWN], names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


class Findings:
    """Problems found so far; nothing is raised before :meth:`settle`."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, path: str, value: object, why: str, fix: str = "") -> None:
        """Note a problem with a value that stood there."""
        self.problems.append(Problem(path, shown(value), why, fix))

    def missing(self, path: str, why: str, fix: str = "") -> None:
        """Note a problem where nothing stood."""
        self.problems.append(Problem(path, "", why, fix))

    def read(self, reader: Callable[[object, str], T], value: object, path: str, default: T) -> T:
        """What a reader makes of a value; its refusal is noted and ``default`` stands in."""
        try:
            return reader(value, path)
        except ConfigError as error:
            self.problems += error.problems
            return default

    def mapping(self, value: object, path: str, known: Iterable[str] | None = None) -> Mapping[str, object]:
        """A mapping with string keys, without its unknown ones, each of which is noted with the nearest known name."""
        if not isinstance(value, dict):
            self.add(path, value, "expected a mapping")
            return {}
        names = None if known is None else tuple(known)
        kept = {}
        for key, item in value.items():
            if not isinstance(key, str):
                self.add(path, key, "a field's name must be text")
            elif names is not None and key not in names:
                self.problems.append(Problem(under(path, key[:SHOWN]), "", "unknown field", nearest(key, names)))
            else:
                kept[key] = item
        return kept

    def items(self, value: object, path: str) -> Sequence[tuple[str, object]]:
        """(path, item) for each item of a list; null is an empty list."""
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            self.add(path, value, "expected a list")
            return []
        return [(f"{path}[{at}]", item) for at, item in enumerate(value)]

    def settle(self, message: str = "") -> None:
        """Raise all problems at once.

        :raises ConfigError: if there are any; each is told once.
        """
        if self.problems:
            raise ConfigError(message, dict.fromkeys(self.problems))
