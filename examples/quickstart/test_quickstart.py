"""The first suite to read: one client, one server, and what becomes of their conversation."""

from __future__ import annotations

import time

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
    assert 37 < slow < 74
    assert fast < 37


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


def test_partition(talk, netem, show):
    """Nothing comes through while the partition lasts; the same connection goes on when it is healed."""
    until(lambda: talk()[1] > 10)
    with netem.partition("app=client", "app=server"):
        sent, echoed = talk()
        until(lambda: talk()[0] > sent + 20)
        assert talk()[1] <= echoed + 1, "but for one echo that was on its way"
        sent = talk()[0]
    until(lambda: talk()[1] >= sent)
    show("asked a partition, saw silence, then the same connection healed and lost nothing")


def until(condition, seconds: float = 20) -> None:
    """Wait for it; asking goes on for at most ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)
