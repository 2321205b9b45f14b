"""The first suite to read: one client, one server, and what becomes of their conversation."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def healthy() -> dict[str, float]:
    """What the control run measured, for the others to subtract."""
    return {}


def test_control(median_rtt, healthy, show):
    """No marker, no impairment: the yardstick."""
    healthy["rtt"] = median_rtt()
    show(f"asked nothing, measured RTT {healthy['rtt']:.2f} ms")


class TestSlow:
    """Every conversation between client and server takes longer by what ``--demo-rtt`` says."""

    @pytest.fixture
    def netem_spec(self, asked_rtt):
        return {"rtt": asked_rtt, "pods": "app=client", "to": "app=server"}

    def test_rtt(self, median_rtt, healthy, netem_profile, asked_rtt, show):
        rtt = median_rtt()
        added = rtt - healthy.get("rtt", 0)
        show(f"asked rtt={asked_rtt}, measured RTT {rtt:.2f} ms: {added:.2f} ms more than healthy")
        milliseconds = float(asked_rtt.removesuffix("ms"))
        tolerance = 0.02 * milliseconds if netem_profile.engine == "kernel" else 3
        assert added == pytest.approx(milliseconds, abs=tolerance)


@pytest.mark.netem(delay="37ms", pods="app=client", to="app=server", ports="tcp/7")
def test_one_conversation_is_slow_while_another_stays_fast(median_rtt, show):
    """Only TCP port 7 of one server is slow; the other server does not notice."""
    slow, fast = median_rtt(), median_rtt(to="other")
    show(f"asked delay=37ms to server only, measured RTT {slow:.2f} ms, to other {fast:.2f} ms")
    assert 37 < slow < 47
    assert fast < 10


@pytest.mark.netem(loss="10%", pods="app=client", to="app=server")
def test_loss(lost_share, show):
    """One packet in ten that the client sends is lost; the bounds are missed once in a million runs."""
    share = lost_share(2000)
    show(f"asked loss=10%, measured {share:.1%} of 2000 datagrams")
    assert 0.067 < share < 0.136


@pytest.mark.netem(delay="20ms", jitter="5ms", distribution="normal", pods="app=client", to="app=server")
def test_jitter(median_rtt, netem_profile, show):
    """Delay one way, spread as a bell curve; the plugin's own probe agrees with the client."""
    rtt = median_rtt()
    show(f"asked delay=20ms jitter=5ms, measured RTT {rtt:.2f} ms")
    assert 15 < rtt < 30
    netem_profile.assert_rtt(median=("15ms", "30ms"))


def test_partition(echo, netem, show):
    """Nothing comes through while the partition lasts; the same connection works again when it is healed."""
    with echo.pod("client").connect((echo.pod("server").ip, 7)) as connection:
        connection.sendall(b"before")
        assert connection.recv(16) == b"before"
        with netem.partition("app=client", "app=server"):
            connection.settimeout(0.3)
            connection.sendall(b"during")
            with pytest.raises(TimeoutError):
                connection.recv(16)
        connection.settimeout(10)
        assert connection.recv(16) == b"during"
    show("asked a partition, saw silence, then the same connection healed")
