"""Lets ``netem observe`` ask this run what it impairs: a socket in the run's directory, which is the user's alone."""

from __future__ import annotations

import contextlib
import os

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.controller.evidence_server import EvidenceServer
from pytest_k8s_netem.run.directory import WITNESS
from pytest_k8s_netem.run.identity import RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from pytest_k8s_netem.cluster.provider import Provider
    from pytest_k8s_netem.controller.evidence import Evidence
    from pytest_k8s_netem.model.observed import CheckObserved
    from pytest_k8s_netem.model.plan import Check
    from pytest_k8s_netem.resolve.pairs import Pair

CURRENT_TEST = "PYTEST_CURRENT_TEST"
"""Environment variable in which pytest says which test runs, and which phase of it."""


class Answering:
    """Implements :class:`pytest_k8s_netem.controller.witness.Witness` by the provider's, whenever that is there.

    :param run: label of this process's profiles. :param directory: its own.
    """

    def __init__(self, provider: Provider, run: str, directory: Path) -> None:
        self._provider, self._run = provider, run
        self._server = EvidenceServer(self, directory / WITNESS, self._state)

    async def start(self) -> None:
        """Listen; where a socket cannot be, nobody can ask."""
        with contextlib.suppress(OSError):  # a path of more than 107 bytes cannot be a socket's
            await self._server.start()

    async def stop(self) -> None:
        """Answer no more."""
        await self._server.stop()

    async def evidence(self, profile: str) -> Evidence:
        """See :meth:`Witness.evidence`."""
        return await self._provider.witness.evidence(profile)

    async def measure(self, checks: Mapping[str, Sequence[Check]]) -> dict[str, tuple[CheckObserved, ...]]:
        """See :meth:`Witness.measure`."""
        return await self._provider.witness.measure(checks)

    async def pairs(self, profile: str) -> tuple[Pair, ...]:
        """See :meth:`Witness.pairs`."""
        return await self._provider.witness.pairs(profile)

    async def _state(self) -> dict[str, Any]:
        listing = await self._provider.api.list(TRAFFICPROFILES, selector=f"{RUN}={self._run}")
        about = f"provider {self._provider.name}, process {os.getpid()}"
        test = os.environ.get(CURRENT_TEST, "")
        return {"about": f"{about}, in {test}" if test else about, "profiles": listing.items}
