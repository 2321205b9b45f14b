"""JSON merge patch, RFC 7386, and the plain copy that keeps stored objects from being shared."""

from __future__ import annotations

from typing import Any


def copied(value: Any) -> Any:
    """A deep copy of a JSON value (dict, list, scalar); several times faster than :func:`copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [copied(part) for part in value]
    return value


def merged(target: Any, patch: Any) -> Any:
    """``target`` with ``patch`` applied (RFC 7386, section 2): null removes, objects merge, all else replaces.

    Neither argument is changed; the result shares nothing with ``patch``.
    """
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, part in patch.items():
        if part is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), part)
    return result
