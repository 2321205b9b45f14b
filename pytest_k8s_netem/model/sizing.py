"""How long a queue must be, where nobody said: ``limit`` of an impairment."""

from __future__ import annotations

import math
from dataclasses import replace

from pytest_k8s_netem.model.impairment import MILLISECOND, SECOND, Impairment

FLOOR = 1000
"""Packets a queue holds at least where there is no rate; tc's own default."""
PACKETS_PER_SECOND = 1_000_000
"""Traffic that a queue without a rate is sized for: more than a core sends in bursts, so that a delay loses none."""
HIGHEST = 1_000_000
"""Most packets a queue is sized for; 1 s at :data:`PACKETS_PER_SECOND`."""
MARGIN = 1.5
FRAME, MIDDLING = 1500, 500
"""Bytes of a full packet, and of a packet in a mix of data and acknowledgements."""
STANDING = 250 * MILLISECOND
"""Time that full packets may wait for a slow link: long enough for TCP to fill it, short of seconds of bufferbloat."""
STANDING_FLOOR = 32
"""Fewest packets that may wait for a slow link: three initial TCP windows (RFC 6928)."""


def sized(impairment: Impairment) -> Impairment:
    """The impairment with a ``limit``; one that was given stays.

    ``limit`` counts packets that are delayed *and* packets that wait for the link:

    - without ``rate``: ceil(1,000,000/s x (delay + 4 jitter) x 1.5), at least 1000;
    - with ``rate``: packets of 500 bytes under way, likewise, and those of 1500 bytes that wait 250 ms (at least 32).
    """
    if impairment.limit:
        return impairment
    span = _span(impairment) / SECOND
    if not impairment.rate:
        limit = max(FLOOR, math.ceil(PACKETS_PER_SECOND * span * MARGIN))
    else:
        byte_rate = impairment.rate.bits / 8
        waiting = max(STANDING_FLOOR, math.ceil(byte_rate / FRAME * STANDING / SECOND))
        limit = math.ceil(min(byte_rate / MIDDLING, PACKETS_PER_SECOND) * span * MARGIN) + waiting
    return replace(impairment, limit=min(limit, HIGHEST))


def _span(impairment: Impairment) -> int:
    """Longest that nearly all packets are held by delay and slots, ns."""
    slot = impairment.slot
    return impairment.delay + 4 * impairment.jitter + max(slot.max_delay, slot.delay + 4 * slot.jitter)
