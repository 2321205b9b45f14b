"""TCP sends superpackets; a share of loss is a share of packets nevertheless."""

from __future__ import annotations

import math
import socket
import threading
import time
from contextlib import closing, suppress

from road import Road, address

P, RTT, MSS = 0.01, 0.010, 1448
SECONDS = 4.0


def test_one_percent_of_loss_is_what_mathis_says(road: Road) -> None:
    """Within 1.5 times of MSS/RTT sqrt(3/2)/sqrt(p) (Mathis, Semke, Mahdavi, Ott, 1997).

    Some 4,000 packets lose 40 +- 6.3, so the root of p is known to 8 %; half as much again is more than five of those.
    """
    listener = road.right.listen(4100)
    with (
        closing(listener),
        road.impair(delay="10ms", loss="1%"),
        closing(road.socket(road.left, kind=socket.SOCK_STREAM)) as sender,
    ):
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        sender.connect((address(road.right), 4100))
        receiver, _ = listener.accept()
        with closing(receiver):
            rate = _rate(sender, receiver)
    expected = MSS / RTT * math.sqrt(3 / 2) / math.sqrt(P)
    assert expected / 1.5 < rate < expected * 1.5, f"{rate * 8e-6:.1f} Mbit/s, expected {expected * 8e-6:.1f}"


def _rate(sender: socket.socket, receiver: socket.socket) -> float:
    """Bytes a second that arrive, the first second (slow start) left out."""
    done = threading.Event()

    def pump() -> None:
        data = bytes(1 << 16)
        with suppress(OSError):  # the end of the connection
            while not done.is_set():
                sender.send(data)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    start = time.monotonic()
    counted, began = 0, None
    while (now := time.monotonic()) < start + 1 + SECONDS:
        got = len(receiver.recv(1 << 16))
        if now > start + 1:
            began = began or now
            counted += got
    done.set()
    sender.settimeout(1)
    receiver.shutdown(socket.SHUT_RDWR)
    receiver.close()
    thread.join(5)
    return counted / (now - (began or now))
