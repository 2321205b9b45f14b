"""Removes helper containers of dead runs; each would heal and end by itself within a minute."""

from __future__ import annotations

import asyncio
import shutil

from pytest_k8s_netem.docker.command import docker
from pytest_k8s_netem.docker.helper import HELPER_LABEL, in_use, stop
from pytest_k8s_netem.errors import NetemError, ProviderError
from pytest_k8s_netem.run.directory import living_runs
from pytest_k8s_netem.run.identity import EXPIRY, OWNER, RUN, Identity, expired

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_k8s_netem.run.sweep import Sweeper

_LABELS = (OWNER, RUN, EXPIRY)


def helpers(base: Path | None = None) -> Sweeper:
    """Sweeps helpers that this user's runs on this machine left, and whatever has expired; nothing without Docker."""

    def sweep() -> Iterable[str]:
        if shutil.which("docker") is None:
            return
        alive, owner = living_runs(base), Identity.of().owner
        for name, labels in asyncio.run(_listed()):
            mine = labels[OWNER] == owner and labels[RUN] not in alive
            if (mine or expired(labels)) and not asyncio.run(in_use(name)):
                yield asyncio.run(_removed(name, labels[RUN]))

    return sweep


async def _listed() -> list[tuple[str, dict[str, str]]]:
    """All helpers: name and labels; none where Docker does not let us see any."""
    columns = "\t".join(["{{.Names}}", *(f'{{{{.Label "{label}"}}}}' for label in _LABELS)])
    try:
        told = await docker("ps", "--all", "--filter", f"label={HELPER_LABEL}", "--format", columns)
    except ProviderError:
        return []
    rows = (line.split("\t") for line in told.splitlines() if line)
    return [(name, dict(zip(_LABELS, labels, strict=True))) for name, *labels in rows]


async def _removed(name: str, run: str) -> str:
    try:
        await stop(name)  # its agent puts the network back first; Docker removes it then
        await docker("rm", "--force", name, check=False)
    except ProviderError as error:
        raise NetemError(f"container {name} of run {run} could not be removed: {error}") from None
    return f"container {name} of run {run}"
