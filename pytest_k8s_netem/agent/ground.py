"""What a target needs of its namespace besides engines: interfaces, filters on hooks, leftovers removed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    from pytest_k8s_netem.agent.dataplane.engine import Engine
    from pytest_k8s_netem.model.capabilities import Interface
    from pytest_k8s_netem.model.observed import ClassObserved
    from pytest_k8s_netem.model.plan import Class, Direction

    class Hooked(Protocol):
        """The filters of one side, as installed."""

        def read(self) -> dict[str, ClassObserved]:
            """Each class as the kernel holds it, with its counters since it was installed.

            :raises OSError: if the kernel refuses.
            """

        def remove(self) -> None:
            """Take the filters off, last class first, so that no packet ever meets a later class than its own.

            What is gone already is no error.

            :raises OSError: if the kernel refuses for another reason; all that could be removed is.
            """

    class Ground(Protocol):
        """One network namespace."""

        fd: int
        """The namespace's descriptor."""

        def looking(self) -> AbstractContextManager[None]:
            """Within the body, which changes nothing, may ask the kernel for each list once only."""

        def interfaces(self) -> tuple[Interface, ...]:
            """Its devices, ours left out."""

        def clear(self) -> None:
            """Remove devices and filters that an earlier life of an agent left."""

        def ready(self, interface: Interface) -> None:
            """See to it that the device has hooks; they stay until :meth:`leave`.

            :raises OSError: if the kernel refuses. :raises ImpairmentError: if something of others stands there.
            """

        def install(
            self, interface: Interface, direction: Direction, classes: Sequence[Class], redirects: Mapping[str, int]
        ) -> Hooked:
            """Put filters on a hook, first class first, before those that are there; they take packets at once.

            :param redirects: device index by class; a class that is not in it is spared.
            :raises OSError: if the kernel refuses; none of these filters is then left.
            """

        def set_up(self, name: str, up: bool) -> bool:
            """Set a device up or down; return how it was.

            :raises OSError: if there is no such device, or the kernel refuses.
            """

        def ours(self) -> tuple[str, ...]:
            """Names of all devices and filters of ours that are there now."""

        def foreign(self) -> tuple[str, ...]:
            """Qdiscs and filters of other people."""

        def engine(self, name: str) -> Engine:
            """The engine of that name, made on first use."""

        def leave(self) -> None:
            """Release engines, remove each clsact that was not there before, close the descriptors."""
