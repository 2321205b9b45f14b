"""Partitions and blackholes: packets vanish, nobody is told, and the test's own steering is never touched."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from lanes import address, arrives, bound, manifest, reached

from pytest_k8s_netem.errors import ConfigError

pytestmark = [pytest.mark.needs("netns"), pytest.mark.usefixtures("by_engine")]


def test_nothing_passes_between_the_two_in_either_direction(netem, ann, bob, cid):
    with netem.partition("app=ann", "app=bob"):
        assert reached((ann, bob), (bob, ann), (ann, cid), (cid, bob)) == [False, False, True, True]
    assert arrives(ann, bob)


def test_a_sender_of_datagrams_hears_of_no_error(netem, ann, bob):
    """Not even of a port that nobody listens on: that answer would have to pass, too."""
    with bound(ann) as here:
        here.connect((address(bob), 9))
        with netem.partition("app=ann", "app=bob"):
            for _ in range(20):
                assert here.send(b"x") == 1
            here.settimeout(0.3)
            with pytest.raises(TimeoutError):
                here.recv(1)


def test_a_connection_hangs_and_goes_on_when_healed(netem, ann, bob):
    with bob.listen() as listener, ann.connect((address(bob), listener.getsockname()[1])) as here:
        there, _ = listener.accept()
        with there:
            with netem.partition("app=ann", "app=bob"):
                here.sendall(b"held up")
                there.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    there.recv(16)
                assert here.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            there.settimeout(20)
            assert there.recv(16) == b"held up"


def test_a_new_connection_hangs_and_is_not_refused(netem, ann, bob):
    """Without the partition, the kernel of a pod where nobody listens answers at once."""
    with pytest.raises(ConnectionRefusedError):
        ann.connect((address(bob), 9))
    with netem.partition("app=ann", "app=bob"), pytest.raises(TimeoutError):
        ann.connect((address(bob), 9), timeout=1)


def test_a_blackhole_swallows_what_comes_and_goes(netem, ann, bob, cid):
    with netem.blackhole("app=ann"):
        assert reached((ann, bob), (cid, ann), (bob, cid)) == [False, False, True]


def test_a_blackhole_can_have_one_direction(netem, ann, bob):
    with netem.blackhole("app=ann", direction="egress"):
        assert reached((ann, bob), (bob, ann)) == [False, True]


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("partition", {"delay": "1ms"}, 'delay="1ms": partition'),
        ("partition", {"loss": "1%"}, 'loss="1%": partition'),
        ("partition", {"direction": "egress"}, "direction="),
        ("partition", {"to": "app=cid"}, "to="),
        ("blackhole", {"loss": "50%"}, 'loss="50%": a blackhole loses every packet'),
        ("blackhole", {"rtt": "5ms"}, "rtt="),
        ("blackhole", {"dealy": "5ms"}, "dealy: unknown field; did you mean delay"),
        ("partition", {"inert": "perhaps"}, 'inert="perhaps"'),
    ],
)
def test_an_option_that_contradicts_is_refused(netem, ann, bob, kind, options, told):
    sides = ("app=ann", "app=bob") if kind == "partition" else ("app=ann",)
    with pytest.raises(ConfigError, match=told), getattr(netem, kind)(*sides, **options):
        pass
    assert arrives(ann, bob)


def test_forward_is_out_of_band(netem, people, tmp_path):
    """It reaches what listens on the pod's loopback only, and total loss does not touch it."""
    obj = manifest("web")
    (tmp_path / "greeting").write_text("hello")
    command = ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    obj["spec"]["containers"][0] |= {
        "command": command,
        "readinessProbe": {"exec": {"command": ["bash", "-c", "</dev/tcp/127.0.0.1/8000"]}, "periodSeconds": 1},
    }
    with people.apply(obj):
        people.wait_ready()
        with (
            netem.blackhole(inert="ignore"),
            people.forward("pod/web:8000") as url,
            urllib.request.urlopen(f"{url}/greeting", timeout=20) as answer,
        ):
            assert answer.read() == b"hello"
