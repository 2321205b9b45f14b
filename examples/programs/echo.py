"""An echo server: TCP and UDP on port 7, HTTP on port 80 (``GET /anything`` answers with the path)."""

from __future__ import annotations

import http.server
import selectors
import socket
import threading


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers a path with itself."""

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the pod's log quiet."""


class Server(http.server.ThreadingHTTPServer):
    """Listens on IPv4 and IPv6."""

    address_family = socket.AF_INET6


def main() -> None:
    """Serve until killed."""
    tcp = socket.create_server(("", 7), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("", 7))
    threading.Thread(target=Server(("", 80), Echo).serve_forever, daemon=True).start()
    ready = selectors.DefaultSelector()
    ready.register(tcp, selectors.EVENT_READ)
    ready.register(udp, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is udp:
                data, peer = udp.recvfrom(65535)
                udp.sendto(data, peer)
            elif key.fileobj is tcp:
                connection, _ = tcp.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(connection, selectors.EVENT_READ)
            elif data := key.fileobj.recv(65536):  # type: ignore[union-attr]
                key.fileobj.sendall(data)  # type: ignore[union-attr]
            else:
                ready.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
