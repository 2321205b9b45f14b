"""A snapshot of the world, and everything that is computed from it, each once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace
from functools import cached_property, wraps

from pytest_k8s_netem.resolve import objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Concatenate, ParamSpec, TypeVar

    from pytest_k8s_netem.resolve.world import World

    P = ParamSpec("P")
    T = TypeVar("T")


class Index:
    """The world at one moment; its objects are replaced in the world, never changed, so a shallow copy holds still.

    :ivar world: the copy. :ivar results: what :func:`once` remembers.
    """

    def __init__(self, world: World) -> None:
        tables = {f.name: getattr(world, f.name) for f in fields(world)}
        copies: dict[str, Any] = {name: dict(table) for name, table in tables.items() if isinstance(table, dict)}
        self.world = replace(world, **copies)
        self.results: dict[Any, Any] = {}

    @classmethod
    def of(cls, world: World | Index) -> Index:
        """The index itself, or a new one of this world."""
        return world if isinstance(world, Index) else cls(world)

    @cached_property
    def live(self) -> dict[str, Mapping[str, Any]]:
        """Pods that have not finished, by key, in order of keys."""
        pods = self.world.pods
        return {key: pods[key] for key in sorted(pods) if not objects.finished(pods[key])}

    @cached_property
    def by_label(self) -> dict[tuple[str, str], set[str]]:
        """Keys of live pods by each (label, value) they carry."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for key, pod in self.live.items():
            for item in objects.labels(pod).items():
                found[item].add(key)
        return found

    @cached_property
    def by_age(self) -> list[str]:
        """Keys of live pods, the oldest first."""
        return sorted(self.live, key=self.age)

    def age(self, key: str) -> tuple[str, str]:
        """Sorts live pods from the oldest to the youngest."""
        return (str(objects.metadata(self.live[key]).get("creationTimestamp") or ""), key)


def once(function: Callable[Concatenate[Index, P], T]) -> Callable[Concatenate[Index, P], T]:
    """Decorator: compute the function once for an index and its (hashable) arguments."""

    @wraps(function)
    def remembered(index: Index, /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (function, args, *kwargs.items())
        if key not in index.results:
            index.results[key] = function(index, *args, **kwargs)
        result: T = index.results[key]
        return result

    return remembered
