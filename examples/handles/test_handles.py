"""The fixtures in all their forms: change, pause, ask, override, parametrise, block, async."""

from __future__ import annotations

import asyncio

import pytest

PAIR = {"pods": "app=client", "to": "app=server"}


@pytest.mark.netem(delay="20ms", **PAIR)
def test_update_merges(netem_profile, median_rtt):
    assert 20 < median_rtt() < 60
    netem_profile.update(delay="60ms")
    assert median_rtt() > 60
    netem_profile.replace(delay="5ms", **PAIR)
    assert 5 < median_rtt() < 20


@pytest.mark.netem(delay="50ms", **PAIR)
def test_pause(netem_profile, median_rtt):
    assert median_rtt(10) > 50
    with netem_profile.pause():
        assert median_rtt(10) < 50
    assert median_rtt(10) > 50


@pytest.mark.netem(delay="15ms", loss="0.5%", **PAIR)
def test_observed_is_read_back(netem_profile, measure):
    measure("rtt", 3)
    (observed,) = netem_profile.observed().values()
    ((_, stage),) = observed.stages
    assert stage.held.delay == pytest.approx(15_000_000, abs=1000)
    assert stage.held.loss.p == pytest.approx(0.005, abs=1e-8)


@pytest.mark.netem(delay="15ms", **PAIR)
def test_assertions_name_the_worst_pair(netem_profile, measure):
    measure("rtt", 3)
    netem_profile.assert_rtt(median=("15ms", "40ms"))
    netem_profile.assert_loss(("0%", "5%"))
    with pytest.raises(AssertionError, match="client"):
        netem_profile.assert_rtt(median=("1ms", "2ms"))


@pytest.mark.parametrize("netem_profile", [{"delay": "10ms", **PAIR}, {"delay": "30ms", **PAIR}], indirect=True)
def test_indirect(netem_profile, median_rtt):
    asked = float(netem_profile.object["spec"]["impairment"]["delay"].removesuffix("ms"))
    assert asked < median_rtt() < asked + 20


@pytest.mark.parametrize("netem_spec", [None, {"delay": "25ms", **PAIR}], ids=["control", "slow"], indirect=True)
def test_none_is_the_control_run(netem_spec, netem_profile, median_rtt):
    rtt = median_rtt()
    assert rtt > 25 if netem_profile else rtt < 25


@pytest.mark.netem(delay="10ms", name="up", **PAIR)
@pytest.mark.netem(delay="10ms", name="down", pods="app=client", from_="app=server")
def test_several_handles_by_name(netem_profiles, median_rtt):
    assert 20 < median_rtt() < 50
    netem_profiles["down"].update(delay="40ms")
    assert median_rtt() > 50


def test_blocks_nest_and_add_up(netem, median_rtt):
    with netem.impair(delay="10ms", **PAIR) as outer:
        assert outer.applied
        with netem.impair(delay="20ms", **PAIR):
            assert median_rtt(20) > 30
        assert 10 < median_rtt(20) < 30
    assert median_rtt(20) < 10


def test_async_blocks(netem, median_rtt):
    async def slowly() -> float:
        async with netem.impair(delay="30ms", **PAIR):
            return await asyncio.to_thread(median_rtt, 10)

    assert asyncio.run(slowly()) > 30


class TestOverride:
    @pytest.fixture
    def netem_spec(self):
        return {"delay": "35ms", **PAIR}

    def test_the_fixture_is_made_to_be_overridden(self, netem_profile, median_rtt):
        assert median_rtt(10) > 35


@pytest.mark.netem(delay="40ms", when="first", **PAIR)
def test_when_first_is_there_before_the_other_fixtures(measured_early):
    assert measured_early > 40


@pytest.fixture
def measured_early(median_rtt):
    """Measured while fixtures are set up: healthy, unless an impairment says ``when="first"``."""
    return median_rtt(5)


@pytest.mark.netem(delay="40ms", **PAIR)
def test_fixtures_come_up_on_a_healthy_network(measured_early, median_rtt):
    assert measured_early < 40
    assert median_rtt(5) > 40
