"""Renews the lease of all plans, so that they end by themselves when nobody does any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.run.events import Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.controller.fleet import Emit
    from pytest_k8s_netem.controller.session import AgentSession

LEASE = 30.0
"""Seconds that a plan on a cluster lives without a renewal."""
RENEW_EVERY = 10.0
"""Seconds between renewals: two may be lost."""


async def renew(sessions: Callable[[], list[AgentSession]], ttl: float, emit: Emit, every: float = RENEW_EVERY) -> None:
    """Renew for ever; one agent that does not answer does not keep the others from theirs."""
    while True:
        await asyncio.sleep(every)
        await asyncio.gather(*(_renew(session, ttl, emit) for session in sessions()))


async def _renew(session: AgentSession, ttl: float, emit: Emit) -> None:
    try:
        await session.request("renew", ttl=ttl)
    except ImpairmentError as error:
        emit(Trouble("lease", str(error)))
