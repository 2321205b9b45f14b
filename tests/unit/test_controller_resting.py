"""Sessions of pods that nobody impairs any more, with a controller that goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from test_controller_traffic import Bed, profile, until, with_bed

from pytest_k8s_netem.api.protocol import LEASES, PODS, TRAFFICPROFILES
from pytest_k8s_netem.controller import waiting
from pytest_k8s_netem.controller.resting import Resting

LEASE = "default/run"


def resting(scenario: Callable[[Bed, Resting], Awaitable[None]], after: float = 0.0) -> None:
    async def both(bed: Bed) -> None:
        controller = bed.controller
        made = Resting(bed.runtime, controller._keeper.world, controller._fleet, 3600)
        made._after = after  # it looks when it is told to
        await scenario(bed, made)

    with_bed(both, 30.0)


async def renew(bed: Bed, at: str) -> None:
    await bed.api.patch(LEASES, "run", {"spec": {"renewTime": at}}, "default")


async def leased(bed: Bed) -> None:
    """A run impairs, and heals."""
    await bed.declare(profile(spec={"lease": LEASE}))
    await bed.heal()


def test_a_session_ends_when_nobody_impairs_its_pod_and_is_there_again_when_somebody_does() -> None:
    async def scenario(bed: Bed, made: Resting) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await made.look()
        assert len(bed.agent.channels) == 1, "it is impaired"
        await bed.heal()
        assert len(bed.agent.channels) == 1
        await made.look()
        assert bed.agent.channels == []
        assert bed.controller._fleet.targets == {}
        await bed.apply()
        assert bed.delays("web-0") == [100]
        await bed.heal()

    resting(scenario)


def test_a_session_stays_for_a_while() -> None:
    async def scenario(bed: Bed, made: Resting) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await bed.heal()
        await made.look()
        assert len(bed.agent.channels) == 1

    resting(scenario, after=3600)


def test_a_session_that_others_need_stays() -> None:
    async def scenario(bed: Bed, made: Resting) -> None:
        await bed.pod("web-0")
        await bed.pod("db-0")
        await bed.apply()
        await bed.declare(profile("other", "db"))
        await bed.heal()
        await made.look()
        assert set(bed.controller._fleet.targets) == {"default/db-0"}
        assert len(bed.agent.channels) == 1, "one channel of both"
        await bed.heal("other")

    resting(scenario)


@pytest.mark.parametrize("ends", ["deleted", "killed"])
def test_a_run_that_lives_keeps_its_sessions_between_its_tests(ends: str) -> None:
    async def scenario(bed: Bed, made: Resting) -> None:
        await bed.pod("web-0")
        await bed.api.create(LEASES, {"metadata": {"name": "run"}, "spec": {"renewTime": "1"}}, "default")
        await leased(bed)
        for at in "234":
            await made.look()
            assert len(bed.agent.channels) == 1
            await renew(bed, at)
        if ends == "deleted":
            await bed.api.delete(LEASES, "run", "default")
        else:
            await made.look()
            assert len(bed.agent.channels) == 1, "renewed since the last look"
        await made.look()
        assert bed.agent.channels == []

    resting(scenario)


def test_a_pod_that_is_healed_late_or_waits_for_its_agent_keeps_its_session() -> None:
    async def scenario(bed: Bed, made: Resting) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bed.agent.fail["heal"] = "busy"
        await bed.api.delete(TRAFFICPROFILES, "slow")
        await until(lambda: ("heal", "default/web-0") in bed.agent.ops)
        await made.look()
        assert len(bed.agent.channels) == 1
        bed.agent.fail.clear()
        await waiting.gone(bed.api, "slow", 10)
        await bed.api.delete(PODS, "web-0", "default", grace=0)

    resting(scenario)


def test_the_controller_looks_by_itself() -> None:
    async def scenario(bed: Bed) -> None:
        Resting(bed.runtime, bed.controller._keeper.world, bed.controller._fleet, 0.01)
        await bed.pod("web-0")
        await bed.apply()
        await bed.heal()
        await until(lambda: not bed.agent.channels)

    with_bed(scenario, 30.0)
