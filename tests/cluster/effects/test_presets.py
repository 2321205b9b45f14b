"""Presets: each side's delay at the peer, and what tc reads where the kernel does it."""

from __future__ import annotations

import pytest
from bounds import EARLY, LATE
from road import Road

from pytest_k8s_netem.profile.presets import PRESETS
from pytest_k8s_netem.profile.units import parse_duration, parse_rate

FRAME = 106
"""Bytes of a datagram of 64 bytes on the wire."""


@pytest.mark.parametrize("name", PRESETS)
def test_both_sides(road: Road, name: str) -> None:
    sides = {"egress": PRESETS[name].up, "ingress": PRESETS[name].down}
    with road.impair(preset=name, to="app=right"):
        for direction, words in sides.items():
            delay, jitter = (parse_duration(words.get(word, "0ms")) / 1e6 for word in ("delay", "jitter"))
            wire = FRAME * 8 * 1000 / parse_rate(words["rate"]) if "rate" in words else 0
            flow = road.flow(15, direction=direction, pause=(1 + 1.2 * wire) / 1000, quiet=0.3 + delay / 1000)
            middle = sorted(flow.delays)[len(flow.delays) // 2]
            assert delay - jitter + wire - EARLY <= middle <= delay + jitter + 2 * wire + LATE
        if road.engine == "kernel":
            held = sorted(options["delay"]["delay"] for options in road.netems() if "delay" in options)
            asked = sorted(parse_duration(words["delay"]) / 1e9 for words in sides.values())
            assert held == pytest.approx(asked, abs=2e-6), "tc cuts to whole microseconds"
