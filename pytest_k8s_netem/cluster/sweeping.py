"""Removes clusters of kind that killed runs made; one that ``--netem-keep=always`` made is meant to stay."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from pytest_k8s_netem.cluster.kind import MADE, PREFIX
from pytest_k8s_netem.errors import NetemError, ProviderError
from pytest_k8s_netem.kube.kind import KindCluster
from pytest_k8s_netem.run.directory import base_directory
from pytest_k8s_netem.run.sharing import Share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.run.sweep import Sweeper


def clusters(base: Path | None = None) -> Sweeper:
    """Sweeps clusters that this user's runs on this machine made and no process uses."""

    def sweep() -> Iterable[str]:
        for lock in sorted((base or base_directory()).glob(f"{PREFIX}*.lock")):
            share = Share(lock.parent, lock.stem)
            if not share.busy() and (name := asyncio.run(_removed(share, lock.stem.removeprefix(PREFIX)))):
                yield f"kind cluster {name}"

    return sweep


async def _removed(share: Share, name: str) -> str:
    """Delete the cluster if a killed run made it, and what its users have noted: its name; "" = it was none."""
    async with share.alone():
        made = share.note.exists() and share.note.read_text() == MADE
        if share.used() or not made:
            return ""
        with tempfile.TemporaryDirectory() as folder:  # its credentials went with the run
            try:
                cluster = KindCluster(name, Path(folder, "kubeconfig"))
                there = await cluster.exists()
                await cluster.delete()
            except ProviderError as error:
                raise NetemError(f"kind cluster {name} of a killed run could not be deleted: {error}") from None
        return name if there else ""
