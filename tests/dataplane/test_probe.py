"""One check's packets, sent by this process over the loopback."""

from __future__ import annotations

import time

import pytest

from pytest_k8s_netem.agent.probe.exchange import Exchange
from pytest_k8s_netem.model.impairment import MILLISECOND, SECOND
from pytest_k8s_netem.model.plan import Check

pytestmark = pytest.mark.needs("root")

PAUSE = 20 * MILLISECOND


def answered(check: Check) -> list[int]:
    """Round trips where the sender is held up for :data:`PAUSE` behind each packet."""
    exchange = Exchange(check, time.monotonic_ns())
    assert exchange.sock
    with exchange.sock:
        for _ in range(check.count):
            exchange.send()
            time.sleep(PAUSE / SECOND)
        end = time.monotonic() + 20
        while exchange.result.answered < check.count:
            assert time.monotonic() < end, exchange.result
            exchange.receive()
    return sorted(exchange.result.rtts)


def test_a_train_is_timed_by_its_answers() -> None:
    """What holds its sender up is not taken for a faster link: a rate is measured by how far the answers lie apart."""
    rtts = answered(Check("train", "", "", "icmp", "127.0.0.1", count=5, timeout=SECOND))
    assert rtts[-1] - rtts[0] >= 4 * PAUSE


def test_packets_apart_are_timed_one_by_one() -> None:
    rtts = answered(Check("apart", "", "", "icmp", "::1", count=5, interval=1, timeout=SECOND))
    assert rtts[0] < 4 * PAUSE
