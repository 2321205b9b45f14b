"""A toy of a replicated group: each node has a term; whoever hears no leader for a while asks the others for votes.

``replica.py NAME PEER...``: listens for datagrams on port 9000, answers HTTP ``GET /`` on port 80 with its state.
It is the election part of Raft (Ongaro and Ousterhout, 2014, section 5.2), without a log.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import random
import socket
import sys
import threading
import time


class Node:
    """One member: follower, candidate or leader."""

    def __init__(self, name: str, peers: list[str]) -> None:
        self.name, self.peers = name, peers
        self.role, self.term, self.voted, self.leader = "follower", 0, "", ""
        self.votes: set[str] = set()
        self.heard = time.monotonic()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("", 9000))
        self.socket.settimeout(0.05)

    def run(self) -> None:
        """Beat, listen, stand for election when nobody leads."""
        patience = random.uniform(0.3, 0.6)
        while True:
            with contextlib.suppress(TimeoutError):
                self.take(json.loads(self.socket.recvfrom(4096)[0]))
            if self.role == "leader":
                self.tell({"kind": "beat"})
            elif time.monotonic() - self.heard > patience:
                self.stand()
                patience = random.uniform(0.3, 0.6)

    def stand(self) -> None:
        """Ask all for their vote in a new term."""
        self.role, self.term, self.voted, self.leader = "candidate", self.term + 1, self.name, ""
        self.votes, self.heard = {self.name}, time.monotonic()
        self.tell({"kind": "ask"})

    def tell(self, message: dict) -> None:
        """Send to every other member; who cannot be resolved or reached is passed over."""
        data = json.dumps({"from": self.name, "term": self.term, **message}).encode()
        for peer in self.peers:
            try:
                self.socket.sendto(data, (peer, 9000))
            except OSError:
                continue

    def take(self, message: dict) -> None:
        """Follow a higher term, vote once a term, count votes."""
        if message["term"] > self.term:
            self.role, self.term, self.voted, self.leader = "follower", message["term"], "", ""
        if message["term"] < self.term:
            return
        kind, sender = message["kind"], message["from"]
        if kind == "beat":
            self.role, self.leader, self.heard = "follower", sender, time.monotonic()
        elif kind == "ask" and self.voted in {"", sender}:
            self.voted, self.heard = sender, time.monotonic()
            self.tell({"kind": "vote", "for": sender})
        elif kind == "vote" and message["for"] == self.name and self.role == "candidate":
            self.votes.add(sender)
            if len(self.votes) * 2 > len(self.peers) + 1:
                self.role, self.leader = "leader", self.name


def serve(node: Node) -> None:
    """Tell the state over HTTP."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"role": node.role, "term": node.term, "leader": node.leader}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()


if __name__ == "__main__":
    member = Node(sys.argv[1], sys.argv[2:])
    threading.Thread(target=serve, args=(member,), daemon=True).start()
    member.run()
