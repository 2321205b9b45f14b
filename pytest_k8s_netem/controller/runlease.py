"""A run's own Lease: renewed while the process lives; profiles that name it are healed and deleted when it does not."""

from __future__ import annotations

import asyncio
import logging

from pytest_k8s_netem.api.protocol import LEASES
from pytest_k8s_netem.controller.leases import LEASE, PORTIONS
from pytest_k8s_netem.controller.moments import microtime
from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.api.protocol import Api

ANSWERED_WITHIN = LEASE / PORTIONS / 2
"""Seconds for one renewal: a request that hangs must not take the lease with it."""
AGAIN_AFTER = 1.0
"""Seconds after one that failed."""

_log = logging.getLogger(__name__)


class RunLease:
    """Belongs to one event loop, not to the test's thread: a debugger that holds a test holds the lease too.

    :ivar key: ``namespace/name``, for ``spec.lease``.
    """

    def __init__(self, api: Api, namespace: str, name: str, labels: Mapping[str, str]) -> None:
        self.key = f"{namespace}/{name}"
        self._api, self._namespace, self._name = api, namespace, name
        self._labels = dict(labels)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make it and begin to renew.

        :raises ApiError: if we may not.
        """
        now = microtime()
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": int(LEASE), "acquireTime": now, "renewTime": now}
        lease = {"metadata": {"name": self._name, "labels": self._labels}, "spec": spec}
        await self._api.create(LEASES, lease, self._namespace)
        self._task = asyncio.get_running_loop().create_task(self._renew(), name=f"lease {self.key}")

    async def stop(self) -> None:
        """Renew no more and delete it; nothing happens if it was not made."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._api.delete(LEASES, self._name, self._namespace)
        except ApiError as error:
            if error.status != 404:
                _log.warning("lease %s: %s", self.key, error)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / PORTIONS)
            while not await self._renewed():
                await asyncio.sleep(AGAIN_AFTER)

    async def _renewed(self) -> bool:
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                patch = {"spec": {"renewTime": microtime()}}
                await self._api.patch(LEASES, self._name, patch, self._namespace)
        except Exception as error:  # whatever it is, the lease ends if nobody tries again
            _log.warning("lease %s was not renewed: %s", self.key, error or type(error).__name__)
            return False
        return True
