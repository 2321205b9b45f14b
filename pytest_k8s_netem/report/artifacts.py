"""A failed test's evidence as a tree of files: one directory a test and phase."""

from __future__ import annotations

import hashlib
import json
import re

from pytest_k8s_netem.run.events import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from pytest_k8s_netem.run.snapshot import Snapshot

LONGEST = 80
"""Characters of a test's name in its directory's."""


def write(snapshot: Snapshot, summary: str, base: Path, nodeid: str, phase: str) -> Path:
    """Write everything; the new directory, ``base/TEST/PHASE`` (``PHASE-2`` ... if there is one already).

    :raises OSError: if it cannot be written.
    """
    folder = _fresh(base / directory_name(nodeid), phase)
    for name, content in {"summary.txt": f"{summary}\n", **dict(_files(snapshot))}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", errors="replace")
    return folder


def directory_name(nodeid: str) -> str:
    """A test's name as a directory's, of characters that every file system takes."""
    clean = _plain(nodeid)
    if len(clean) <= LONGEST:
        return clean
    return f"{clean[-LONGEST:].lstrip('-.')}-{hashlib.sha256(nodeid.encode()).hexdigest()[:8]}"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "-"


def _fresh(parent: Path, phase: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / (phase if number == 1 else f"{phase}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _files(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """(path, content) of each file."""
    for profile in snapshot.profiles:
        name = _plain(profile.name)
        yield f"profiles/{name}.json", _json(profile.object)
        for pod, held in profile.held.items():
            told = {"problems": held.problems, "effect": held.effect, **held.raw}
            yield f"profiles/{name}/{pod}.json", _json(told)
    for seen in snapshot.pods:
        yield f"pods/{seen.key}/pod.json", _json(seen.object)
        for container, log in seen.logs.items():
            yield f"pods/{seen.key}/{container}.log", log
    for part, log in snapshot.logs.items():
        yield f"{part}.log", log
    if snapshot.events:
        yield "events.json", _json(snapshot.events)
    yield "run.jsonl", "".join(dumps(event) + "\n" for event in snapshot.happened)
    if snapshot.missing:
        yield "not-seen.txt", "".join(f"{line}\n" for line in snapshot.missing)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"
