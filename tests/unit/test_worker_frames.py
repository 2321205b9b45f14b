"""Frames that are too long for the user-space worker are told, never lost in silence."""

from __future__ import annotations

import socket
import sys

import pytest

from pytest_k8s_netem.agent.dataplane.sockets import FRAME
from pytest_k8s_netem.agent.dataplane.worker import Port, Stage, Worker
from pytest_k8s_netem.model.impairment import MILLISECOND, Impairment


@pytest.mark.needs("linux")
def test_a_frame_that_is_too_long_is_dropped_counted_and_told():
    control, _agent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    source, stack = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    target, wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with control, _agent, source, stack, target, wire:
        stage = Stage(Impairment(delay=MILLISECOND, limit=10), seed=1)
        port = Port(1, "class", (stage,), source, target)
        for size in (FRAME, FRAME + 1):
            stack.send(bytes(size))
        worker = Worker(control)
        worker._next_count = sys.maxsize  # these are no packet sockets, which count what they lose
        worker._read(port)
        seen = stage.read()
    assert (seen["delayed"], seen["dropped"], seen["lost"], seen["lagged"]) == (1, 0, 1, 0)
    assert port.packets == 2
