"""Impairments as sch_netem's options, and back (linux/pkt_sched.h, net/sched/sch_netem.c).

A message always carries every attribute, explicit zeros included, because netem keeps what a change does not mention.
"""

from __future__ import annotations

import array
import struct

from pytest_k8s_netem.agent.dataplane.attributes import attribute, by_type, nested, number, u32
from pytest_k8s_netem.model.impairment import Bernoulli, EveryNth, FourState, GilbertElliott, Impairment, Rate, Slot
from pytest_k8s_netem.model.tables import SCALE, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.impairment import Loss

_QOPT = struct.Struct("=IIIIII")  # struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter
_CORR, _DELAY_DIST, _REORDER, _CORRUPT, _LOSS, _RATE, _ECN, _RATE64 = range(1, 9)
_LATENCY64, _JITTER64, _SLOT, _SLOT_DIST, _PRNG_SEED = range(10, 15)
_LOSS_GI, _LOSS_GE = 1, 2
_RATE_FORMAT, _SLOT_FORMAT = struct.Struct("=IiIi"), struct.Struct("=qqiiqq")

_ONE = 0xFFFFFFFF
"""Probability 1 in netem's fixed point; also the most its 32-bit fields hold."""
_NO_LIMIT = 0x7FFFFFFF
"""Sent for a limit of 0, which netem would take as room for no packet at all."""

UNIFORM = Table("uniform", tuple(range(-SCALE, SCALE, 2)))
"""Uniform jitter as a table: takes the place of one that was sent before, since netem cannot be told to forget it."""


def encode(impairment: Impairment, seed: int | None = None, *, tables: bool = False) -> bytes:
    """TCA_OPTIONS for netem.

    :param seed: of the random state, ignored by kernels before 6.6. It starts anew with each message.
    :param tables: whether a distribution may have been sent to this qdisc before.
    :raises ValueError: for :class:`EveryNth`, which netem has not.
    """
    loss = impairment.loss
    if isinstance(loss, EveryNth):
        raise ValueError("netem cannot drop every n-th packet")
    random = loss if isinstance(loss, Bernoulli) else Bernoulli()
    ticks = (min(ns >> 6, _ONE) for ns in (impairment.delay, impairment.jitter))  # PSCHED_SHIFT of net/pkt_sched.h
    parts = [
        _QOPT.pack(
            next(ticks),
            impairment.limit or _NO_LIMIT,
            _share(random.p),
            _gap(impairment),
            _share(impairment.duplicate.p),
            next(ticks),
        ),
        _shares(_CORR, impairment.delay_corr, random.correlation, impairment.duplicate.correlation),
        _shares(_REORDER, impairment.reorder.p, impairment.reorder.correlation),
        _shares(_CORRUPT, impairment.corrupt.p, impairment.corrupt.correlation),
        u32(_ECN, impairment.ecn),
        attribute(_LATENCY64, struct.pack("=q", impairment.delay)),
        attribute(_JITTER64, struct.pack("=q", impairment.jitter)),
        _encode_rate(impairment.rate),
        _encode_slot(impairment.slot),
        _encode_loss(loss),
    ]
    if table := impairment.table or (UNIFORM if tables else None):
        parts.append(_table(_DELAY_DIST, table))
    if seed is not None:
        parts.append(attribute(_PRNG_SEED, struct.pack("=Q", seed & 0xFFFFFFFFFFFFFFFF)))
    return b"".join(parts)


def decode(options: bytes, sent: Impairment) -> Impairment:
    """What netem says it holds.

    :param sent: where the tables come from, which netem does not tell, and which of two ways to say the same
        (reorder without gap or with a gap of 1) is answered.
    """
    _latency, limit, chance, gap, duplicate, _jitter = _QOPT.unpack_from(options)
    found = by_type(options[_QOPT.size :])
    delay_corr, loss_corr, duplicate_corr = _read_shares(found.get(_CORR, bytes(12)))
    return Impairment(
        delay=_signed(found[_LATENCY64]) if _LATENCY64 in found else _latency << 6,
        jitter=_signed(found[_JITTER64]) if _JITTER64 in found else _jitter << 6,
        delay_corr=delay_corr,
        table=sent.table,
        loss=_decode_loss(found.get(_LOSS, b""), Bernoulli(chance / _ONE, loss_corr)),
        duplicate=Bernoulli(duplicate / _ONE, duplicate_corr),
        corrupt=Bernoulli(*_read_shares(found.get(_CORRUPT, bytes(8)))),
        reorder=Bernoulli(*_read_shares(found.get(_REORDER, bytes(8)))),
        gap=sent.gap if gap == _gap(sent) else gap,
        rate=_decode_rate(found),
        slot=_decode_slot(found.get(_SLOT, bytes(_SLOT_FORMAT.size)), sent.slot),
        limit=0 if limit == _NO_LIMIT else limit,
        ecn=bool(number(found.get(_ECN, b""))),
    )


def _gap(impairment: Impairment) -> int:
    """netem reorders only with a gap, and takes a gap alone as a chance of 1."""
    return (impairment.gap or 1) if impairment.reorder else 0


def _share(p: float) -> int:
    """In fixed point; what is above nothing stays above nothing."""
    return max(round(p * _ONE), 1) if p > 0 else 0


def _shares(kind: int, *shares: float) -> bytes:
    return attribute(kind, struct.pack(f"={len(shares)}I", *map(_share, shares)))


def _read_shares(data: bytes) -> tuple[float, ...]:
    return tuple(value / _ONE for (value,) in struct.iter_unpack("=I", data))


def _signed(data: bytes) -> int:
    value: int = struct.unpack("=q", data)[0]
    return value


def _table(kind: int, table: Table) -> bytes:
    return attribute(kind, array.array("h", table.values).tobytes())


def _encode_rate(rate: Rate) -> bytes:
    octets = max(rate.bits // 8, 1) if rate else 0
    held = attribute(
        _RATE, _RATE_FORMAT.pack(min(octets, _ONE), rate.packet_overhead, rate.cell_size, rate.cell_overhead)
    )
    return held + attribute(_RATE64, struct.pack("=Q", octets)) if octets >= _ONE else held


def _decode_rate(found: dict[int, bytes]) -> Rate:
    octets, overhead, cell_size, cell_overhead = _RATE_FORMAT.unpack(found.get(_RATE, bytes(_RATE_FORMAT.size)))
    return Rate(number(found.get(_RATE64, b""), octets) * 8, overhead, cell_size, cell_overhead)


def _encode_slot(slot: Slot) -> bytes:
    """A distribution of no width still needs a width to be used (get_slot_next of sch_netem.c): one ns."""
    distributed = slot.delay > 0
    packed = _SLOT_FORMAT.pack(
        slot.min_delay,
        slot.max_delay,
        slot.packets,
        slot.bytes,
        slot.delay,
        max(slot.jitter, 1) if distributed else 0,
    )
    if distributed:
        return attribute(_SLOT, packed) + _table(_SLOT_DIST, slot.table or UNIFORM)
    return attribute(_SLOT, packed)


def _decode_slot(data: bytes, sent: Slot) -> Slot:
    min_delay, max_delay, packets, octets, delay, jitter = _SLOT_FORMAT.unpack(data)
    if delay and jitter == 1 and not sent.jitter:
        jitter = 0
    return Slot(min_delay, max_delay, packets, octets, delay, jitter, sent.table)


def _encode_loss(loss: Loss) -> bytes:
    """GI and GE models; the kernel keeps as ``h`` the share *delivered* in the bad state."""
    if isinstance(loss, GilbertElliott):
        return nested(_LOSS, _shares(_LOSS_GE, loss.p, loss.r, 1 - loss.bad_loss, loss.good_loss))
    if isinstance(loss, FourState):
        return nested(_LOSS, _shares(_LOSS_GI, loss.p13, loss.p31, loss.p32, loss.p14, loss.p23))
    return b""


def _decode_loss(data: bytes, random: Bernoulli) -> Loss:
    found = by_type(data)
    if _LOSS_GE in found:
        p, r, delivered, good_loss = _read_shares(found[_LOSS_GE])
        return GilbertElliott(p, r, 1 - delivered, good_loss)
    if _LOSS_GI in found:
        p13, p31, p32, p14, p23 = _read_shares(found[_LOSS_GI])
        return FourState(p13=p13, p31=p31, p32=p32, p23=p23, p14=p14)
    return random
