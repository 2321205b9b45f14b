"""A marker's arguments as text: read by their syntax, never evaluated."""

from __future__ import annotations

import ast
import warnings

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.profile.arguments import POSITIONAL, blackhole, partition
from pytest_k8s_netem.profile.findings import SHOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CALLS: dict[str, Callable[..., dict[str, Any]] | None] = {
    "netem": None, "impair": None, "partition": partition, "blackhole": blackhole
}  # fmt: skip
"""By the name of what is called: what makes the marker's arguments of its own; None = it has those."""
EXAMPLE = 'netem explain \'delay="100ms", pods="app=web"\''


def keywords(text: str) -> dict[str, Any]:
    """``delay="100ms", pods="app=web"``, or a whole ``@pytest.mark.netem(...)``, as a marker has its keywords.

    :raises ConfigError: if it is no such text, or a value is no literal.
    """
    call = _call(text)
    found: dict[str, Any] = {}
    for word in call.keywords:
        if word.arg is None:
            raise ConfigError(f"{ast.unparse(word.value)}: ** cannot be looked into; write its arguments one by one")
        if word.arg in found:
            raise ConfigError(f"{word.arg}: is given twice; keep one of them")
        found[word.arg] = _literal(word.arg, word.value)
    nameless = tuple(_literal("", value) for value in call.args)
    if make := CALLS[_name(call)]:
        try:
            return make(*nameless, **found)
        except TypeError as error:
            raise ConfigError(str(error)) from None
    if nameless == (None,) and not found:
        raise ConfigError("netem(None) switches inherited markers off: nothing happens to packets")
    return {**found, POSITIONAL: nameless} if nameless else found


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _call(text: str) -> ast.Call:
    plain = text.strip().removeprefix("@")
    for form in (plain, f"netem({plain}\n)"):
        node = _expression(form)
        if isinstance(node, ast.Call) and _name(node) in CALLS:
            return node
    raise _neither(plain)


def _expression(text: str) -> ast.expr | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes, which a marker's file would be told of
            return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _literal(name: str, value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        said = ast.unparse(value)
        if not name:
            raise _neither(said) from None
        why = 'not a literal, and nothing is evaluated here; write the value: "100ms"'
        raise ConfigError(f"{name}={said[:SHOWN]}: {why}") from None


def _neither(text: str) -> ConfigError:
    return ConfigError(
        f"{text[:SHOWN]}: neither a file nor a marker's arguments; write them as in Python, all in single quotes "
        f"so that the shell leaves the double ones: {EXAMPLE}"
    )
