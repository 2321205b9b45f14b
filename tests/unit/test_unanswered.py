"""Connections that the API server closes without an answer, as when it replaces a definition."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_k8s_netem.api import unanswered
from pytest_k8s_netem.api.again import TIMES
from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.api.refusals import UNANSWERED, UNREACHABLE
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.run.identity import Identity


class _Server(http.server.ThreadingHTTPServer):
    """Answers after it has closed so many connections, and while it may; keeps what it was asked."""

    silent = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.answers.set()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.command)
        in_vain = not self.server.answers.is_set()
        self.server.answers.wait()
        if in_vain or len(self.server.asked) <= self.server.silent:
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


@pytest.mark.parametrize("silent", [1, TIMES])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_what_may_be_said_twice_is(method: str, silent: int, server: _Server, connection: Connection) -> None:
    server.silent = silent
    assert connection.request(method, "/it") == {"kind": "Status"}
    assert server.asked == [method] * (silent + 1)


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_who_lets_wait_in_vain_is_asked_once_more(
    method: str, server: _Server, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_k8s_netem.api.connection.REQUEST_SECONDS", 0.05)
    server.answers.clear()
    with pytest.raises(ApiError) as caught:
        connection.request(method, "/it")
    server.answers.set()
    assert (caught.value.status, caught.value.reason) == (0, UNANSWERED)
    assert server.asked == [method] * 2


@pytest.mark.parametrize(("method", "times"), [("GET", TIMES + 1), ("PATCH", TIMES + 1), ("POST", 1)])
def test_who_never_answers_is_told(method: str, times: int, server: _Server, connection: Connection) -> None:
    """A creation is not repeated: it may have been heard, and who makes a second one is told that it is there."""
    server.silent = 9
    with pytest.raises(ApiError) as caught:
        connection.request(method, "/it")
    assert (caught.value.status, caught.value.reason) == (0, UNANSWERED)
    assert server.asked == [method] * times


class _Store:
    """An API server of one object, whose answers get lost.

    :ivar silent: requests, by number, that are not answered, and how: ``unheard`` = not done either.
    """

    def __init__(self) -> None:
        self.there: dict[str, Any] | None = None
        self.asked: list[str] = []
        self.silent: dict[int, str] = {}

    def request(self, method: str, path: str, query: Any = None, body: Any = None, _: str = "") -> dict[str, Any]:
        self.asked.append(method)
        fault = self.silent.get(len(self.asked), "")
        if fault == "unheard":
            raise ApiError(0, UNANSWERED)
        answer = self._done(method, body)
        if fault:
            raise ApiError(0, fault)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def _done(self, method: str, body: Any) -> Any:
        if method == "GET":
            return self.there or ApiError(404, "NotFound")
        if self.there is not None:
            return ApiError(409, "AlreadyExists")
        self.there = body
        return body

    def close(self) -> None:
        """Nothing is open."""


def _created(store: _Store, **labels: str) -> Any:
    async def scenario() -> Any:
        api = KubernetesApi(lambda: store)  # type: ignore[arg-type, return-value]
        metadata = {"name": "slow", "labels": labels}
        try:
            return await api.create(TRAFFICPROFILES, {"metadata": metadata})
        finally:
            await api.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("silent", "asked"),
    [
        ({1: UNANSWERED}, ["POST", "GET"]),
        ({1: "unheard"}, ["POST", "GET", "POST"]),
        ({1: UNANSWERED, 2: UNREACHABLE}, ["POST", "GET", "GET"]),
        ({1: "unheard", 3: UNANSWERED}, ["POST", "GET", "POST", "GET"]),
    ],
)
def test_a_creation_that_was_not_answered_is_done_once(silent: dict[int, str], asked: list[str]) -> None:
    store = _Store()
    store.silent = silent
    made = _created(store, **Identity("run").labels())
    assert made is store.there
    assert store.asked == asked


def test_what_another_has_made_is_not_taken_for_ones_own() -> None:
    for labels in ({}, Identity("other").labels(), Identity("run").labels(expires_in=1)):
        store = _Store()
        store.there = {"metadata": {"name": "slow", "labels": labels}}
        store.silent = {1: UNANSWERED}
        with pytest.raises(ApiError) as caught:
            _created(store, **Identity("run").labels())
        assert caught.value.reason == "AlreadyExists"


@pytest.mark.parametrize(("reason", "labels"), [(UNREACHABLE, Identity("run").labels()), (UNANSWERED, {"a": "b"})])
def test_what_cannot_be_told_apart_or_was_not_heard_is_not_asked_for(reason: str, labels: dict[str, str]) -> None:
    store = _Store()
    store.silent = {1: reason}
    with pytest.raises(ApiError) as caught:
        _created(store, **labels)
    assert (caught.value.reason, store.asked) == (reason, ["POST"])


def test_a_server_that_stays_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unanswered, "SETTLED_WITHIN", 0.2)
    store = _Store()
    store.silent = dict.fromkeys(range(1, 1000), UNANSWERED)
    with pytest.raises(ApiError) as caught:
        _created(store, **Identity("run").labels())
    assert caught.value.reason == UNANSWERED
