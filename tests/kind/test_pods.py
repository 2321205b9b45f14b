"""What users do with pods: commands, logs, ports."""

from __future__ import annotations

import http.client
import signal
import time
from typing import Any

import pytest

from pytest_k8s_netem.errors import ClusterError


def test_a_command_has_stdin_environment_outputs_and_status(pair: Any) -> None:
    assert pair.exec("client", ["cat"], stdin="hello").stdout == "hello"
    done = pair.exec("client", ["sh", "-c", "echo $WHO; echo bad >&2; exit 3"], env={"WHO": "me & you"}, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("me & you\n", "bad\n", 3)


def test_much_goes_in_and_comes_out_unchanged(pair: Any) -> None:
    data = "".join(f"{number:07d}\n" for number in range(1 << 17))
    assert pair.exec("client", ["cat"], stdin=data).stdout == data


def test_a_signal_reaches_all_that_a_command_started(pair: Any) -> None:
    process = pair.spawn("client", ["sh", "-c", "sleep 4321 & echo started; wait"])
    deadline = time.monotonic() + 20
    while "started" not in process.logs:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.stop().returncode == -signal.SIGTERM
    left = pair.exec("client", ["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"]).stdout
    assert "sleep 4321" not in left


def test_a_command_that_takes_too_long_is_killed(pair: Any) -> None:
    with pytest.raises(ClusterError, match="did not end within"):
        pair.exec("client", ["sleep", "1234"], timeout=0.5)
    left = pair.exec("client", ["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"]).stdout
    assert "sleep 1234" not in left


def test_what_does_not_exist_is_told(pair: Any) -> None:
    assert "not found" in pair.exec("client", ["no-such-program"], check=False).stderr
    with pytest.raises(ClusterError, match="no-such-container"):
        pair.pod("client").exec(["true"], container="no-such-container")
    with pytest.raises(ClusterError, match="only local has"):
        pair.pod("client").connect(("10.0.0.1", 80))


def test_logs_are_whole(pair: Any, pod: Any, netem_namespace: Any) -> None:
    netem_namespace.apply(pod("teller", "sh", "-c", "echo one; printf two", restartPolicy="Never"))
    netem_namespace.wait_ready()
    assert netem_namespace.logs("teller") == "one\ntwo"


@pytest.mark.netem(loss="100%", pods="app=server", direction="both", inert="ignore")
def test_forward_is_never_impaired(pair: Any) -> None:
    with pair.forward("pod/server:80") as url:
        for path in ("/first", "/second"):
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().read() == path.encode()
            connection.close()


def test_forward_to_a_port_where_nobody_listens_is_reset(pair: Any) -> None:
    with pair.forward("pod/server:81") as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.connect()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            asked(connection)
        connection.close()


def asked(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/")
    return connection.getresponse().read()
