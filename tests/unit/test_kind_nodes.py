"""Nodes of kind that do not run, before anything is done with them; kind and Docker are stand-ins."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_k8s_netem.errors import ProviderError
from pytest_k8s_netem.kube.kind import KindCluster
from pytest_k8s_netem.kube.nearby import Nearby

KIND = """#!/bin/sh
case "$1 $2" in
  "get nodes") echo one-control-plane one-worker ;;
  *) echo "$@" >> "{done}" ;;
esac
"""
DOCKER = """#!/bin/sh
case "$1" in
  inspect) {inspect} ;;
  image) echo sha256:1 ;;
esac
"""
States = Callable[..., Path]


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> States:
    """Makes the programs, by the nodes' states ("" = Docker does not know them); what kind was told to do."""
    programs, done = tmp_path / "bin", tmp_path / "done"
    programs.mkdir()
    done.touch()
    (programs / "sh").symlink_to(str(shutil.which("sh", path=os.defpath)))
    monkeypatch.setenv("PATH", str(programs))

    def made(control_plane: str, worker: str) -> Path:
        lines = f"echo /one-control-plane {control_plane}; echo /one-worker {worker}"
        inspect = lines if control_plane else "echo no such object >&2; exit 1"
        for name, text in (("kind", KIND.format(done=done)), ("docker", DOCKER.format(inspect=inspect))):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        return done

    return made


@pytest.fixture(params=["find", "load", "nearby"])
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], None]:
    cluster = KindCluster("one", tmp_path / "kubeconfig")
    ways = {
        "find": cluster.find,
        "load": lambda: cluster.load("image"),
        "nearby": lambda: Nearby("kind", "one").load("image"),
    }
    return lambda: asyncio.run(ways[request.param]())


@pytest.mark.parametrize(
    ("control_plane", "worker", "told", "fix"),
    [
        ("running", "paused", "node one-worker is paused", "docker unpause one-worker"),
        ("exited", "running", "node one-control-plane is exited", "docker start one-control-plane"),
        ("exited", "created", "node one-worker is created", "docker start one-worker"),
        ("dead", "running", "node one-control-plane is dead", "kind delete cluster --name one"),
    ],
)
def test_a_node_that_does_not_run_is_named_with_what_wakes_it(
    control_plane: str, worker: str, told: str, fix: str, states: States, use: Callable[[], None]
) -> None:
    done = states(control_plane, worker)
    with pytest.raises(ProviderError) as caught:
        use()
    assert str(caught.value).startswith("kind cluster one cannot be used: ")
    assert "\n" not in str(caught.value)
    assert told in str(caught.value)
    assert fix in str(caught.value)
    assert done.read_text() == ""


@pytest.mark.parametrize("state", ["running", ""])
def test_nodes_that_run_or_are_not_dockers_are_left_to_kind(
    state: str, states: States, use: Callable[[], None]
) -> None:
    done = states(state, state)
    use()
    assert done.read_text()
