"""Connections that the API server closes without an answer, as when it replaces a definition."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.errors import ApiError


class _Server(http.server.ThreadingHTTPServer):
    """Answers after it has closed so many connections; keeps what it was asked."""

    silent = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.command)
        if len(self.server.asked) <= self.server.silent:
            self.close_connection = True
            return
        body = json.dumps({"kind": "Status"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = do_POST = _answer  # noqa: N815 - as http.server asks for them

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def connection(server: _Server, tmp_path: Path) -> Connection:
    file = tmp_path / "config"
    cluster = {"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "it", "context": {"cluster": "it", "user": "it"}}
    user = {"name": "it", "user": {}}
    file.write_text(
        json.dumps({"current-context": "it", "clusters": [cluster], "contexts": [context], "users": [user]})
    )
    return Connection.from_kubeconfig(str(file))


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_what_may_be_said_twice_is(method: str, server: _Server, connection: Connection) -> None:
    server.silent = 1
    assert connection.request(method, "/it") == {"kind": "Status"}
    assert server.asked == [method] * 2


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("PATCH", 2), ("POST", 1)])
def test_who_never_answers_is_told(method: str, times: int, server: _Server, connection: Connection) -> None:
    """A creation is not repeated: it may have been heard, and who makes a second one is told that it is there."""
    server.silent = 9
    with pytest.raises(ApiError) as caught:
        connection.request(method, "/it")
    assert caught.value.status == 0
    assert server.asked == [method] * times
