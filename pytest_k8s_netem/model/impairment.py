"""What happens to a packet: the complete parameters of one impairment, independent of engine and direction."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.tables import Table

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """Each packet independently with probability ``p``; ``correlation`` with the packet before as netem defines it."""

    p: float = 0.0
    correlation: float = 0.0

    def __bool__(self) -> bool:
        return self.p > 0

    @property
    def mean(self) -> float:
        """Long-run share of packets affected."""
        return self.p


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Two-state bursty loss.

    :ivar p: probability good -> bad, per packet.
    :ivar r: probability bad -> good, per packet.
    :ivar bad_loss: share lost in the bad state (``1-h`` of tc-netem(8)).
    :ivar good_loss: share lost in the good state (``1-k`` of tc-netem(8)).
    """

    p: float
    r: float
    bad_loss: float = 1.0
    good_loss: float = 0.0

    def __bool__(self) -> bool:
        return self.mean > 0

    @property
    def mean(self) -> float:
        """Long-run share lost: the stationary distribution p/(p+r) of a two-state Markov chain."""
        if self.p + self.r == 0:
            return self.good_loss
        return (self.p * self.bad_loss + self.r * self.good_loss) / (self.p + self.r)


@dataclass(frozen=True, slots=True)
class FourState:
    """Four-state Markov loss, tc-netem(8) ``loss state``; states 2 and 4 as numbered there.

    1 good reception, 2 good reception within a burst, 3 burst losses, 4 independent losses.
    """

    p13: float
    p31: float
    p32: float
    p23: float
    p14: float

    def __bool__(self) -> bool:
        return self.p13 > 0 or self.p14 > 0

    @property
    def mean(self) -> float:
        """Long-run share lost: stationary weight of states 3 and 4 (balance equations of the chain).

        State 4 returns to 1 at once; 1->3, 1->4, 3->1, 3->2, 2->3.
        """
        one = 1.0
        four = self.p14
        three = self.p13 / self.p31 if self.p31 else (1.0 if self.p13 else 0.0)
        if self.p13 and not self.p31:
            one, four = 0.0, 0.0
        two = three * self.p32 / self.p23 if self.p23 else 0.0
        if three and self.p32 and not self.p23:
            return 0.0
        total = one + two + three + four
        return (three + four) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class EveryNth:
    """Exactly each ``n``-th packet, counted from the first: deterministic, for tests that need a given victim."""

    n: int

    def __bool__(self) -> bool:
        return self.n > 0

    @property
    def mean(self) -> float:
        """Share lost."""
        return 1 / self.n if self.n else 0.0


Loss = Bernoulli | GilbertElliott | FourState | EveryNth


@dataclass(frozen=True, slots=True)
class Rate:
    """A link's speed; a packet of s bytes takes 8*(s + overhead, in whole cells)/bits seconds, as netem computes it.

    :ivar bits: bit/s; 0 = unlimited.
    :ivar packet_overhead: bytes added to each packet (negative: taken off).
    :ivar cell_size: bytes a cell; 0 = no cells. :ivar cell_overhead: bytes added to each cell.
    """

    bits: int = 0
    packet_overhead: int = 0
    cell_size: int = 0
    cell_overhead: int = 0

    def __bool__(self) -> bool:
        return self.bits > 0


@dataclass(frozen=True, slots=True)
class Slot:
    """Packets leave in bursts, as of a shared medium: tc-netem(8) ``slot``.

    Either the time between slots is uniform in ``min_delay``..``max_delay``, or ``table`` is set and it is
    ``delay`` +- ``jitter`` of that distribution. ns; ``packets`` and ``bytes``: most a slot, 0 = unlimited.
    """

    min_delay: int = 0
    max_delay: int = 0
    packets: int = 0
    bytes: int = 0
    delay: int = 0
    jitter: int = 0
    table: Table | None = None

    def __bool__(self) -> bool:
        return bool(self.min_delay or self.max_delay or self.delay)


@dataclass(frozen=True, slots=True)
class Impairment:
    """Everything that happens to a packet of one stage; the default is the identity.

    :ivar delay: ns. :ivar jitter: ns; half-width (uniform) or sigma (``table``). :ivar delay_corr: 0..1.
    :ivar table: distribution of the jitter; None = uniform.
    :ivar gap: with ``reorder``, every ``gap``-th packet is a candidate to overtake (netem's default 1).
    :ivar limit: packets the queue holds; 0 = not yet sized (resolve does it, plans never carry 0).
    :ivar ecn: mark instead of drop where the packet is ECN-capable. :ivar ordered: jitter never reorders.
    """

    delay: int = 0
    jitter: int = 0
    delay_corr: float = 0.0
    table: Table | None = None
    loss: Loss = Bernoulli()
    duplicate: Bernoulli = Bernoulli()
    corrupt: Bernoulli = Bernoulli()
    reorder: Bernoulli = Bernoulli()
    gap: int = 0
    rate: Rate = Rate()
    slot: Slot = Slot()
    limit: int = 0
    ecn: bool = False
    ordered: bool = False

    @property
    def counts_packets(self) -> bool:
        """Whether it acts on packets by number, so that a GSO superpacket must be cut before it."""
        return bool(self.loss or self.duplicate or self.corrupt or self.reorder or self.slot.packets)

    @property
    def stateless(self) -> bool:
        """Whether a copy beside the original acts as one: no queue, no order, no memory between packets."""
        return not (
            self.rate
            or self.slot
            or self.jitter
            or self.reorder
            or self.loss.__class__ is not Bernoulli
            or any(chance.correlation for chance in (self.loss, self.duplicate, self.corrupt))
        )

    @property
    def identity(self) -> bool:
        """Whether a packet leaves as it came."""
        return replace(self, limit=0, ecn=False, ordered=False) == NONE

    def changed_fields(self) -> tuple[str, ...]:
        """The names of the fields that differ from :data:`NONE`, in order of declaration."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(NONE, f.name))


NONE = Impairment()
