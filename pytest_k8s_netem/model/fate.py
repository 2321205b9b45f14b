"""What happens to a packet: netem's decisions as a pure function of parameters, seed and arrivals.

The order is that of ``netem_enqueue`` in net/sched/sch_netem.c: duplicate, loss, corrupt, limit, reorder, delay, rate;
then slots. A duplicate passes everything but duplication again, before the original goes on. Where the kernel's result
depends on a detail of its clockwork, the words of tc-netem(8) hold:

- correlated *delays* keep the distribution that was asked for (the kernel reduces a correlated number by a remainder,
  which keeps the distribution too but loses the correlation); see :class:`_Jitter`;
- the queue is what is under way at the packet's *arrival*, not what a scheduler has not yet come round to send.
"""

from __future__ import annotations

import math
import random
from collections import deque
from functools import partial
from heapq import heappop, heappush

from pytest_k8s_netem.model.impairment import SECOND, Bernoulli, EveryNth, FourState, GilbertElliott
from pytest_k8s_netem.model.tables import SCALE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_k8s_netem.model.impairment import Impairment, Loss, Rate, Slot
    from pytest_k8s_netem.model.tables import Table

    _Uniform = Callable[[], float]

Copy = tuple[int, bool, bool]
"""A packet that goes on: when it is due (ns, on the clock of the arrival), whether a bit of it is to be flipped,
whether it is to be marked Congestion Experienced."""


class Fate:
    """The state of one stage: queue, rate and randomness.

    :ivar impairment: what it holds now. :ivar weighs: whether a packet's size matters. :ivar marks: whether ECN does.
    :ivar passed: copies that went on. :ivar dropped: packets of which none did, and second copies that were lost.
    :ivar delayed: copies due after their arrival. :ivar duplicated: second copies that went on.
    :ivar corrupted: copies to be corrupted. :ivar reordered: copies due before one that came earlier.
    """

    __slots__ = (
        "_corrupt",
        "_counter",
        "_delay",
        "_dequeue",
        "_dues",
        "_duplicate",
        "_enqueue",
        "_floor",
        "_gap",
        "_jitter",
        "_last",
        "_limit",
        "_lost",
        "_ordered",
        "_plain",
        "_rate",
        "_reorder",
        "_slots",
        "_slotted",
        "_uniform",
        "corrupted",
        "delayed",
        "dropped",
        "duplicated",
        "impairment",
        "marks",
        "passed",
        "reordered",
        "weighs",
    )

    def __init__(self, impairment: Impairment, seed: int) -> None:
        self._uniform: _Uniform = random.Random(seed).random
        self._duplicate, self._corrupt, self._reorder = (_Chance(self._uniform) for _ in range(3))
        self._lost = _Loss(self._uniform)
        self._jitter = _Jitter(self._uniform)
        self._slots = _Slots(self._uniform)
        self._counter = 0
        self._dues: deque[int] | list[int] = deque()
        self._enqueue: Callable[[int], None]
        self._dequeue: Callable[[], int]
        self._last = self._floor = 0
        self.reset_counters()
        self.hold(impairment)

    def reset_counters(self) -> None:
        """Count from zero."""
        self.passed = self.dropped = self.delayed = self.duplicated = self.corrupted = self.reordered = 0

    def hold(self, impairment: Impairment) -> None:
        """Change the parameters; queue, correlation memory and randomness go on.

        Packets under way keep their due times, and none that comes later overtakes them because of the change.
        """
        self.impairment = impairment
        self._delay, self._limit = impairment.delay, impairment.limit or math.inf
        self._floor = self._last
        self._duplicate.hold(impairment.duplicate)
        self._corrupt.hold(impairment.corrupt)
        self._reorder.hold(impairment.reorder)
        self._lost.hold(impairment.loss)
        self._jitter.hold(impairment.delay, impairment.jitter, impairment.table, impairment.delay_corr)
        self._slots.hold(impairment.slot)
        self._queue_as(in_order=impairment.ordered or not impairment.jitter)
        self._rate, self._slotted = impairment.rate or None, bool(impairment.slot)
        self._gap, self._ordered = (impairment.gap or 1) * bool(impairment.reorder), impairment.ordered
        self.weighs, self.marks = self._rate is not None or self._slotted, impairment.ecn
        self._plain = not (
            impairment.counts_packets or impairment.jitter or impairment.rate or impairment.slot or impairment.loss
        )

    def decide(self, arrival: int, size: int, ecn_capable: bool = False) -> tuple[Copy, ...]:
        """What becomes of a packet of ``size`` bytes that arrives at ``arrival`` (ns); () = dropped.

        Arrivals are expected in order of time; one that is a little late is taken as it comes.
        """
        if self._plain:
            return self._delayed(arrival)
        return self._decided(arrival, size, ecn_capable, twice=self._duplicate.happens())

    def flip(self, frame: bytearray, start: int) -> None:
        """Flip one random bit of ``frame`` behind its first ``start`` bytes."""
        if len(frame) > start:
            bit = int(self._uniform() * (len(frame) - start) * 8)
            frame[start + (bit >> 3)] ^= 1 << (bit & 7)

    def _delayed(self, arrival: int) -> tuple[Copy, ...]:
        """The short way of a constant delay."""
        due = arrival + self._delay
        due = due if due > self._floor else self._floor
        if due > arrival:
            if self._under_way(arrival) >= self._limit:
                self.dropped += 1
                return ()
            self._enqueue(due)
            self.delayed += 1
        self._last = due if due > self._last else self._last
        self.passed += 1
        return ((due, False, False),)

    def _decided(self, arrival: int, size: int, ecn_capable: bool, twice: bool, mark: bool = False) -> tuple[Copy, ...]:
        if self._lost.happens():
            if self.impairment.ecn and ecn_capable:
                mark = True
            elif twice:
                twice = False  # netem: one of the two is lost
            else:
                self.dropped += 1
                return ()
        corrupt = self._corrupt.happens()
        if self._under_way(arrival) >= self._limit:
            self.dropped += 1
            return ()
        second: tuple[Copy, ...] = ()
        if twice:
            second = self._decided(arrival, size, ecn_capable, False, mark)
            self.duplicated += len(second)
        due = self._due(arrival, size)
        self._count(arrival, due, corrupt)
        return ((due, corrupt, mark), *second)

    def _due(self, arrival: int, size: int) -> int:
        if self._jumps():
            return arrival
        due = arrival + max(self._jitter.draw(), 0)
        if self._rate is not None:
            # The last packet under way is where the link gets free; its wait counts against this packet's delay.
            due = max(due, self._last if self._last > arrival else 0) + packet_time(size, self._rate)
        if due < self._floor or (self._ordered and due < self._last):
            due = self._last if self._ordered else self._floor
        return self._slots.due(arrival, due, size) if self._slotted else due

    def _jumps(self) -> bool:
        """Whether the packet goes to the head of the queue (``reorder``): a candidate is each ``gap``-th."""
        if not self._gap:
            return False
        if self._counter < self._gap - 1 or not self._reorder.happens():
            self._counter += 1
            return False
        self._counter = 0
        return True

    def _count(self, arrival: int, due: int, corrupt: bool) -> None:
        self.passed += 1
        self.corrupted += corrupt
        if due > arrival:
            self._enqueue(due)
            self.delayed += 1
        if due < self._last:
            self.reordered += 1
        else:
            self._last = due

    def _queue_as(self, in_order: bool) -> None:
        """Keep dues of packets under way in a deque while they ascend, else in a heap."""
        if in_order:
            ascending = deque(sorted(self._dues))
            self._dues, self._enqueue, self._dequeue = ascending, ascending.append, ascending.popleft
        else:
            heap = sorted(self._dues)
            self._dues, self._enqueue, self._dequeue = heap, partial(heappush, heap), partial(heappop, heap)

    def _under_way(self, arrival: int) -> int:
        """Packets in the queue as of ``arrival``."""
        dues, dequeue = self._dues, self._dequeue
        while dues and dues[0] <= arrival:
            dequeue()
        return len(dues)


def packet_time(size: int, rate: Rate) -> int:
    """Nanoseconds that ``size`` bytes take on a link, as ``packet_time_ns`` of sch_netem.c computes it."""
    size = max(size + rate.packet_overhead, 0)
    if rate.cell_size:
        size = -(-size // rate.cell_size) * (rate.cell_size + rate.cell_overhead)
    return size * 8 * SECOND // rate.bits


class _Chance:
    """Something that befalls a packet with a probability, correlated as ``get_crandom`` of sch_netem.c has it.

    Each number is (1 - rho) of a fresh one plus rho of the number before: correlated, but less spread than uniform, so
    that small probabilities become smaller still.
    """

    __slots__ = ("_last", "_p", "_rho", "_uniform")

    def __init__(self, uniform: _Uniform) -> None:
        self._uniform = uniform
        self._last = uniform()
        self._p = self._rho = 0.0

    def hold(self, chance: Bernoulli) -> None:
        self._p, self._rho = chance.p, chance.correlation

    def happens(self) -> bool:
        if not self._p:
            return False
        if not self._rho:
            return self._uniform() < self._p
        self._last = self._uniform() * (1 - self._rho) + self._last * self._rho
        return self._last < self._p or self._p >= 1


class _Loss:
    """The loss models; a chain keeps its state when its parameters change."""

    __slots__ = ("_chain", "_chance", "_counter", "_kind", "_n", "_state", "_uniform", "happens")

    def __init__(self, uniform: _Uniform) -> None:
        self._uniform = uniform
        self._chance = _Chance(uniform)
        self._kind: type[Loss] = Bernoulli
        self._chain: tuple[float, ...] = ()
        self._state = 1
        self._counter = self._n = 0
        self.happens: Callable[[], bool] = self._chance.happens

    def hold(self, model: Loss) -> None:
        if type(model) is not self._kind:
            self._kind, self._state, self._counter = type(model), 1, 0
        if isinstance(model, GilbertElliott):
            self._chain, self.happens = (model.p, model.r, model.good_loss, model.bad_loss), self._gilbert_elliott
        elif isinstance(model, FourState):
            self._chain = (model.p13, model.p31, model.p32, model.p23, model.p14)
            self.happens = self._four_state
        elif isinstance(model, EveryNth):
            self._n, self.happens = model.n, self._every_nth
        else:
            self._chance.hold(model)
            self.happens = self._chance.happens

    def _gilbert_elliott(self) -> bool:
        """``loss_gilb_ell``: the chain moves first, the loss is that of the state it was in. States 1 good, 2 bad."""
        p, r, good_loss, bad_loss = self._chain
        leaves, lost = (p, good_loss) if self._state == 1 else (r, bad_loss)
        if self._uniform() < leaves:
            self._state = 3 - self._state
        return self._uniform() < lost

    def _four_state(self) -> bool:
        """``loss_4state``: the packet meets the state that the chain moves to, 3 and 4 are losses."""
        p13, p31, p32, p23, p14 = self._chain
        u = self._uniform()
        if self._state == 1:
            self._state = 4 if u < p14 else 3 if u < p14 + p13 else 1
        elif self._state == 2:
            self._state = 3 if u < p23 else 2
        elif self._state == 3:
            self._state = 2 if u < p32 else 1 if u < p32 + p31 else 3
        else:
            self._state = 1
        return self._state >= 3

    def _every_nth(self) -> bool:
        self._counter += 1
        if self._counter < self._n or not self._n:
            return False
        self._counter = 0
        return True


class _Jitter:
    """Delays of a distribution, and their correlation.

    Correlated draws are quantiles of a Gaussian autoregression of first order,
    z' = rho z + sqrt(1 - rho^2) g, u = Phi(z'). So the distribution is the one asked for at any correlation,
    and each draw depends on the one before as told.
    """

    __slots__ = ("_delay", "_gauss", "_jitter", "_rho", "_uniform", "_values", "_z")

    def __init__(self, uniform: _Uniform) -> None:
        self._uniform = uniform
        self._z: float | None = None
        self._delay = self._jitter = 0
        self._rho = 0.0
        self._values: tuple[int, ...] | None = None

    def hold(self, delay: int, jitter: int, table: Table | None, rho: float = 0.0) -> None:
        self._delay, self._jitter, self._rho = delay, jitter, rho
        self._values = table.values if table else None

    def draw(self) -> int:
        """ns, perhaps below zero; ``tabledist`` of sch_netem.c."""
        if not self._jitter:
            return self._delay
        u = self._correlated() if self._rho else self._uniform()
        if self._values is None:
            return self._delay + int((2 * u - 1) * self._jitter)
        return self._delay + self._jitter * self._values[int(u * len(self._values))] // SCALE

    def _correlated(self) -> float:
        # Box and Muller: a normal number from two uniform ones.
        g = math.sqrt(-2 * math.log(1 - self._uniform())) * math.cos(math.tau * self._uniform())
        self._z = g if self._z is None else self._rho * self._z + math.sqrt(1 - self._rho * self._rho) * g
        return min(0.5 * math.erfc(-self._z / math.sqrt(2)), 1 - 2**-53)


class _Slots:
    """Bursts: a packet waits for the slot that opens after it is due; a slot that is full ends."""

    __slots__ = ("_bytes", "_draw", "_longest", "_open", "_packets", "_slot", "_uniform")

    def __init__(self, uniform: _Uniform) -> None:
        self._uniform = uniform
        self._draw = _Jitter(uniform)
        self._open: int | None = None
        self._packets = self._bytes = math.inf

    def hold(self, slot: Slot) -> None:
        self._slot = slot
        self._draw.hold(slot.delay, slot.jitter, slot.table)
        self._longest = slot.delay + 4 * slot.jitter if slot.delay else slot.max_delay
        if not slot:
            self._open = None

    def due(self, arrival: int, due: int, size: int) -> int:
        """When the packet leaves, ``due`` or later."""
        if self._open is None:
            self._begin(arrival)
        at = self._open or 0
        if at < due:
            at = max(at, due - 2 * self._longest)
            while at < due:
                at += self._step()
            self._begin(at)
        self._packets -= 1
        self._bytes -= size
        if self._packets <= 0 or self._bytes <= 0:
            self._begin(at + self._step())
        return at

    def _begin(self, at: int) -> None:
        self._open = at
        self._packets, self._bytes = self._slot.packets or math.inf, self._slot.bytes or math.inf

    def _step(self) -> int:
        if self._slot.delay:
            return max(self._draw.draw(), 1)
        spread = self._slot.max_delay - self._slot.min_delay
        return max(self._slot.min_delay + int(self._uniform() * spread), 1)
