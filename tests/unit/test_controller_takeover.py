"""A controller that takes the place of another one, which left agents with plans and a store with statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fake_agent import FakeChannels
from test_controller_traffic import Bed, conditions, profile, until

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.controller import inheritance, waiting
from pytest_k8s_netem.controller.evidence import Gap
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.controller.traffic import TrafficController
from pytest_k8s_netem.profile.native import API_VERSION, KIND
from pytest_k8s_netem.profile.parse import parse


class Succession(Bed):
    """A bed whose controller can be replaced, as by the death of its process: nothing is healed."""

    def __init__(self) -> None:
        super().__init__(ttl=30)

    async def start(self) -> None:
        await self.runtime.start()

    async def die(self) -> None:
        """The process is gone: its streams end, agents keep their plans, nobody writes any more."""
        await self.runtime.stop()
        await self.controller.stop(heal=False)

    async def succeed(self) -> None:
        """Another process begins to lead."""
        self.runtime = Runtime(self.api)
        self.channels = FakeChannels(self.agent, 30)
        self.controller = TrafficController(
            self.runtime, self.channels, identity="test", epoch=2, emit=self.events.append
        )
        self.agent.ops.clear()
        await self.start()

    async def written(self, name: str) -> None:
        """Until the status says all that there is to say."""
        await until(lambda: name not in self.controller._status._touched)

    async def stop(self) -> None:
        await self.runtime.stop()
        await self.controller.stop()
        await self.api.close()


def play(scenario: Callable[[Succession], Awaitable[None]]) -> None:
    async def main() -> None:
        bed = Succession()
        await bed.start()
        async with asyncio.timeout(30):
            await scenario(bed)
        await bed.stop()
        assert bed.agent.plans == {}
        assert [t.get_name() for t in asyncio.all_tasks() - {asyncio.current_task()}] == []

    asyncio.run(main())


async def verified_anew(bed: Succession, name: str = "slow") -> None:
    """Until the new controller has had a round for it."""
    await until(lambda: name in bed.controller._book.states and bed.controller._book.states[name].handled > 0)
    await waiting.verified(bed.api, name, 1, 10)


def test_what_is_in_force_and_proven_goes_on_untouched() -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.pod("db-0")
        await bed.apply()
        await bed.die()
        await bed.succeed()
        await verified_anew(bed)
        assert [op for op, _ in bed.agent.ops] == ["renew", "observe"], "a probe would let its counters start anew"
        evidence = await bed.controller.evidence("slow")
        assert evidence.gaps == ()
        assert evidence.partial
        assert evidence.pods["default/web-0"].verdicts["slow"].verified
        await bed.heal()

    play(scenario)


def test_an_unproven_plan_is_probed_by_the_next_controller() -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.pod("db-0")
        await bed.apply()
        await bed.die()
        bed.agent.checks.clear()
        await bed.succeed()
        await until(lambda: ("probe", "default/web-0") in bed.agent.ops)
        await verified_anew(bed)
        assert "prepare" not in [op for op, _ in bed.agent.ops]
        await bed.heal()

    play(scenario)


def test_an_agent_that_healed_meanwhile_is_a_gap() -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await bed.die()
        bed.agent.plans.clear()
        await bed.succeed()
        await until(lambda: bed.delays("web-0") == [100])
        await verified_anew(bed)
        (gap,) = await bed.gaps()
        assert (gap.pod, gap.cause) == ("default/web-0", "request")
        assert gap.end is not None
        await bed.heal()

    play(scenario)


def test_a_profile_deleted_meanwhile_is_healed_before_it_goes() -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await bed.die()
        await bed.api.delete(TRAFFICPROFILES, "slow")
        assert bed.delays("web-0") == [100]
        await bed.succeed()
        await waiting.gone(bed.api, "slow", 10)
        assert bed.agent.plans == {}

    play(scenario)


def test_a_profile_changed_meanwhile_replaces_what_is_in_force_without_a_gap() -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await bed.die()
        await bed.api.patch(TRAFFICPROFILES, "slow", {"spec": {"impairment": {"delay": "50ms"}}})
        await bed.succeed()
        await waiting.verified(bed.api, "slow", 2, 10)
        assert bed.delays("web-0") == [50]
        assert "heal" not in [op for op, _ in bed.agent.ops]
        assert await bed.gaps() == ()
        await bed.heal()

    play(scenario)


NONSENSE = {"spec": {"impairment": {"delay": "soon"}}}


async def refused(bed: Succession, name: str = "slow") -> None:
    while conditions(await bed.api.get(TRAFFICPROFILES, name))["Accepted"] != ("False", "Invalid"):
        await asyncio.sleep(0.001)
    await bed.written(name)


def test_a_profile_edited_to_nonsense_meanwhile_keeps_its_effect() -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await bed.die()
        await bed.api.patch(TRAFFICPROFILES, "slow", NONSENSE)
        for _ in range(2):  # the next but one finds a status that says "not accepted"
            await bed.succeed()
            await refused(bed)
            await until(lambda: bed.controller._book.states["slow"].handled == 2)
            assert bed.delays("web-0") == [100]
            assert {op for op, _ in bed.agent.ops} <= {"observe", "renew"}
            evidence = await bed.controller.evidence("slow")
            assert evidence.gaps == ()
            assert list(evidence.pods) == ["default/web-0"], "nobody would renew its lease"
            await bed.die()
        await bed.api.patch(TRAFFICPROFILES, "slow", {"spec": {"impairment": {"delay": "50ms"}}})
        await bed.succeed()
        await waiting.verified(bed.api, "slow", 3, 10)
        assert bed.delays("web-0") == [50]
        await bed.heal()

    play(scenario)


def test_nonsense_deleted_meanwhile_is_healed_before_it_goes() -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await bed.die()
        await bed.api.patch(TRAFFICPROFILES, "slow", NONSENSE)
        await bed.api.delete(TRAFFICPROFILES, "slow")
        await bed.succeed()
        await waiting.gone(bed.api, "slow", 10)
        assert bed.agent.plans == {}

    play(scenario)


def test_what_is_in_force_is_told_by_statuses_that_may_be_written() -> None:
    typed = {"apiVersion": API_VERSION, "kind": KIND}
    small = parse({**profile("slow"), **typed})
    assert inheritance.read({"status": {**inheritance.written(1.0, None, (), small), "conditions": []}}).spec
    peers = tuple({"ipBlock": {"cidr": f"10.{n // 256}.{n % 256}.0/24"}} for n in range(20_000))
    large = profile("slow")
    large["spec"]["egress"] = [{"to": list(peers)}]
    assert "inForce" not in inheritance.written(1.0, None, (), parse({**large, **typed}))


def test_a_duration_that_is_over_stays_over() -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.declare(profile("short", spec={"duration": "60s"}))
        await bed.outlive("short")
        await bed.die()
        await bed.succeed()
        await until(lambda: bed.controller._book.states["short"].handled == 1)
        assert bed.agent.plans == {}
        said = conditions(await bed.api.get(TRAFFICPROFILES, "short"))
        assert said["Applied"] == ("False", inheritance.ENDED)
        await bed.heal("short")

    play(scenario)


@pytest.mark.parametrize("changed", [False, True])
def test_a_duration_that_was_changed_meanwhile_is_told(changed: bool) -> None:
    async def scenario(bed: Succession) -> None:
        await bed.pod("web-0")
        await bed.declare(profile("short", spec={"duration": "900s"}))
        await bed.written("short")
        await bed.die()
        if changed:
            await bed.api.patch(TRAFFICPROFILES, "short", {"spec": {"duration": "300s"}})
        await bed.succeed()
        await until(lambda: bed.controller._rounds.holds("default/web-0"))
        assert [op for op, _ in bed.agent.ops].count("commit") == changed, "agents tell nothing of durations"
        assert (dict(bed.agent.plans["default/web-0"].durations)["short"] <= 300) is changed
        await bed.heal("short")

    play(scenario)


def test_pods_chosen_once_stay_chosen_and_gaps_stay_told() -> None:
    async def scenario(bed: Succession) -> None:
        for number in range(3):
            await bed.pod(f"web-{number}")
        await bed.declare(profile("some", spec={"count": 1, "follow": "start", "seed": 7}))
        (before,) = bed.agent.plans
        bed.agent.break_worker(before)
        await until(lambda: list(bed.agent.plans) == [before])
        await waiting.verified(bed.api, "some", 1, 10)
        (gap,) = await bed.gaps("some")
        await bed.written("some")
        await bed.die()
        for number in range(3, 9):
            await bed.pod(f"web-{number}")
        await bed.succeed()
        await verified_anew(bed, "some")
        assert list(bed.agent.plans) == [before]
        (told,) = await bed.gaps("some")
        assert (told.pod, told.cause, round(told.start, 3)) == (gap.pod, gap.cause, round(gap.start, 3))
        await bed.heal("some")

    play(scenario)


def test_a_status_that_somebody_else_wrote_is_not_believed() -> None:
    strange = {"conditions": [7], "gaps": [1, {"start": "never"}], "chosen": 3, "inForce": "{"}
    for status in (None, [], {"conditions": "yes"}, strange, {**strange, "inForce": "[1]"}):
        found = inheritance.read({"status": status})
        assert (found.generation, found.started, found.chosen, found.gaps, found.spec) == (0, None, None, (), None)


def test_what_is_written_is_read() -> None:
    gaps = (Gap("default/web-0", 1000.5, None, "worker"), Gap("default/web-1", 1.0, 2.25, "ttl"))
    fields = inheritance.written(1234.25, {"default/web-0", "uid*1"}, gaps)
    applied = {"type": "Applied", "status": "True", "observedGeneration": 3}
    assert inheritance.read({"status": {**fields, "conditions": [applied]}}) == inheritance.Inheritance(
        3, 0, 1234.25, frozenset({"default/web-0", "uid*1"}), gaps
    )
