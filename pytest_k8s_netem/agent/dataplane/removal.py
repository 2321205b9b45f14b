"""Ends that take long: the kernel waits for RCU, tens of milliseconds, when a device or a packet socket goes."""

from __future__ import annotations

import os
import time

from pytest_k8s_netem.agent.forked import alone, is_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pytest_k8s_netem.agent.dataplane.netlink import Netlink

    class Ending(Protocol):
        """Something that has begun to end."""

        def over(self) -> bool:
            """Whether it has ended."""


_POLL = 0.001


class Removal:
    """A device that a child removes, however the agent fares meanwhile; many removals wait at the same time.

    What the kernel refuses, the next reading of the namespace reports.

    :raises OSError: if no child can be made.
    """

    def __init__(self, netlink: Netlink, index: int) -> None:
        self._child = os.fork()
        if self._child == 0:
            try:
                alone(netlink.sock.fileno())
                netlink.remove_link(index)
            finally:
                os._exit(0)

    def over(self) -> bool:
        """Whether the child has ended, and with it the device."""
        return is_over(self._child)


class Endings:
    """What an engine has on its way out."""

    def __init__(self) -> None:
        self._left: list[Ending] = []

    def add(self, ending: Ending) -> None:
        """Look after one more, and forget those that are over."""
        self._left = [*(left for left in self._left if not left.over()), ending]

    def wait(self) -> None:
        """Wait for all of them."""
        for ending in self._left:
            while not ending.over():
                time.sleep(_POLL)
        self._left.clear()
