"""Renews the lease of an agent's plans, so that they end by themselves when nobody does any more."""

from __future__ import annotations

import asyncio

from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.run.events import Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.controller.fleet import Emit
    from pytest_k8s_netem.controller.session import AgentSession

LEASE = 30.0
"""Seconds that a plan lives without a renewal where its agent outlives this process."""
PORTIONS = 3
"""Renewals within one lease: two may be lost."""


async def keep(session: AgentSession, lease: float, emit: Emit) -> None:
    """Renew the plans of a session until it ends; every agent has its own, so that none waits for another."""
    while not session.lost:
        try:
            await session.request("renew", ttl=lease)
        except ImpairmentError as error:
            if not session.lost:
                emit(Trouble("lease", str(error)))
        await asyncio.sleep(lease / PORTIONS)
