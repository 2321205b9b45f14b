"""One end of a road, in a pod: sends numbered datagrams, notes those that arrive, and sends them back.

It is told what to do over HTTP on port 80 of its loopback, which a command in the pod reaches:
``/send?to=ADDRESS&ports=4000,4001&flow=N&count=N&size=N&pause=S&quiet=S`` sends a datagram to each of the ports in
turn, ``count`` times, and answers with what came back; ``/taken?flow=N`` answers with what arrived here. Both say, by
the position of the port, ``[number, sent, taken]``: by the sender's clock, and by the kernel's of this pod, ns.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import struct
import threading
import time
import urllib.parse

PORTS = (4000, 4001)
OUT, BACK = 0, 1
HEAD = struct.Struct("!BIIq")
"""Which way, flow, number, when it was sent (CLOCK_REALTIME, ns)."""
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
TAIL = 0.2
"""Seconds for second copies, once every datagram is back."""

taken: dict[int, tuple[list, list]] = {}


def udp(port: int = 0) -> socket.socket:
    """A socket with arrival stamps, and with room for all of a test."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    sock.bind(("", port))
    return sock


def receive(sock: socket.socket) -> tuple[bytes, int, tuple]:
    data, control, _, peer = sock.recvmsg(65536, 128)
    seconds, nanoseconds = struct.unpack("@ll", control[0][2][:16])
    return data, seconds * 1_000_000_000 + nanoseconds, peer


def listen(position: int) -> None:
    """Note what arrives at a port, and send it back."""
    sock = udp(PORTS[position])
    while True:
        data, stamp, peer = receive(sock)
        _, flow, number, sent = HEAD.unpack_from(data)
        taken.setdefault(flow, ([], []))[position].append((number, sent, stamp))
        sock.sendto(HEAD.pack(BACK, flow, number, sent) + data[HEAD.size :], peer)


class Sender:
    """One flow."""

    def __init__(self, query: dict[str, str]) -> None:
        self.to, self.ports = query["to"], [int(port) for port in query["ports"].split(",")]
        self.flow, self.count, self.size = (int(query[key]) for key in ("flow", "count", "size"))
        self.pause, self.quiet = float(query["pause"]), float(query["quiet"])
        self.sockets = [udp() for _ in self.ports]
        self.back: list[list] = [[] for _ in self.ports]

    def run(self) -> list[list]:
        """Send all; what came back."""
        collecting = [threading.Thread(target=self.collect, args=(at,)) for at in range(len(self.ports))]
        for sock, port in zip(self.sockets, self.ports, strict=True):
            sock.connect((self.to, port))
        self.sending = True
        for thread in collecting:
            thread.start()
        self.send()
        self.sending = False
        for thread in collecting:
            thread.join()
        for sock in self.sockets:
            sock.close()
        return self.back

    def send(self) -> None:
        """From one CPU: the datagrams of a thread that moves could overtake each other."""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        due = time.perf_counter()
        for number in range(self.count):
            time.sleep(max(due - time.perf_counter(), 0))
            for sock in self.sockets:
                sock.send(HEAD.pack(OUT, self.flow, number, time.time_ns()).ljust(self.size, b"\0"))
            due += self.pause

    def collect(self, position: int) -> None:
        missing = set(range(self.count))
        sock, back = self.sockets[position], self.back[position]
        while True:
            sock.settimeout(self.quiet if missing else TAIL)
            try:
                data, stamp, _ = receive(sock)
            except TimeoutError:
                if self.sending:
                    continue
                return
            _, _, number, sent = HEAD.unpack_from(data)
            missing.discard(number)
            back.append((number, sent, stamp))


class Control(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, rest = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(rest))
        answer = Sender(query).run() if path == "/send" else taken.pop(int(query["flow"]), ([], []))
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


if __name__ == "__main__":
    for at in range(len(PORTS)):
        threading.Thread(target=listen, args=(at,), daemon=True).start()
    http.server.ThreadingHTTPServer(("", 80), Control).serve_forever()
