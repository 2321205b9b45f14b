"""The handle: a change returns when it is proven, a wrong one changes nothing, measurements name the worst pair."""

from __future__ import annotations

import pytest
from lanes import LATE, late

from pytest_k8s_netem.errors import ConfigError, NotApplied

pytestmark = [pytest.mark.needs("netns"), pytest.mark.usefixtures("by_engine", "people")]

PAIR = {"pods": "app=ann", "to": "app=bob", "inert": "ignore", "unexercised": "ignore"}


@pytest.mark.netem(delay=LATE, **PAIR)
def test_update_merges_and_is_in_force_at_once(netem_profile, ann, bob, cid):
    assert late(ann, bob)
    netem_profile.update(delay="1ms")
    assert not late(ann, bob)
    netem_profile.update(delay=LATE, to="app=cid")
    assert late(ann, cid)
    assert not late(ann, bob)
    netem_profile.update(to=None)
    assert late(ann, bob), "None takes an argument away"


@pytest.mark.netem(loss="100%", delay=LATE, **PAIR)
def test_replace_forgets_what_was(netem_profile, ann, bob):
    netem_profile.replace(delay="1ms", pods="app=ann")
    assert not late(ann, bob)


@pytest.mark.netem(delay=LATE, **PAIR)
def test_a_change_that_cannot_be_meant_changes_nothing(netem_profile, ann, bob):
    before = netem_profile.object
    with pytest.raises(ConfigError, match=r'delay=5: a bare number.*"5ms"'):
        netem_profile.update(delay=5)
    with pytest.raises(ConfigError, match=r"reorder.*delay"):
        netem_profile.replace(reorder="5%", pods="app=ann")
    with pytest.raises(ConfigError, match=r"app=dan selects no pod"):
        netem_profile.update(pods="app=dan")
    with pytest.raises(ConfigError, match=r"app=dan selects nothing"):
        netem_profile.update(to="app=dan")
    assert late(ann, bob)
    assert netem_profile.object == before
    netem_profile.update(delay="1ms")
    assert not late(ann, bob), "and the next right change works"


@pytest.mark.netem(delay="1ms", pods="app=ann", to="app=bob")
def test_how_strictly_it_is_taken_can_change_but_not_its_name(netem, netem_profile, ann, bob):
    """Nothing is met: an error, had the changes no effect."""
    netem_profile.update(inert="ignore")
    with netem.impair(delay="1ms", pods="app=ann", to="app=cid") as block:
        block.replace(delay="2ms", pods="app=ann", to="app=cid", inert="ignore")
    for fixed in ({"name": "other"}, {"when": "first"}):
        for change in (netem_profile.update, netem_profile.replace):
            with pytest.raises(ConfigError, match=r'(name|when)=".*": cannot be changed'):
                change(delay="3ms", **fixed)


@pytest.mark.netem(delay=LATE, **PAIR)
def test_pause_heals_and_comes_back(netem_profile, ann, bob):
    with netem_profile.pause():
        assert not netem_profile.applied
        assert not late(ann, bob)
        for use in (netem_profile.observed, lambda: netem_profile.update(delay="1ms"), lambda: netem_profile.engine):
            with pytest.raises(NotApplied, match=r"not in force here: it is paused"):
                use()
    assert netem_profile.applied
    assert late(ann, bob)


@pytest.mark.netem(delay=LATE, **PAIR)
def test_pause_comes_back_after_an_exception_too(netem_profile, ann, bob):
    with pytest.raises(ZeroDivisionError), netem_profile.pause():
        raise ZeroDivisionError
    assert late(ann, bob)


@pytest.mark.netem(delay="15ms", jitter="3ms", loss="2%", rate="50mbit", **PAIR)
def test_observed_is_what_the_kernel_holds(netem_profile):
    ((pod, observed),) = netem_profile.observed().items()
    assert pod == "default/ann"
    ((_, stage),) = observed.stages
    assert stage.held.delay == pytest.approx(15_000_000, abs=1000)
    assert stage.held.jitter == pytest.approx(3_000_000, abs=1000)
    assert stage.held.loss.p == pytest.approx(0.02, abs=2**-31)
    assert stage.held.rate.bits == 50_000_000


@pytest.mark.netem(delay="50ms", pods="app=ann", inert="ignore", unexercised="ignore")
@pytest.mark.netem(delay="150ms", pods="app=ann", to="app=cid", name="more", inert="ignore", unexercised="ignore")
def test_assertions_cover_every_pair_and_name_the_worst(netem_profiles, people):
    profile = netem_profiles["netem"]
    profile.assert_rtt(median=("50ms", "400ms"))
    profile.assert_rtt(median="400ms", p99="600ms")
    with pytest.raises(AssertionError, match=r"pod/default/ann.*pod/default/cid"):
        profile.assert_rtt(median=("50ms", "150ms"))
    with pytest.raises(AssertionError, match=r"pod/default/ann.*pod/default/bob"):
        profile.assert_rtt(median=("150ms", "400ms"))


@pytest.mark.netem(loss="30%", **PAIR)
def test_assert_loss_takes_the_forms_of_the_marker(netem_profile):
    netem_profile.assert_loss("30%")
    netem_profile.assert_loss(("10%", "50%"))
    with pytest.raises(AssertionError, match=r"pod/default/ann.*pod/default/bob"):
        netem_profile.assert_loss("5%")
    with pytest.raises(ConfigError, match=r'0.3.*"30%"'):
        netem_profile.assert_loss(0.3)


@pytest.mark.netem(rate="2mbit", **PAIR)
def test_assert_rate_takes_the_forms_of_the_marker(netem_profile):
    netem_profile.assert_rate("2mbit")
    netem_profile.assert_rate(("1mbit", "3mbit"))
    with pytest.raises(AssertionError, match=r"pod/default/ann.*pod/default/bob"):
        netem_profile.assert_rate("8mbit")
    with pytest.raises(ConfigError, match=r'"2mbps".*mbit'):
        netem_profile.assert_rate("2mbps")


@pytest.mark.netem(rate="20mbit", **PAIR)
def test_assert_rate_of_a_fast_link(netem_profile):
    """A train takes 20 ms here, in which any machine may be busy for two."""
    for _ in range(5):
        netem_profile.assert_rate("20mbit")
    with pytest.raises(AssertionError, match=r"asked 36mbit to 44mbit, measured"):
        netem_profile.assert_rate("40mbit")
    with pytest.raises(ConfigError, match=r'rate="1gbit": probes see no more than 100mbit'):
        netem_profile.assert_rate("1gbit")


@pytest.mark.netem(delay="20ms", **PAIR)
def test_bounds_that_cannot_be_read(netem_profile):
    for bounds in ({}, {"median": 20}, {"median": ("1ms", 40)}, {"median": ("40ms", "1ms")}):
        with pytest.raises(ConfigError, match=r"median"):
            netem_profile.assert_rtt(**bounds)
    for check, value in (("rtt", "1ms"), ("loss", "1%"), ("rate", "1mbit")):
        ask = (
            (lambda bounds: netem_profile.assert_rtt(p99=bounds))
            if check == "rtt"
            else getattr(netem_profile, f"assert_{check}")
        )
        for bounds in ((), (value,), (value, value, value)):
            with pytest.raises(ConfigError, match=r"expected one value, or two bounds"):
                ask(bounds)


@pytest.mark.netem(delay=LATE, name="up", **PAIR)
@pytest.mark.netem(delay="1ms", pods="app=bob", inert="ignore", unexercised="ignore")
@pytest.mark.netem(delay="2ms", pods="app=cid", inert="ignore", unexercised="ignore")
def test_handles_by_name(netem_profiles, ann, bob):
    assert list(netem_profiles) == ["up", "netem", "netem-2"]
    assert netem_profiles["up"].name == "up"
    with pytest.raises(ConfigError, match=r"no impairment is called 'down'.*'up', 'netem', 'netem-2'"):
        netem_profiles["down"]
    netem_profiles["up"].update(delay="5ms")
    assert not late(ann, bob)


def test_blocks_have_names_of_their_own(netem, people):
    quiet = {"delay": "1ms", "pods": "app=ann", "inert": "ignore", "unexercised": "ignore"}
    with netem.impair(**quiet) as first, netem.impair(**quiet) as second, netem.impair(name="mine", **quiet) as third:
        assert [one.name for one in (first, second, third)] == ["block", "block-2", "mine"]
    assert not first.applied
    with pytest.raises(NotApplied, match=r"not in force here: it has been healed"):
        first.update(delay="2ms")
