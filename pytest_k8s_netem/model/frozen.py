"""What ``dataclass(frozen=True, slots=True)`` makes, for values that an agent needs before its first word.

Importing :mod:`dataclasses`, and having it write the code of a dozen classes, takes a third of the time in which an
agent is to be there. Whoever has it imported (``replace``, ``fields``) is shown a dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True)
    def frozen(cls: type[T]) -> type[T]:
        """Make a class of its annotated fields, whose instances never change."""

else:

    def frozen(cls):
        """Make a class of its annotated fields, whose instances never change."""
        names = tuple(cls.__annotations__)
        given = {name: value for name, value in cls.__dict__.items() if name not in ("__dict__", "__weakref__")}
        defaults = {name: given.pop(name) for name in names if name in given}
        methods = {"__init__": _init(cls.__name__, names, defaults), "__slots__": names, "__match_args__": names}
        made = type(cls.__name__, cls.__bases__, {**_METHODS, **given, **methods, "__frozen_defaults__": defaults})
        made.__dataclass_fields__ = _Fields()
        return made


def defaults(cls: type) -> Mapping[str, Any]:
    """The fields' defaults of a frozen class or a dataclass; fields that have none are left out."""
    if hasattr(cls, "__frozen_defaults__"):
        found: Mapping[str, Any] = cls.__frozen_defaults__
        return found
    from dataclasses import MISSING, fields

    made = {f.name: f.default_factory() for f in fields(cls) if f.default_factory is not MISSING}
    return {f.name: f.default for f in fields(cls) if f.default is not MISSING} | made


def _init(cls: str, names: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    put = object.__setattr__

    def __init__(self: Any, *values: Any, **named: Any) -> None:  # noqa: N807
        given = {**defaults, **dict(zip(names, values, strict=False)), **named}
        if len(values) > len(names) or given.keys() ^ names or not named.keys().isdisjoint(names[: len(values)]):
            raise TypeError(f"{cls} takes {', '.join(names)}, not {values} {named}")
        for name in names:
            put(self, name, given[name])

    return __init__


class _Fields:
    """What :mod:`dataclasses` would note of a class, once it asks."""

    def __get__(self, _instance: object, owner: Any) -> Any:
        from dataclasses import field, make_dataclass

        defaults = owner.__frozen_defaults__
        known = [
            (name, kind, field(default=defaults[name]) if name in defaults else field())
            for name, kind in owner.__annotations__.items()
        ]
        made = vars(make_dataclass(owner.__name__, known))["__dataclass_fields__"]
        owner.__dataclass_fields__ = made  # in place of this: it takes two milliseconds, and each ``replace`` asks
        return made


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__slots__)


def _equal(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _shown(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


def _kept(self: Any, *_: object) -> None:
    raise AttributeError(f"{type(self).__name__} never changes")


_METHODS: dict[str, Any] = {
    "__eq__": _equal,
    "__hash__": lambda self: hash(_values(self)),
    "__repr__": _shown,
    "__setattr__": _kept,
    "__delattr__": _kept,
}
