"""Impairments to netem's options and back, with pyroute2 as independent reader of the fields that it knows."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_k8s_netem.agent.dataplane import netem
from pytest_k8s_netem.agent.dataplane.attributes import by_type
from pytest_k8s_netem.judge.rounding import differences
from pytest_k8s_netem.model.impairment import (
    NONE,
    Bernoulli,
    EveryNth,
    FourState,
    GilbertElliott,
    Impairment,
    Rate,
    Slot,
)
from pytest_k8s_netem.model.tables import Table

SHARE = st.floats(0, 1)
TIME = st.integers(0, 600 * 10**9)
CHANCE = st.builds(Bernoulli, SHARE, SHARE)
TABLE = Table("steps", tuple(range(-8192, 8192, 64)))
SLOTS = st.one_of(
    st.just(Slot()),
    st.builds(Slot, TIME, TIME, st.integers(0, 2**31 - 2), st.integers(0, 2**31 - 2)),
    st.builds(lambda d, j: Slot(delay=d, jitter=j, table=TABLE), st.integers(1, 10**9), st.integers(0, 10**9)),
)
IMPAIRMENTS = st.builds(
    Impairment,
    delay=TIME,
    jitter=st.integers(0, 2**31 - 1),
    delay_corr=SHARE,
    table=st.sampled_from([None, TABLE]),
    loss=st.one_of(
        CHANCE,
        st.builds(GilbertElliott, SHARE, SHARE, SHARE, SHARE),
        st.builds(FourState, SHARE, SHARE, SHARE, SHARE, SHARE),
    ),
    duplicate=CHANCE,
    corrupt=CHANCE,
    reorder=CHANCE,
    gap=st.integers(0, 1000),
    rate=st.builds(
        Rate,
        st.integers(1, 10**11).map(lambda octets: octets * 8),
        st.integers(-100, 100),
        st.integers(0, 1000),
        st.integers(-100, 100),
    ),
    slot=SLOTS,
    limit=st.integers(1, 10**6),
    ecn=st.booleans(),
)


def fixed(p: float) -> int:
    return max(round(p * (2**32 - 1)), p > 0)


@settings(max_examples=50, deadline=None)
@given(IMPAIRMENTS, st.one_of(st.none(), st.integers(0, 2**64 - 1)))
def test_what_is_written_is_read(impairment: Impairment, seed: int | None) -> None:
    assert differences(impairment, netem.decode(netem.encode(impairment, seed), impairment)) == []


@settings(max_examples=50, deadline=None)
@given(IMPAIRMENTS, IMPAIRMENTS)
def test_what_was_sent_never_hides_what_is_held(sent: Impairment, held: Impairment) -> None:
    found = replace(netem.decode(netem.encode(held), sent), table=held.table)
    found = replace(found, slot=replace(found.slot, table=held.slot.table))
    meant = [entry for entry in differences(held, found) if entry[0] != "gap" or held.reorder]
    assert [name for name, _, _ in meant if name != "slot.jitter" or held.slot.jitter > 1] == []


@settings(max_examples=50, deadline=None)
@given(IMPAIRMENTS)
def test_every_message_is_complete(impairment: Impairment) -> None:
    """netem keeps what a change does not mention."""
    present = set(by_type(netem.encode(impairment)[24:]))
    assert {1, 3, 4, 6, 7, 10, 11, 12} <= present


def test_nothing_is_said_as_zeros() -> None:
    options = netem.encode(NONE)
    assert struct.unpack("=6I", options[:24]) == (0, 0x7FFFFFFF, 0, 0, 0, 0)
    assert not any(any(payload) for payload in by_type(options[24:]).values())
    assert netem.decode(options, NONE) == NONE


@settings(max_examples=50, deadline=None)
@given(IMPAIRMENTS)
def test_pyroute2_reads_the_same(impairment: Impairment) -> None:
    from pyroute2.netlink.rtnl.tcmsg import sched_netem

    packed = netem.encode(impairment)
    message = sched_netem.options(struct.pack("=HH", len(packed) + 4, 2) + packed)
    message.decode()
    assert message["limit"] == impairment.limit
    assert message["duplicate"] == fixed(impairment.duplicate.p)
    assert message["delay"] == min(impairment.delay >> 6, 2**32 - 1)
    assert message["jitter"] == impairment.jitter >> 6
    correlations = message.get_attr("TCA_NETEM_CORR")
    assert correlations["delay_corr"] == fixed(impairment.delay_corr)
    assert correlations["dup_corr"] == fixed(impairment.duplicate.correlation)
    for name, chance in (("REORDER", impairment.reorder), ("CORRUPT", impairment.corrupt)):
        pair = message.get_attr(f"TCA_NETEM_{name}")
        assert [pair[f"prob_{name.lower()}"], pair[f"corr_{name.lower()}"]] == [
            fixed(chance.p),
            fixed(chance.correlation),
        ]


def test_uniform_jitter_after_a_table_is_sent_as_a_table() -> None:
    plain = by_type(netem.encode(Impairment(jitter=5))[24:])
    after = by_type(netem.encode(Impairment(jitter=5), tables=True)[24:])
    assert 2 not in plain
    values = struct.unpack(f"={len(after[2]) // 2}h", after[2])
    assert (min(values), max(values)) == (-8192, 8190)
    assert len(values) <= 16384


def test_every_nth_is_refused() -> None:
    with pytest.raises(ValueError, match="n-th"):
        netem.encode(Impairment(loss=EveryNth(3)))
