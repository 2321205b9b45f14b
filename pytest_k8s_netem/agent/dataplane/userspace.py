"""The engine for kernels without sch_netem: a worker holds the packets, see :mod:`.worker`.

Each side of an interface is a veth pair; one worker serves all sides of a target, so that a stage that several of them
name is one queue, one rate and one random state there too.
"""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pytest_k8s_netem.agent.dataplane import pair, sockets
from pytest_k8s_netem.agent.dataplane.assembler import TooLarge
from pytest_k8s_netem.agent.dataplane.blocks import ETHERNET_FRAMES, Layout
from pytest_k8s_netem.agent.dataplane.bpf import select
from pytest_k8s_netem.agent.dataplane.removal import Endings, Removal
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.observed import StageObserved
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.model.tables import Table
from pytest_k8s_netem.model.wire import IMPAIRMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pytest_k8s_netem.agent.dataplane.netlink import Netlink
    from pytest_k8s_netem.agent.dataplane.process import Process
    from pytest_k8s_netem.agent.dataplane.removal import Ending
    from pytest_k8s_netem.agent.spares import Spares
    from pytest_k8s_netem.model.capabilities import Interface
    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.plan import Class, Stage

SLOW = 200_000_000
"""bit/s; below this a rate acts on single packets too: a superpacket of 64 KiB would hold such a link for 2.6 ms."""


COUNTERS = ("passed", "dropped", "delayed", "duplicated", "corrupted", "reordered", "lagged", "lost")


def cuts(impairment: Impairment) -> bool:
    """Whether superpackets have to be cut into packets before this impairment."""
    rate = impairment.rate
    return impairment.counts_packets or 0 < rate.bits < SLOW or bool(rate.packet_overhead or rate.cell_size)


@dataclass(slots=True)
class Shared:
    """A stage in the worker, and the sinks that use it.

    :ivar joined: per sink, in order of joining, the stage's counters then. A sink tells what was counted from there
        until the next one joined: so counters of several sides add up, and those of a new sink begin at zero.
    """

    number: int
    seed: int | None
    told: Impairment
    joined: dict[int, dict[str, int]] = field(default_factory=dict)

    def share(self, sink: int, seen: Mapping[str, Any]) -> dict[str, int]:
        """The counters that one sink is to tell, of those that the worker reports."""
        sinks = list(self.joined)
        after = sinks[sinks.index(sink) + 1 :]
        until = self.joined[after[0]] if after else seen
        counted = {name: until[name] - self.joined[sink][name] for name in COUNTERS}
        return {**counted, "backlog": 0 if after else seen["backlog"]}


class UserspaceEngine:
    """Sinks of one target.

    :param netlink: of the target's namespace. :param namespace: descriptor of that namespace.
    :param spares: where a worker comes from, and goes once it has nothing to do.
    """

    name = "userspace"

    def __init__(self, netlink: Netlink, namespace: int, spares: Spares) -> None:
        self.netlink = netlink
        self.tables: dict[str | None, Table | None] = {None: None}
        self.process: Process | None = None
        self.endings = Endings()
        self._namespace = namespace
        self._spares = spares
        self._sinks: list[UserspaceSink] = []
        self._stages: dict[str, Shared] = {}
        self._numbers = itertools.count(1)

    def sink(
        self,
        interface: Interface,
        direction: Direction,
        classes: Sequence[Class],
        stages: Mapping[str, Stage],
        now: Mapping[str, Impairment],
    ) -> UserspaceSink:
        """Build a sink; nothing is redirected to it yet. ``now``: what each stage starts with.

        What an ingress sink hands back must pass the interface's filters: :func:`filters.let_marked_pass`.

        :raises OSError: if the kernel refuses; what was made is on its way out then.
        :raises ImpairmentError: if the interface is not Ethernet, or the classes are too many to be told apart.
        """
        used = tuple(dict.fromkeys(name for entry in classes for name in entry.stages))
        chosen = {name: stages[name] for name in used}
        programs = _programs(classes, chosen)
        if Layout.of(interface.mac) != ETHERNET_FRAMES:
            raise _refused(interface.name, "has no Ethernet header, which this engine needs", chosen)
        self.process = self.process or self._spares.take()  # makes its stages while the devices are made
        sink = UserspaceSink(self, next(self._numbers), tuple(classes), chosen)
        self._sinks.append(sink)
        try:
            self._give_stages(sink, now)
            sink.pair = pair.make(self.netlink, interface, direction)
            sink.shape(now[name] for name in used)
            self._give_ports(sink, interface, direction, programs)
        except BaseException:
            sink.close()
            raise
        return sink

    def close(self) -> None:
        """Close what sinks are left, and wait until they are gone."""
        for sink in tuple(self._sinks):
            sink.close()
        self.endings.wait()

    def drop(self, sink: UserspaceSink) -> Process | None:
        """Forget a sink; the last one lets the worker go, which is returned if it ends."""
        if sink not in self._sinks:
            return None
        self._sinks.remove(sink)
        worker = self._worker()
        closed = _closed(worker, sink.number, self._release(sink))
        if self._sinks:
            return None
        self.process = None
        if closed:
            self._spares.put(worker)
            return None
        worker.end()
        self.endings.add(worker)
        return worker

    def ask(self, op: str, *args: Any, **fields: Any) -> Any:
        """Ask the worker.

        :raises OSError: if it is gone or refuses.
        """
        return self._worker().ask(op, *args, **fields)

    def _worker(self) -> Process:
        if self.process is None:
            raise BrokenPipeError(32, "the sink is closed")
        return self.process

    def encoded(self, impairment: Impairment) -> Any:
        """An impairment for the worker; its tables are remembered by digest, by which the worker names them."""
        from pytest_k8s_netem.agent.dataplane.forwarding import digest

        for table in (impairment.table, impairment.slot.table):
            self.tables[digest(table)] = table
        return IMPAIRMENT.encode(impairment)

    def _give_stages(self, sink: UserspaceSink, now: Mapping[str, Impairment]) -> None:
        """Share the stages that are there and hold what is wanted; tell of the others."""
        for name, stage in sink.stages.items():
            shared = self._stages.get(name)
            if shared is not None and (shared.told, shared.seed) == (now[name], stage.seed):
                counters = self.ask("read", stages=[shared.number])[str(shared.number)]
            else:
                counters = dict.fromkeys(COUNTERS, 0)
                shared = self._stages[name] = Shared(next(self._numbers), stage.seed, now[name])
                seed = int.from_bytes(os.urandom(8)) if stage.seed is None else stage.seed
                self._worker().tell("stage", stage=shared.number, seed=seed, impairment=self.encoded(now[name]))
            shared.joined[sink.number] = counters
            sink.shared[name] = shared

    def _give_ports(
        self, sink: UserspaceSink, interface: Interface, direction: Direction, programs: Mapping[str, bytes | None]
    ) -> None:
        far, ingress = sink.pair.far, direction is Direction.INGRESS
        with sockets.inside(self._namespace):
            with sockets.sender(far if ingress else interface.name, marked=ingress) as target:
                self._worker().tell("sink", (target,), sink=sink.number)
            for entry in sink.classes:
                if entry.stages:
                    numbers = [sink.shared[name].number for name in entry.stages]
                    fields = {"sink": sink.number, "class": entry.id, "stages": numbers}
                    sources = sockets.readers(far, programs[entry.id])
                    try:
                        self.ask("port", sources, **fields)
                    finally:
                        for source in sources:
                            source.close()

    def _release(self, sink: UserspaceSink) -> list[int]:
        """Numbers of the stages that nobody uses any more."""
        forgotten = []
        for name, shared in sink.shared.items():
            del shared.joined[sink.number]
            if not shared.joined:
                forgotten.append(shared.number)
                if self._stages.get(name) is shared:
                    del self._stages[name]
        return forgotten


class UserspaceSink:
    """One side of an interface: a veth pair, and its classes in the worker.

    :ivar pair: its devices, once they are made. :ivar shared: this side's stages as they are in the worker, by id.
    """

    def __init__(
        self, engine: UserspaceEngine, number: int, classes: tuple[Class, ...], stages: dict[str, Stage]
    ) -> None:
        self.number = number
        self.pair = pair.NONE
        self.classes = classes
        self.stages = stages
        self.shared: dict[str, Shared] = {}
        self._engine = engine
        self._whole: bool | None = None
        self._left: list[Ending] | None = None

    def redirect(self, class_id: str) -> int:  # noqa: ARG002
        """Index of the device that all classes are redirected to; the worker tells them apart again."""
        return self.pair.near_index

    def hold(self, stage_id: str, impairment: Impairment) -> None:
        """Change a stage's parameters in place; packets that wait keep their due times and are not overtaken.

        :raises OSError: if the worker is gone or refuses; the stage then holds what it held before.
        """
        shared = self.shared[stage_id]
        before = shared.told
        others = [entry.told for entry in self.shared.values() if entry is not shared]
        self.shape((*others, before, impairment))
        self._engine.ask("hold", stage=shared.number, impairment=self._engine.encoded(impairment))
        shared.told = impairment
        self.shape((*others, impairment))

    def fits(self, classes: Sequence[Class], stages: Mapping[str, Stage]) -> bool:
        """Whether these are the same classes, and their stages go on with the same seed."""
        return tuple(classes) == self.classes and all(
            stages[name].seed == stage.seed for name, stage in self.stages.items()
        )

    def read(self) -> dict[str, StageObserved]:
        """Each stage as the worker's own objects say; what was lost on the way to the worker is lost to each of them.

        :raises OSError: if the worker is gone, or the devices are gone or down.
        """
        seen = self._engine.ask("read", stages=[shared.number for shared in self.shared.values()])
        unsent = self.pair.unsent(self._engine.netlink)
        found = {name: self._observed(shared, seen[str(shared.number)]) for name, shared in self.shared.items()}
        return {name: replace(stage, lost=stage.lost + unsent) for name, stage in found.items()}

    def packets(self) -> dict[str, int]:
        """Packets of each class that the worker has read, probes left out.

        :raises OSError: if the worker is gone.
        """
        return dict(self._engine.ask("packets", sink=self.number))

    def backlog(self) -> int:
        """Packets that wait; those not yet read from a socket count as one.

        :raises OSError: if the worker is gone.
        """
        return int(self._engine.ask("backlog", sink=self.number))

    def watch(self) -> int | None:
        """A descriptor that becomes readable when the worker dies."""
        return self._engine.process.descriptor if self._engine.process else None

    def close(self) -> None:
        """Begin to remove the devices, packets that wait with them; what is gone already is no error."""
        if self._left is None:
            worker = self._engine.drop(self)
            self._left = [] if worker is None else [worker]
            if self.pair is not pair.NONE:
                removal = Removal(self._engine.netlink, self.pair.near_index)
                self._engine.endings.add(removal)
                self._left.append(removal)

    def gone(self) -> bool:
        """Whether the devices are gone, and the worker where it went with them."""
        return all(ending.over() for ending in self._left or ())

    def shape(self, impairments: Any) -> None:
        """Let superpackets pass whole exactly where every stage allows it.

        :raises OSError: if the kernel refuses.
        """
        whole = not any(cuts(impairment) for impairment in impairments)
        if whole != self._whole:
            self.pair.cut(self._engine.netlink, packets=not whole)
            self._whole = whole

    def _observed(self, shared: Shared, seen: dict[str, Any]) -> StageObserved:
        delay_table, slot_table = (self._table(digest) for digest in seen.pop("tables"))
        held: Impairment = IMPAIRMENT.decode(seen.pop("held"))
        held = replace(held, table=delay_table, slot=replace(held.slot, table=slot_table))
        return StageObserved(held, **(seen | shared.share(self.number, seen)))

    def _table(self, digest: str | None) -> Table | None:
        return self._engine.tables.get(digest, Table(f"unknown {digest}", ()))


def _closed(worker: Process, sink: int, stages: Sequence[int]) -> bool:
    """Let a worker drop what it holds of a sink; whether it says that it did: a dead one holds nothing."""
    with suppress(OSError):
        if worker.hung:  # it is not waited for again
            worker.tell("close", sink=sink, stages=stages)
            return False
        worker.ask("close", sink=sink, stages=stages)
        return True
    return False


def _programs(classes: Sequence[Class], stages: Mapping[str, Stage]) -> dict[str, bytes | None]:
    """By class, what its socket accepts; None where there is but one class to tell.

    :raises ImpairmentError: if they are too many.
    """
    met = [(at, entry) for at, entry in enumerate(classes) if entry.stages]
    if len(met) == 1:
        return {met[0][1].id: None}
    try:
        return {entry.id: select(classes, at).code for at, entry in met}
    except TooLarge as error:
        raise _refused("classes", str(error), stages) from None


def _refused(what: str, why: str, stages: Mapping[str, Stage]) -> ImpairmentError:
    profiles = ", ".join(dict.fromkeys(stage.profile for stage in stages.values()))
    return ImpairmentError("", (Problem(what, "", why, f"take another engine, or change {profiles}"),))
