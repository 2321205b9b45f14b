"""``netem sweep`` and the clusters of kind that runs made which were killed; kind is a stand-in."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_k8s_netem.cluster.kind import FAILED, KEEP, KEPT, MADE, STAYS
from pytest_k8s_netem.cluster.sweeping import clusters
from pytest_k8s_netem.run.sharing import Share
from pytest_k8s_netem.run.sweep import sweep

KIND = """#!/bin/sh
case "$1 $2" in
  "get clusters") ls "{there}" ;;
  "delete cluster") {delete} ;;
esac
"""
DELETE = 'rm -rf "{there}/$4"'
REFUSE = "echo >&2 no; exit 1"
Kind = Callable[[str], Path]


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Makes the program; the folder that has an entry for each cluster."""
    programs, there = tmp_path / "bin", tmp_path / "there"
    programs.mkdir()
    there.mkdir()
    for name in ("sh", "ls", "rm"):
        (programs / name).symlink_to(str(shutil.which(name, path=os.defpath)))
    monkeypatch.setenv("PATH", str(programs))

    def made(delete: str) -> Path:
        text = KIND.format(there=there, delete=delete.format(there=there))
        (programs / "kind").write_text(text)
        (programs / "kind").chmod(0o755)
        return there

    return made


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def living(base: Path) -> Iterator[Share]:
    share = used(base, "lives", MADE)
    yield share
    end(share)


def used(base: Path, cluster: str, note: str) -> Share:
    share = Share(base, f"kind-{cluster}")

    async def scenario() -> None:
        async with share.alone():
            share.join()
            share.note.write_text(note)

    asyncio.run(scenario())
    return share


def end(share: Share) -> None:
    """As the kernel does with a process that is killed."""
    assert share._held is not None
    share._held.close()


def test_a_cluster_that_nobody_uses_any_more_goes(kind: Kind, base: Path, living: Share) -> None:
    there = kind(DELETE)
    notes = {"made": MADE, "gone": MADE, "asked": KEEP, "not": f"{FAILED}no room", "stays": STAYS, KEPT: MADE}
    for name, note in notes.items():
        end(used(base, name, note))
    for name in ("made", "asked", "not", "stays", KEPT, "lives", "mine"):
        (there / name).mkdir()
    swept = sweep([clusters(base)])
    assert swept.removed == ("kind cluster made", f"kind cluster {KEPT}")
    assert swept.left == ()
    assert {path.name for path in there.iterdir()} == {"asked", "not", "stays", "lives", "mine"}
    assert {path.name.partition(".")[0] for path in base.iterdir()} == {"kind-lives"}


def test_one_that_somebody_is_making_is_left_alone(kind: Kind, base: Path) -> None:
    kind(DELETE)
    share = used(base, "new", MADE)

    async def scenario() -> None:
        async with share.alone():
            assert share.busy()
            assert await asyncio.to_thread(sweep, [clusters(base)]) == sweep([])

    asyncio.run(scenario())
    assert not share.busy()
    end(share)


def test_one_that_cannot_be_deleted_is_told_and_known_to_the_next_sweep(kind: Kind, base: Path) -> None:
    (kind(REFUSE) / "made").mkdir()
    end(used(base, "made", MADE))
    swept = sweep([clusters(base)])
    assert swept.removed == ()
    assert swept.left[0].startswith("kind cluster made of a killed run could not be deleted: kind delete cluster")
    kind(DELETE)
    assert sweep([clusters(base)]).removed == ("kind cluster made",)


def test_without_anything_kind_is_not_needed(base: Path) -> None:
    assert sweep([clusters(base), clusters(base / "nowhere")]) == sweep([])
