"""Keeps the addresses of host names that profiles name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from pytest_k8s_netem.profile.trafficprofile import RefKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_k8s_netem.profile.trafficprofile import Selection, TrafficProfile
    from pytest_k8s_netem.resolve.world import World

LOOK_UP_EVERY = 30.0
"""Seconds between two look-ups of a name; the resolver does not say how long an answer holds."""


class Names:
    """Looks names up while a profile names them; addresses go into the world."""

    def __init__(self, world: World, wake: Callable[[], None]) -> None:
        self._world = world
        self._wake = wake
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, profiles: Iterable[TrafficProfile]) -> None:
        """These profiles are in force: follow the names they name, and no others."""
        wanted = {name for profile in profiles for name in host_names(profile)}
        for name in self._tasks.keys() - wanted:
            self._tasks.pop(name).cancel()
            self._world.names.pop(name, None)
        for name in wanted - self._tasks.keys():
            self._tasks[name] = asyncio.get_running_loop().create_task(self._look_up(name), name=f"look up {name}")

    def stop(self) -> None:
        """Follow none any more."""
        self.follow(())

    async def _look_up(self, name: str) -> None:
        while True:
            try:
                found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except OSError:
                found = []  # what it had stays: a resolver that fails for a moment must not lift a partition
            addresses = tuple(sorted({str(entry[4][0]) for entry in found}))
            if addresses and addresses != self._world.names.get(name):
                self._world.names[name] = addresses
                self._wake()
            await asyncio.sleep(LOOK_UP_EVERY)


def host_names(profile: TrafficProfile) -> Iterator[str]:
    """Host names that a profile's rules name."""
    for side in (profile.egress, profile.ingress):
        for rule in side.rules if side is not None else ():
            for selection in rule.peers or ():
                yield from _named(selection)


def _named(selection: Selection) -> Iterator[str]:
    yield from (ref.name for ref in selection.refs if ref.kind is RefKind.FQDN)
    for exception in selection.exceptions:
        yield from _named(exception)
