"""The ground of a real network namespace: rtnetlink, hooks, engines."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial

from pytest_k8s_netem.agent.dataplane import filters
from pytest_k8s_netem.agent.dataplane.blocks import Layout
from pytest_k8s_netem.agent.dataplane.names import handle, is_ours, is_trial
from pytest_k8s_netem.agent.dataplane.netlink import Netlink
from pytest_k8s_netem.agent.dataplane.tc import GONE
from pytest_k8s_netem.agent.namespace import entered
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pytest_k8s_netem.agent.dataplane.engine import Engine
    from pytest_k8s_netem.agent.dataplane.tc import Filter
    from pytest_k8s_netem.agent.ground import Hooked
    from pytest_k8s_netem.agent.spares import Spares
    from pytest_k8s_netem.model.capabilities import Interface
    from pytest_k8s_netem.model.observed import ClassObserved
    from pytest_k8s_netem.model.plan import Class


class Netns:
    """One network namespace, by its descriptor, which it owns.

    :param classifiers: asked for the kinds of filters that this kernel has, once filters are to be installed.
    :param spares: idle workers for the user-space engine.
    :raises OSError: if it cannot be entered; the descriptor is then closed.
    """

    def __init__(self, fd: int, classifiers: Callable[[], Collection[str]], spares: Spares) -> None:
        self.fd = fd
        self._spares = spares
        self._classifiers = classifiers
        try:
            with entered(fd):
                self.netlink = Netlink.open()
        except BaseException:
            os.close(fd)
            raise
        self._engines: dict[str, Engine] = {}
        self._clsacts: set[int] = set()
        self._handle = handle()
        self._marked: dict[int, tuple[int, Filter]] = {}

    def looking(self) -> AbstractContextManager[None]:
        """Ask the kernel for each list once within the body, which changes nothing."""
        return self.netlink.looking()

    def interfaces(self) -> tuple[Interface, ...]:
        """Its devices, ours left out.

        :raises OSError: if the kernel refuses.
        """
        return self.netlink.interfaces()

    def clear(self) -> None:
        """Remove what an earlier life left: filters first, since one that redirects to no device drops.

        A clsact that held nothing but filters of ours was ours. Devices for trials stay: this agent's own child may be
        at work on them, where it has no namespace of its own for that.

        :raises OSError: if the kernel refuses.
        """
        for link in self.netlink.links():
            if not is_ours(link.name, link.alias) and self._filters_on(link.index):
                filters.clear(self.netlink, link.index)
                self._clsacts.add(link.index)
        for link in self.netlink.links():
            if is_ours(link.name, link.alias) and not is_trial(link.name):
                with _gone():
                    self.netlink.delete_link(link.index)

    def ready(self, interface: Interface) -> None:
        """See to it that the device has hooks; they stay until :meth:`leave`.

        :raises OSError: if the kernel refuses. :raises ImpairmentError: if an ``ingress`` qdisc stands in their place.
        """
        if any(qdisc.kind == "clsact" for qdisc in self.netlink.qdiscs(interface.index)):
            return
        queue = self.netlink.link(interface.index).queue
        try:
            made = self.netlink.add_clsact(interface.index)
        except FileExistsError:
            why = "somebody's ingress qdisc stands where clsact would: the kernel takes one of the two"
            fix = "put its filters on a clsact, which has the same ingress hook"
            raise ImpairmentError("", (Problem(f"interface {interface.name}", "", why, fix),)) from None
        if made:
            self._clsacts.add(interface.index)
            if not queue:  # with any qdisc the kernel mends what it takes for a mistake (qdisc_create)
                self.netlink.set_link(interface.index, queue=0)

    def install(
        self, interface: Interface, direction: Direction, classes: Sequence[Class], redirects: Mapping[str, int]
    ) -> Hooked:
        """Put filters on a hook, first class first, before those that are there; they take packets at once.

        :raises OSError: if the kernel refuses; none of these filters is then left.
        """
        try:
            return self._hook(interface, direction, classes, redirects)
        except OSError:
            if any(qdisc.kind == "clsact" for qdisc in self.netlink.qdiscs(interface.index)):
                raise
        self.ready(interface)  # another agent, whose clsact it was, has left since
        return self._hook(interface, direction, classes, redirects)

    def _hook(
        self, interface: Interface, direction: Direction, classes: Sequence[Class], redirects: Mapping[str, int]
    ) -> Hooked:
        index = interface.index
        install = partial(filters.install, layout=Layout.of(interface.mac), by_address="flower" in self._classifiers())
        if direction is Direction.EGRESS:
            return install(self.netlink, index, direction, classes, redirects)
        marked = filters.let_marked_pass(self.netlink, index, self._handle)  # else what a sink hands back goes round
        self._marked[index] = (self._marked[index][0] + 1 if index in self._marked else 1, marked)
        try:
            hooked = install(self.netlink, index, direction, classes, redirects)
        except BaseException:
            self.unmark(index)
            raise
        return IngressHooked(hooked, self, index)

    def unmark(self, index: int) -> None:
        """An ingress class list is gone; the last one takes the filter for marked frames with it."""
        lists, marked = self._marked.pop(index)
        if lists > 1:
            self._marked[index] = (lists - 1, marked)
        else:
            with _gone():
                self.netlink.delete_filter(marked)

    def set_up(self, name: str, up: bool) -> bool:
        """Set a device up or down; return how it was.

        :raises OSError: if there is no such device, or the kernel refuses.
        """
        link = self.netlink.link(name)
        self.netlink.set_link(link.index, up=up)
        return link.up

    def ours(self) -> tuple[str, ...]:
        """All devices and filters of ours: ``netem-ifb1c2d``, ``filter 20000 on eth0``.

        :raises OSError: if the kernel refuses.
        """
        return tuple(self._ours())

    def _ours(self) -> Iterator[str]:
        for link in self.netlink.links():
            if is_ours(link.name, link.alias):
                yield link.name
            else:
                yield from (f"filter {priority} on {link.name}" for priority in self._filters_on(link.index))

    def foreign(self) -> tuple[str, ...]:
        """Qdiscs and filters of other people: ``eth0: tbf at root``.

        :raises OSError: if the kernel refuses.
        """
        return tuple(
            f"{link.name}: {found}"
            for link in self.netlink.links()
            if not is_ours(link.name, link.alias)
            for found in filters.foreign(self.netlink, link.index)
        )

    def engine(self, name: str) -> Engine:
        """The engine of that name, made on first use."""
        if name not in self._engines:
            self._engines[name] = self._make_engine(name)
        return self._engines[name]

    def _make_engine(self, name: str) -> Engine:
        if name == "kernel":
            from pytest_k8s_netem.agent.dataplane.kernel import KernelEngine

            return KernelEngine(self.netlink)
        from pytest_k8s_netem.agent.dataplane.userspace import UserspaceEngine

        return UserspaceEngine(self.netlink, self.fd, self._spares)

    def leave(self) -> None:
        """Release engines, remove each clsact that was not there before and holds nobody's filters."""
        for engine in self._engines.values():
            engine.close()
        for index in self._clsacts:
            with _gone():
                if not any(self.netlink.filters(index, hook) for hook in filters.HOOKS.values()):
                    self.netlink.delete_clsact(index)
        self.netlink.close()
        os.close(self.fd)

    def _filters_on(self, index: int) -> list[int]:
        """Priorities of our filters on both hooks of a device."""
        found: list[int] = []
        with _gone():
            for direction in Direction:
                found += (entry.priority for entry in filters.ours(self.netlink, index, direction))
        return found


class IngressHooked:
    """The filters of an ingress side, and its share in the filter for marked frames."""

    def __init__(self, hooked: Hooked, ground: Netns, index: int) -> None:
        self._hooked = hooked
        self._ground = ground
        self._index = index
        self._removed = False

    def read(self) -> dict[str, ClassObserved]:
        """Each class as the kernel holds it.

        :raises OSError: if the kernel refuses.
        """
        return self._hooked.read()

    def remove(self) -> None:
        """Take the filters off.

        :raises OSError: if the kernel refuses; all that could be removed is.
        """
        try:
            self._hooked.remove()
        finally:
            if not self._removed:
                self._removed = True
                self._ground.unmark(self._index)


@contextmanager
def _gone() -> Iterator[None]:
    """Nothing is wrong if a device vanished meanwhile: it took its filters with it."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise
