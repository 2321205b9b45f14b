"""Kubeconfigs as people write them, read before the client does: what is wrong with one is told in a sentence.

The client's own errors name its internals, and some show the entry, with the credentials in it.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

USUAL = "~/.kube/config"
SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}
"""The lists of a kubeconfig, and what each of their entries holds beside its name."""
_MATERIAL = {
    "cluster": {"certificate-authority": "certificate-authority-data"},
    "user": {"client-certificate": "client-certificate-data", "client-key": "client-key-data", "tokenFile": "token"},
}
"""Where an entry names a file, relative to the kubeconfig, and where it holds instead what would be in it."""
_PLAIN = ("token",)
"""What is held as it is; all else in base64."""


class Unusable(Exception):
    """A kubeconfig that cannot be used; the message goes on from its name: ``is no YAML: ...``."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A context, and what it names; ``namespace`` "" = none."""

    context: str
    cluster: str
    namespace: str


@dataclass(frozen=True, slots=True)
class _Entry:
    fields: Mapping[str, Any]
    folder: Path


@dataclass(slots=True)
class _Merged:
    """Of all files: the first entry of a name, and the last current context, as the client has it."""

    current: str = ""
    entries: dict[str, dict[str, _Entry]] = field(default_factory=lambda: {kind: {} for kind in SECTIONS.values()})

    def entry(self, kind: str, name: str) -> _Entry | None:
        return self.entries[kind].get(name)

    def there(self, kind: str) -> str:
        """What is there instead, for people."""
        return f"there are: {', '.join(self.entries[kind])}" if self.entries[kind] else "there is none"


def location(path: str | None) -> str:
    """The files that are meant, as KUBECONFIG lists them (None: those of KUBECONFIG, else the usual one)."""
    return path or os.environ.get("KUBECONFIG") or USUAL


def choose(path: str | None, context: str | None) -> Chosen:
    """One of its contexts (None: the current one), after a look whether the client can use it.

    :param path: see :func:`location`.
    :raises Unusable: if not.
    """
    found = _read(path)
    name = context or found.current
    if not name:
        raise Unusable(f"names no cluster: it has no current-context; name a context, {found.there('context')}")
    chosen = found.entry("context", name)
    if chosen is None:
        what = "it has no context of that name" if context else f"its current-context {name} is no context of it"
        raise Unusable(f"names no cluster: {what}; {found.there('context')}")
    parts = {kind: _word(chosen.fields.get(kind), f"`{kind}` of its context {name}") for kind in ("cluster", "user")}
    namespace = _word(chosen.fields.get("namespace"), f"`namespace` of its context {name}")
    if not parts["cluster"]:
        raise Unusable(f"names no cluster: its context {name} has no `cluster`; {found.there('cluster')}")
    for kind, of in parts.items():
        if of:
            entry = found.entry(kind, of)
            if entry is None:
                raise Unusable(f"cannot be used: its context {name} names the {kind} {of}; {found.there(kind)}")
            _see_material(kind, of, entry)
            (_see_server if kind == "cluster" else _see_plugin)(of, entry)
    return Chosen(name, parts["cluster"], namespace)


def _read(path: str | None) -> _Merged:
    """All files together.

    :raises Unusable: if there is none, or one is no kubeconfig.
    """
    where = location(path)
    files = [Path(part).expanduser() for part in where.split(os.pathsep) if part]
    merged, read = _Merged(), False
    for file in files:
        if os.path.lexists(file):
            _merge(merged, file, f"{file}: " if len(files) > 1 else "")
            read = True
    if not read:
        raise Unusable(f"names no cluster: {_nothing(path)}")
    return merged


def _nothing(path: str | None) -> str:
    if path:
        return "it is empty, or not there"
    if said := os.environ.get("KUBECONFIG"):
        return f"KUBECONFIG names {said}, which is not there"
    where = "KUBECONFIG or --netem-kubeconfig (--kubeconfig for the command netem)"
    return f"there is none in {USUAL}; name a file by {where}"


def _merge(merged: _Merged, file: Path, which: str) -> None:
    """Add a file's entries; ``which``: what to say of it where it is one of several."""
    loaded = _loaded(file, which)
    if loaded is None:
        raise Unusable(f"names no cluster: {which}it is empty, or not there")
    if not isinstance(loaded, dict):
        raise Unusable(f"is no kubeconfig: {which}it is {_kind(loaded)}, not a mapping with {', '.join(SECTIONS)}")
    for section, kind in SECTIONS.items():
        for name, fields in _named(loaded.get(section), section, kind, which):
            merged.entries[kind].setdefault(name, _Entry(fields, file.parent))
    merged.current = _word(loaded.get("current-context"), f"{which}`current-context`") or merged.current


def _loaded(file: Path, which: str) -> Any:
    import yaml

    try:
        with file.open(encoding="utf-8") as stream:  # of a text, its errors would show lines: credentials
            return yaml.safe_load(stream)
    except yaml.YAMLError as error:
        raise Unusable(f"is no YAML: {which}{error}") from None
    except UnicodeDecodeError:
        raise Unusable(f"is no YAML: {which}it is no text in UTF-8") from None
    except OSError as error:
        raise Unusable(f"cannot be read: {which}{error.strerror}") from None


def _named(entries: Any, section: str, kind: str, which: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and contents of a section's entries."""
    wanted = f"is no kubeconfig: {which}`{section}` is a list of entries with `name` and `{kind}`"
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise Unusable(f"{wanted}; here it is {_kind(entries)}")
    found: list[tuple[str, Mapping[str, Any]]] = []
    for number, entry in enumerate(entries, 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise Unusable(f"{wanted}; entry {number} has no name")
        fields = entry.get(kind)
        if not isinstance(fields, dict) and (fields is not None or kind == "context"):
            raise Unusable(f"{wanted}; `{kind}` of {name} is {_kind(fields)}, not a mapping")
        found.append((name, fields or {}))
    return found


def _see_server(name: str, cluster: _Entry) -> None:
    said = cluster.fields.get("server")
    try:
        parts = urlsplit(said) if isinstance(said, str) else None
        usable = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an address that is none
        usable = False
    if not usable:
        what = f"`server` of its cluster {name} is {said}" if said else f"its cluster {name} has no `server`"
        raise Unusable(f"names no cluster: {what}; right would be https://HOST:PORT")


def _see_material(kind: str, name: str, entry: _Entry) -> None:
    """Certificates, keys and tokens are there; what is in them the API server judges."""
    for named, held in _MATERIAL[kind].items():
        if data := entry.fields.get(held):
            if held not in _PLAIN and not _is_base64(data):
                raise Unusable(f"cannot be used: `{held}` of its {kind} {name} is not in base64")
        elif said := _word(entry.fields.get(named), f"`{named}` of its {kind} {name}"):
            file = entry.folder / said
            if not os.path.isfile(file):
                raise Unusable(f"cannot be used: `{named}` of its {kind} {name} names {file}, which is no file")


def _see_plugin(name: str, user: _Entry) -> None:
    """Without its program the client would go on without credentials."""
    if "exec" not in user.fields:
        return
    plugin = user.fields["exec"]
    program = plugin.get("command") if isinstance(plugin, dict) else None
    if not isinstance(program, str) or not program:
        raise Unusable(f"cannot be used: `exec` of its user {name} names no `command`")
    if not (os.path.isfile(user.folder / program) if os.sep in program else shutil.which(program)):
        raise Unusable(
            f"cannot be used: `exec` of its user {name} needs the program {program}, which is not installed here"
        )


def _is_base64(said: Any) -> bool:
    try:
        return isinstance(said, str) and bool(base64.b64decode("".join(said.split()), validate=True))
    except (binascii.Error, ValueError):
        return False


def _word(said: Any, what: str) -> str:
    """A string, "" where nothing is said.

    :raises Unusable: if it is something else.
    """
    if said is not None and not isinstance(said, str):
        raise Unusable(f"is no kubeconfig: {what} is {_kind(said)}, not a text")
    return said or ""


def _kind(said: Any) -> str:
    kinds = {
        dict: "a mapping",
        list: "a list",
        str: "a text",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }
    return kinds.get(type(said), f"a {type(said).__name__}")
