"""The node host: real namespaces, packets across nodes, commands, sockets and relays."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_lab import HostLab, host_lab

from pytest_k8s_netem.errors import ClusterError

pytestmark = pytest.mark.needs("linux", "netns")

ECHO = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("up", flush=True)
while True:
    connection, peer = listener.accept()
    connection.sendall(peer[0].encode() + b" " + connection.recv(100))
    connection.close()
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostLab]:
    with host_lab(tmp_path_factory.mktemp("lab")) as lab:
        for name, node in (("a", 0), ("b", 1), ("c", 0)):
            lab.call(lab.add(name, node))
        yield lab


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@pytest.mark.needs("ping")
@pytest.mark.parametrize("family", [0, 1], ids=["v4", "v6"])
@pytest.mark.parametrize("target", ["b", "c"], ids=["other node", "same node"])
def test_pods_reach_each_other_by_ping(lab: HostLab, target: str, family: int) -> None:
    ended = lab.run("a", "ping", "-c", "1", "-W", "5", lab.addresses[target][family])
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("family", [0, 1], ids=["v4", "v6"])
def test_a_peer_sees_the_pods_own_address(lab: HostLab, family: int) -> None:
    address = lab.addresses["b"][family]
    with lab.socket("b", _family(address), socket.SOCK_STREAM) as listener:
        listener.bind((address, 7001))
        listener.listen()
        with lab.socket("a", _family(address), socket.SOCK_STREAM) as client:
            client.connect((address, 7001))
            connection, peer = listener.accept()
            connection.close()
    assert peer[0] == lab.addresses["a"][family]


@pytest.mark.parametrize("family", [0, 1], ids=["v4", "v6"])
def test_datagrams_cross_nodes(lab: HostLab, family: int) -> None:
    address = lab.addresses["b"][family]
    with (
        lab.socket("b", _family(address), socket.SOCK_DGRAM) as server,
        lab.socket("a", _family(address), socket.SOCK_DGRAM) as client,
    ):
        server.bind((address, 7002))
        client.sendto(b"hello", (address, 7002))
        assert server.recv(100) == b"hello"


def test_sockets_handed_out_are_not_inherited(lab: HostLab) -> None:
    with lab.socket("a", socket.AF_INET, socket.SOCK_STREAM) as made:
        assert not made.get_inheritable()


def test_a_command_has_input_environment_directory_and_status(lab: HostLab, tmp_path: Path) -> None:
    script = 'cat; echo "$COLOUR $PWD $(hostname)" >&2; exit 7'
    ended = lab.run("a", "sh", "-c", script, env={"COLOUR": "green"}, stdin=b"in\n" * 50_000, cwd=str(tmp_path))
    assert ended.stdout == b"in\n" * 50_000
    assert ended.stderr.decode().split() == ["green", str(tmp_path), "a"]
    assert ended.returncode == 7


def test_a_command_killed_by_a_signal_says_so(lab: HostLab) -> None:
    assert lab.run("a", "sh", "-c", "kill -TERM $$").returncode == -15


def test_a_command_that_is_too_long_is_told(lab: HostLab) -> None:
    with pytest.raises(ClusterError, match="spawn: a frame of "):
        lab.run("a", "echo", "x" * 2_000_000)


MANY = 20
"""Tries; descriptors of a request that is being answered are fewer."""


def _held(lab: HostLab) -> int:
    """Descriptors of the node host."""
    return len(lab.run("a", "sh", "-c", "ls /proc/1/fd").stdout.split())


@pytest.mark.parametrize("broken", ["address", "hosts"])
def test_a_pod_that_cannot_be_made_leaves_nothing(lab: HostLab, broken: str) -> None:
    """A kubelet tries it again and again."""
    before = _held(lab)
    addresses, gateways = ("10.244.0.77/24", "fd00:10:244::77/64"), ("10.244.0.1", "fd00:10:244::1")
    for _ in range(MANY):
        with pytest.raises(ClusterError):
            lab.call(
                lab.host.add_pod(
                    "default/broken",
                    "node-0",
                    ("10.244.0.77/24",) if broken == "address" else addresses,
                    ("nonsense",) if broken == "address" else gateways,
                    hosts="bücher" if broken == "hosts" else "",
                )
            )
    assert _held(lab) < before + MANY, "each has left something"


@pytest.mark.parametrize(("argv", "env"), [(["echo", "a\0b"], {}), (["echo"], {"A=B": "c"}), (["nothing-of-this"], {})])
def test_a_command_that_cannot_be_started_leaves_nothing(lab: HostLab, argv: list[str], env: dict[str, str]) -> None:
    """A kubelet starts it again and again."""
    before = _held(lab)
    for number in range(MANY):
        with pytest.raises(ClusterError):
            lab.run("a", *argv, env=env, box=f"new-{number}")
    assert _held(lab) < before + MANY, "each has left something"


def test_input_that_nobody_reads_does_not_block(lab: HostLab) -> None:
    assert lab.run("a", "true", stdin=bytes(1 << 20)).returncode == 0


def test_a_timeout_kills_the_command_and_what_it_started(lab: HostLab) -> None:
    with pytest.raises(TimeoutError):
        lab.run("a", "sh", "-c", "sleep 4242.42 & sleep 4242.42", timeout=0.3)
    deadline = time.monotonic() + 10
    while b"4242.42" in _command_lines(lab):
        assert time.monotonic() < deadline


def _command_lines(lab: HostLab) -> bytes:
    return lab.run("a", "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null; true").stdout


@pytest.mark.parametrize(
    ("argv", "cwd", "words"),
    [(["no-such-program"], "", "no-such-program: No such file"), (["true"], "/no/such/place", "/no/such/place")],
)
def test_a_command_that_cannot_start_is_an_error(lab: HostLab, argv: list[str], cwd: str, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        lab.run("a", *argv, cwd=cwd)


def test_an_unknown_pod_is_an_error(lab: HostLab) -> None:
    with pytest.raises(ClusterError, match="default/nobody"):
        lab.run("nobody", "true")


def test_a_command_runs_as_the_user_asked_for(lab: HostLab) -> None:
    assert lab.run("a", "id", "-u").stdout == b"0\n"
    assert lab.run("a", "id", "-u", uid=999, cwd="/").stdout == b"999\n"
    assert lab.run("a", "id", "-g", uid=999, gid=888, cwd="/").stdout == b"888\n"


def test_a_container_may_begin_as_another_user(lab: HostLab) -> None:
    assert lab.run("a", "id", "-u", uid=999, cwd="/", box="others").stdout == b"999\n"
    assert lab.run("a", "id", "-u", cwd="/", box="others").stdout == b"0\n"


@pytest.mark.parametrize("uid", [None, 999])
def test_a_command_ignores_no_signal(tmp_path: Path, uid: int | None) -> None:
    """Python ignores two, what a script runs in the background two more, nohup one: a command would inherit that."""
    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        with host_lab(tmp_path) as lab:
            lab.call(lab.add("a", 0))
            status = lab.run("a", "cat", "/proc/self/status", uid=uid, cwd="/").stdout.decode()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    [ignored] = re.findall(r"^SigIgn:\s*(\w+)", status, re.MULTILINE)
    assert int(ignored, 16) & 0x7FFFFFFF == 0  # those behind it are the C library's


@pytest.mark.parametrize(
    ("argv", "cwd", "uid"),
    [(["no-such-program"], "/", None), (["true"], "/no/such/place", None), (["no-such-program"], "/", 999)],
)
def test_a_container_that_cannot_start_leaves_the_node_host_where_it_was(
    lab: HostLab, argv: list[str], cwd: str, uid: int | None
) -> None:
    """From within a container it would not find the files that the next one is to show."""
    with pytest.raises(ClusterError):
        lab.run("b", *argv, cwd=cwd, uid=uid, box="never")
    assert lab.run("a", "hostname", box=f"next to {argv} {cwd} {uid}").stdout == b"a\n"
    assert lab.run("b", "ls", "/run", box="never").stdout == b""
    lab.call(lab.host.end_box("default/b", "never"))


def test_a_pod_sees_its_own_interfaces_only(lab: HostLab) -> None:
    assert lab.run("a", "ls", "/sys/class/net").stdout.split() == [b"eth0", b"lo"]


def test_commands_of_a_container_share_run_and_others_do_not(lab: HostLab) -> None:
    lab.run("a", "touch", "/run/mine", box="one")
    assert lab.run("a", "ls", "/run", box="one").stdout == b"mine\n"
    assert lab.run("a", "ls", "/run", box="two").stdout == b""
    lab.call(lab.host.end_box("default/a", "one"))
    assert lab.run("a", "ls", "/run", box="one").stdout == b""


def test_a_hosts_file_changes_under_a_running_container(lab: HostLab) -> None:
    lab.run("a", "true", box="names")
    lab.call(lab.host.set_hosts("default/a", "192.0.2.7\tdb\n"))
    assert lab.run("a", "getent", "hosts", "db", box="names").stdout.split()[0] == b"192.0.2.7"


@pytest.mark.skipif(not Path("/etc/resolv.conf").exists(), reason="no resolv.conf here to be covered")
def test_a_pod_asks_no_name_server_of_the_machine(lab: HostLab) -> None:
    assert lab.run("a", "cat", "/etc/resolv.conf").stdout == b"search x\n"
    assert Path("/etc/resolv.conf").read_text() != "search x\n"


def test_a_removed_pod_takes_its_forwards_with_it(lab: HostLab) -> None:
    lab.call(lab.add("steered", 0))
    _, relay = lab.call(lab.host.forward("default/steered", 80))
    lab.call(lab.host.remove_pod("default/steered"))
    assert lab.call(relay.wait()) == -9


def _serve(lab: HostLab, pod: str, address: str, port: int) -> None:
    """Start an echo server in a pod and wait until it listens."""
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    argv = [sys.executable, "-I", "-c", ECHO, address, str(port)]
    try:
        lab.call(lab.host.spawn(f"default/{pod}", argv, env=dict(os.environ), stdio=(null, write, null)))
        assert os.read(read, 10) == b"up\n"
    finally:
        for fd in (read, write, null):
            os.close(fd)


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
def test_a_forward_reaches_the_pods_loopback(lab: HostLab, loopback: str) -> None:
    port = 8101 if loopback == "::1" else 8100
    _serve(lab, "b", loopback, port)
    host_port, relay = lab.call(lab.host.forward("default/b", port))
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", host_port), 10) as client:
            client.sendall(b"ping")
            assert client.makefile("rb").read() == loopback.encode() + b" ping"
    lab.call(relay.kill())
    lab.call(relay.wait())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", host_port), 10)


def test_a_forward_to_a_port_where_nobody_listens_is_a_reset(lab: HostLab) -> None:
    host_port, relay = lab.call(lab.host.forward("default/b", 9))
    with pytest.raises(OSError, match=r"Remote end closed|reset|Broken pipe"):
        urllib.request.urlopen(f"http://127.0.0.1:{host_port}/", timeout=10)
    lab.call(relay.kill())


def test_probes_are_asked_from_the_node(lab: HostLab) -> None:
    address = lab.addresses["c"][0]
    _serve(lab, "c", address, 8200)
    assert lab.call(lab.host.probe_tcp("node-0", address, 8200, 5))
    assert not lab.call(lab.host.probe_tcp("node-0", address, 8201, 5))
    assert not lab.call(lab.host.probe_http("node-0", address, 8200, "/", timeout=5))  # an echo is no HTTP


def test_health_checks_come_from_the_nodes_own_address(lab: HostLab) -> None:
    address = lab.addresses["c"][0]
    with lab.socket("c", socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((address, 8300))
        listener.listen()
        assert lab.call(lab.host.probe_tcp("node-0", address, 8300, 5))
        asked, peer = listener.accept()
        asked.close()
    assert peer[0] == lab.nodes[0].own[0]


def test_a_removed_pod_takes_its_processes_with_it(lab: HostLab) -> None:
    lab.call(lab.add("brief", 1))
    null = os.open(os.devnull, os.O_RDWR)
    process = lab.call(
        lab.host.spawn("default/brief", ["sleep", "1000"], env=dict(os.environ), stdio=(null, null, null))
    )
    os.close(null)
    lab.call(lab.host.remove_pod("default/brief"))
    assert lab.call(process.wait()) == -9
    with pytest.raises(ClusterError):
        lab.run("brief", "true")
    lab.call(lab.add("brief", 1))
    assert lab.run("brief", "true").returncode == 0


@pytest.mark.needs("ping")
def test_fifty_pods_all_answer(tmp_path: Path) -> None:
    with host_lab(tmp_path) as lab:
        for number in range(50):
            lab.call(lab.add(f"p{number}", number % 2))
        script = 'for address in "$@"; do ping -c 1 -W 5 -q "$address" >/dev/null || echo "$address"; done'
        ended = lab.run(
            "p0", "sh", "-c", script, "sh", *[pair[number % 2] for number, pair in enumerate(lab.addresses.values())]
        )
        assert ended.stdout == b""


def test_the_end_leaves_no_descriptor_and_no_child(tmp_path: Path) -> None:
    def once() -> None:
        with host_lab(tmp_path) as lab:
            lab.call(lab.add("a", 0))
            kept = lab.socket("a", socket.AF_INET, socket.SOCK_STREAM)
            lab.run("a", "true")
        assert kept.fileno() == -1

    once()
    before = os.listdir("/proc/self/fd")
    once()
    assert len(os.listdir("/proc/self/fd")) == len(before)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    names = {Path(f"/proc/{child}/cmdline").read_text() for child in children if Path(f"/proc/{child}").exists()}
    assert not any(str(tmp_path) in name for name in names)


REFUSED = """
import asyncio, pathlib, sys
from pytest_k8s_netem.errors import ProviderError
from pytest_k8s_netem.local.host import NodeHost

async def main():
    host = NodeHost(pathlib.Path(sys.argv[1]))
    try:
        await host.start()
    except ProviderError as error:
        print(error)

asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="setpriv takes the privileges away")
def test_a_machine_that_refuses_is_told_the_ways_out(tmp_path: Path) -> None:
    flat = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    argv = ["unshare", "-Ur", "sh", "-c", flat, "sh", sys.executable, "-c", REFUSED, str(tmp_path / "log")]
    said = subprocess.run(
        argv,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    for words in ("sysctl -w user.max_user_namespaces=", "sudo -E", "--netem-guest", "unshare"):
        assert words in said.stdout, said


@pytest.mark.needs("ping")
def test_the_gateway_keeps_its_address_as_pods_come_and_go(tmp_path: Path) -> None:
    """A bridge takes its ports' lowest address unless it has its own: 30 random ones lower it all but once in 31."""
    with host_lab(tmp_path) as lab:
        lab.call(lab.add("first", 0))
        gateway = lab.nodes[0].gateways[0]

        def hardware_address() -> bytes:
            lab.run("first", "ip", "neigh", "flush", "all")
            assert lab.run("first", "ping", "-c1", "-W5", gateway).returncode == 0
            return lab.run("first", "ip", "neigh", "show", gateway).stdout.split(b"lladdr ")[1].split()[0]

        before = hardware_address()
        for number in range(30):
            lab.call(lab.add(f"more-{number}", 0))
        assert hardware_address() == before
