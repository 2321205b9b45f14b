"""One controller at a time: a Lease (coordination.k8s.io) that the one who leads holds and renews.

As client-go's leader election does it: whoever watches a lease counts its seconds from when he saw it change, on his
own clock, so clocks of nodes need not agree. ``leaseTransitions`` is the epoch by which agents know the later one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from pytest_k8s_netem.api.protocol import LEASES, Object
from pytest_k8s_netem.controller.moments import microtime
from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api

HELD_FOR = 15
"""Seconds that a lease lives after its last renewal."""
RENEW_WITHIN = 10.0
"""Seconds without a successful renewal after which the leader steps down, before anybody else can lead."""
ANSWERED_WITHIN = RENEW_WITHIN / 3
"""Seconds for one renewal: a request that hangs must leave time for others."""
RETRY_EVERY = 2.0
"""Seconds between two attempts, to get it or to renew it."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Leadership:
    """The candidacy of one process.

    :ivar identity: who it is; a process that takes the place of one of the same identity leads at once.
    :ivar epoch: of this leadership, 1 or more; it grows whenever another identity begins to lead.
    """

    api: Api
    namespace: str
    name: str
    identity: str
    epoch: int = 0
    _seen: tuple[str, float] = field(default=("", 0.0))

    async def acquire(self) -> int:
        """Wait until this process leads; the epoch."""
        while True:
            try:
                if await self._try():
                    return self.epoch
            except ApiError as error:
                if error.status != 409:  # somebody was faster
                    _log.warning("lease %s/%s: %s", self.namespace, self.name, error)
            await asyncio.sleep(RETRY_EVERY)

    async def hold(self) -> None:
        """Renew until that cannot be done in time, or somebody else leads; then return: this process leads no more."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < RENEW_WITHIN:
            await asyncio.sleep(RETRY_EVERY)
            began = time.monotonic()
            try:
                left = max(0.1, RENEW_WITHIN - (began - renewed))
                async with asyncio.timeout(min(ANSWERED_WITHIN, left)):
                    if not await self._renew():
                        return
                renewed = began
            except (ApiError, TimeoutError) as error:
                _log.warning("lease %s/%s was not renewed: %s", self.namespace, self.name, error)

    async def release(self) -> None:
        """Let the next one lead at once; never fails."""
        try:
            lease = await self.api.get(LEASES, self.name, self.namespace)
            if lease["spec"].get("holderIdentity") == self.identity:
                await self._write(lease, {"holderIdentity": "", "renewTime": microtime()})
        except ApiError as error:
            _log.warning("lease %s/%s was not released: %s", self.namespace, self.name, error)

    async def _try(self) -> bool:
        now = microtime()
        mine = {"holderIdentity": self.identity, "leaseDurationSeconds": HELD_FOR, "acquireTime": now, "renewTime": now}
        try:
            lease = await self.api.get(LEASES, self.name, self.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            meta = {"name": self.name, "namespace": self.namespace}
            await self.api.create(LEASES, {"metadata": meta, "spec": {**mine, "leaseTransitions": 1}}, self.namespace)
            self.epoch = 1
            return True
        spec = lease["spec"]
        holder, epoch = spec.get("holderIdentity") or "", int(spec.get("leaseTransitions") or 0)
        if holder not in ("", self.identity) and not self._over(spec):
            return False
        self.epoch = max(1, epoch if holder == self.identity else epoch + 1)
        await self._write(lease, {**mine, "leaseTransitions": self.epoch})
        return True

    def _over(self, spec: Object) -> bool:
        """Whether the holder has not renewed for the lease's time, as this process saw it."""
        said = str(spec.get("renewTime"))
        if said != self._seen[0]:
            self._seen = (said, time.monotonic())
        return time.monotonic() - self._seen[1] > float(spec.get("leaseDurationSeconds") or HELD_FOR)

    async def _renew(self) -> bool:
        lease = await self.api.get(LEASES, self.name, self.namespace)
        if lease["spec"].get("holderIdentity") != self.identity:
            _log.error("lease %s/%s is held by %s", self.namespace, self.name, lease["spec"].get("holderIdentity"))
            return False
        await self._write(lease, {"renewTime": microtime()})
        return True

    async def _write(self, lease: Object, spec: Object) -> None:
        await self.api.replace(LEASES, {**lease, "spec": {**lease["spec"], **spec}})
