"""The traffic controller over the memory store and an agent without a kernel: order, all or none, gaps, ends."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import pytest
from fake_agent import FakeAgent, FakeChannels

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import NAMESPACES, PODS, TRAFFICPROFILES
from pytest_k8s_netem.controller import inheritance, tally, waiting
from pytest_k8s_netem.controller.evidence import Gap
from pytest_k8s_netem.controller.profiles import FINALIZER
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.controller.traffic import TrafficController
from pytest_k8s_netem.errors import ApiError, ConfigError, ImpairmentError, NotApplied, ProofError, TeardownError
from pytest_k8s_netem.judge.effect import Effect
from pytest_k8s_netem.model.plan import Check
from pytest_k8s_netem.model.wire import OBSERVED
from pytest_k8s_netem.resolve.view import View
from pytest_k8s_netem.run import events


class Bed:
    """A store, an agent and a controller."""

    def __init__(self, ttl: float | None = None) -> None:
        self.api = MemoryApi()
        self.agent = FakeAgent()
        self.channels = FakeChannels(self.agent, ttl)
        self.runtime = Runtime(self.api)
        self.events: list[events.Event] = []
        self.controller = TrafficController(self.runtime, self.channels, identity="test", emit=self.events.append)
        self._addresses = iter(range(2, 250))

    async def pod(self, name: str, *, run: bool = True, **labels: str) -> dict[str, Any]:
        address = f"10.1.0.{next(self._addresses)}"
        await self.bare(name, address, **labels)
        made = await self.says(name, address)
        if run:
            made = await self.run(name)
        return made

    async def bare(self, name: str, address: str, **labels: str) -> dict[str, Any]:
        """A pod whose status says nothing of its address; its agent knows it."""
        spec = {"nodeName": "n1", "containers": [{"name": "main", "image": "none"}]}
        meta = {"name": name, "labels": labels or {"app": name.partition("-")[0]}}
        made = await self.api.create(PODS, {"metadata": meta, "spec": spec}, "default")
        self.agent.add(f"default/{name}", address)
        return made

    async def says(self, name: str, address: str) -> dict[str, Any]:
        status = {"phase": "Pending", "podIP": address, "podIPs": [{"ip": address}]}
        return await self.api.patch(PODS, name, {"status": status}, "default", subresource="status")

    async def run(self, name: str) -> dict[str, Any]:
        running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        return await self.api.patch(PODS, name, {"status": running}, "default", subresource="status")

    async def apply(self, name: str = "slow", deadline: float = 10, **impairment: Any) -> dict[str, Any]:
        return await self.declare(profile(name, **impairment), deadline)

    async def declare(self, declared: dict[str, Any], deadline: float = 10) -> dict[str, Any]:
        """Create a profile and wait until it is verified."""
        meta = (await self.api.create(TRAFFICPROFILES, declared))["metadata"]
        return await waiting.verified(self.api, meta["name"], meta["generation"], deadline)

    async def change(self, name: str = "slow", **spec: Any) -> None:
        """Change some fields of a profile's spec and wait until that is verified."""
        meta = (await self.api.patch(TRAFFICPROFILES, name, {"spec": spec}))["metadata"]
        await waiting.verified(self.api, name, meta["generation"], 10)

    async def gaps(self, name: str = "slow") -> tuple[Gap, ...]:
        return (await self.controller.evidence(name)).gaps

    async def outlive(self, name: str, pod: str = "default/web-0") -> None:
        """Let the agent end a profile because its duration is over, until its status says so."""
        self.agent.plans.clear()
        self.agent.tell(event="healed", target=pod, cause="duration")
        async with asyncio.timeout(10):
            while conditions(await self.api.get(TRAFFICPROFILES, name))["Applied"] != ("False", inheritance.ENDED):
                await asyncio.sleep(0.001)

    async def heal(self, name: str = "slow", deadline: float = 10) -> None:
        await self.api.delete(TRAFFICPROFILES, name)
        await waiting.gone(self.api, name, deadline)

    def delays(self, pod: str) -> list[float]:
        """Delays (ms) of the stages that the agent holds for a pod."""
        plan = self.agent.plans.get(f"default/{pod}")
        return [stage.timeline.impairments[0].delay / 1e6 for stage in plan.stages] if plan else []

    def reaches(self, pod: str, address: str) -> bool:
        """Whether what a pod holds is for packets to this address."""
        classes = self.agent.plans[f"default/{pod}"].classes
        matches = [match for entry in classes if entry.stages for match in entry.matches]
        return any(match.remote is not None and int(ip_address(address)) in match.remote.v4 for match in matches)

    def seen(self, kind: type[events.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def profile(
    name: str = "slow", app: str = "web", spec: dict[str, Any] | None = None, **impairment: Any
) -> dict[str, Any]:
    """``spec``: further fields, or others."""
    usual = {
        "podSelector": {"matchLabels": {"app": app}},
        "egress": [{}],
        "impairment": impairment or {"delay": "100ms"},
    }
    return {"metadata": {"name": name}, "spec": usual | (spec or {})}


def with_bed(scenario: Callable[[Bed], Awaitable[None]], ttl: float | None = None) -> None:
    async def main() -> None:
        bed = Bed(ttl)
        await bed.runtime.start()
        async with asyncio.timeout(30):
            await scenario(bed)
        await bed.runtime.stop()
        await bed.controller.stop()
        await bed.api.close()
        assert bed.agent.plans == {}, "something is left in force"
        left = [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}]
        assert left == []

    asyncio.run(main())


def conditions(obj: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in obj["status"]["conditions"]}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_from_object_to_verified_and_back() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.pod("db-0")
        obj = await bed.apply()
        assert conditions(obj) == {
            "Accepted": ("True", "Accepted"),
            "Applied": ("True", "Applied"),
            "Verified": ("True", "Verified"),
        }
        assert {one["observedGeneration"] for one in obj["status"]["conditions"]} == {1}
        assert obj["status"]["pods"] == {"selected": 1, "expected": 1, "applied": 1, "verified": 1}
        assert obj["metadata"]["finalizers"] == [FINALIZER]
        assert (bed.delays("web-0"), bed.delays("db-0")) == ([100], [])
        assert [op for op, target in bed.agent.ops] == ["prepare", "commit", "probe"]
        await bed.heal()
        assert bed.agent.plans == {}

    with_bed(scenario)


def test_pods_that_can_never_be_impaired_are_told_and_the_others_impaired() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        spec = {"hostNetwork": True, "nodeName": "n1", "containers": [{"name": "main", "image": "none"}]}
        await bed.api.create(PODS, {"metadata": {"name": "host", "labels": {"app": "web"}}, "spec": spec}, "default")
        obj = await bed.apply()
        accepted = next(one for one in obj["status"]["conditions"] if one["type"] == "Accepted")
        assert (accepted["status"], accepted["reason"]) == ("True", "PodsExcluded")
        assert accepted["message"].startswith("pod/host cannot be impaired: it uses its node's network")
        assert bed.delays("web-0") == [100]
        with pytest.raises(ConfigError, match="pod/host cannot be impaired"):
            await waiting.verified(bed.api, "slow", 1, 10, whole=True)
        await bed.heal()
        await bed.api.delete(PODS, "web-0", "default", grace=0)
        with pytest.raises(ConfigError, match="pod/host cannot be impaired"):
            await bed.apply()
        await bed.heal()

    with_bed(scenario)


def test_nothing_is_touched_where_nothing_is_allowed() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        bed.channels.refuse = "no agent is to be asked for"
        bed.controller.see(View(allowed=frozenset()))
        with pytest.raises(ConfigError, match="--netem-allow-namespaces=default"):
            await bed.apply()
        assert bed.agent.ops == []
        await bed.heal()

    with_bed(scenario)


@pytest.mark.parametrize("freed", ["namespace", "pod", "view"])
def test_a_refusal_ends_with_its_cause(freed: str) -> None:
    async def scenario(bed: Bed) -> None:
        label = "pod-security.kubernetes.io/enforce"
        allowed = View(injects=True)
        bed.controller.see(View(injects=True, allowed=frozenset()) if freed == "view" else allowed)
        await bed.api.create(NAMESPACES, {"metadata": {"name": "strict", "labels": {label: "restricted"}}})
        await bed.pod("web-0")
        meta, spec = {"name": "web-1", "labels": {"app": "web"}}, {"containers": [{"name": "main", "image": "none"}]}
        if freed != "view":
            await bed.api.create(PODS, {"metadata": meta, "spec": spec}, "strict")
        with pytest.raises(
            ConfigError, match="--netem-allow-namespaces" if freed == "view" else "Pod Security restricted"
        ):
            await bed.declare(profile(spec={"namespaceSelector": {}}))
        assert bed.agent.ops == []
        if freed == "namespace":
            await bed.api.patch(NAMESPACES, "strict", {"metadata": {"labels": {label: None}}})
        elif freed == "pod":
            await bed.api.delete(PODS, "web-1", "strict", grace=0)
        else:
            bed.controller.see(allowed)
        await until(lambda: any(one.condition == "Verified" for one in _true(bed)))
        assert bed.delays("web-0") == [100]
        await bed.heal()

    with_bed(scenario)


def test_status_writes_wake_nobody() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await asyncio.sleep(0.05)
        before = len(bed.agent.ops)
        for number in range(20):
            await bed.api.patch(TRAFFICPROFILES, "slow", {"status": {"noise": number}}, subresource="status")
        await asyncio.sleep(0.05)
        assert len(bed.agent.ops) == before
        await bed.heal()

    with_bed(scenario)


def test_an_update_changes_what_is_held() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await bed.change(impairment={"delay": "50ms"})
        assert bed.delays("web-0") == [50]
        assert "heal" not in [op for op, _ in bed.agent.ops]
        await bed.heal()

    with_bed(scenario)


def test_what_cannot_be_meant_is_told_and_changes_nothing() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        with pytest.raises(ConfigError, match="delay"):
            await bed.apply(delay=5)
        with pytest.raises(ConfigError, match=r"no pod to impair|selects no pod"):
            await bed.declare(profile("none", app="nobody"))
        assert bed.agent.ops == []
        await bed.heal("slow")
        await bed.heal("none")

    with_bed(scenario)


def test_one_pod_that_cannot_takes_the_whole_change_back() -> None:
    async def scenario(bed: Bed) -> None:
        for number in range(3):
            await bed.pod(f"web-{number}")
        bed.agent.fail["prepare", "default/web-1"] = "the kernel refused"
        with pytest.raises(ImpairmentError, match=r"pod/default/web-1: qdisc: the kernel refused"):
            await bed.apply()
        assert bed.agent.plans == {}
        assert bed.agent.prepared == {}
        await bed.heal()
        bed.agent.fail.clear()
        bed.agent.fail["commit", "default/web-2"] = "the kernel refused late"
        with pytest.raises(ImpairmentError, match="refused late"):
            await bed.apply("again")
        await until(lambda: bed.agent.plans == {})
        await bed.heal("again")
        assert bed.seen(events.GapOpened) == []

    with_bed(scenario)


def test_a_refused_update_leaves_what_was() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bed.agent.fail["prepare"] = "no"
        with pytest.raises(ImpairmentError, match="no"):
            await bed.change(impairment={"delay": "50ms"})
        assert bed.delays("web-0") == [100]
        await bed.heal()

    with_bed(scenario)


def test_what_a_refused_change_had_met_is_counted_once() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.pod("web-1")
        await bed.apply()
        bed.agent.fail["prepare", "default/web-1"] = "no"
        with pytest.raises(ImpairmentError):
            await bed.apply("more", delay="20ms")
        pods = (await bed.controller.evidence("slow")).pods
        assert [pods[key].earlier for key in ("default/web-0", "default/web-1")] == [Effect(), Effect()]
        await bed.heal()
        await bed.heal("more")

    with_bed(scenario)


def test_a_refused_profile_does_not_disturb_another() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.pod("db-0")
        await bed.apply()
        bed.agent.fail["prepare", "default/db-0"] = "no"
        with pytest.raises(ImpairmentError):
            await bed.declare(profile("other", app="db"))
        assert (bed.delays("web-0"), bed.delays("db-0")) == ([100], [])
        await bed.heal()
        await bed.heal("other")

    with_bed(scenario)


def test_commits_come_after_all_are_prepared() -> None:
    async def scenario(bed: Bed) -> None:
        for number in range(4):
            await bed.pod(f"web-{number}")
        await bed.apply()
        ops = [op for op, _ in bed.agent.ops if op in ("prepare", "commit")]
        assert ops == ["prepare"] * 4 + ["commit"] * 4
        (committed,) = bed.seen(events.Committed)
        assert len(committed.pods) == 4
        assert committed.skew >= 0
        await bed.heal()

    with_bed(scenario)


def test_a_pod_that_joins_is_impaired_behind_the_gate() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        pod = await bed.pod("web-1", run=False)
        await bed.controller.gate(pod)
        assert bed.delays("web-1") == [100]
        await bed.run("web-1")
        other = await bed.pod("db-0", run=False)
        await bed.controller.gate(other)
        evidence = await bed.controller.evidence("slow")
        assert set(evidence.pods) == {"default/web-0", "default/web-1"}
        assert evidence.gaps == ()
        assert all(one.verdicts["slow"].verified for one in evidence.pods.values())
        await bed.heal()

    with_bed(scenario)


def test_what_an_agent_tells_of_its_pods_addresses_counts_until_the_status_does() -> None:
    """For the pod's own plan, and for those of others: while a kubelet stands in a hook the status has no address."""

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.pod("db-0")
        await bed.api.create(TRAFFICPROFILES, towards("db"))
        await waiting.verified(bed.api, "slow", 1, 10)
        for name, address in (("db-1", "10.1.1.1"), ("web-1", "10.1.1.2")):
            pod = await bed.bare(name, address)
            await until(lambda name=name: f"default/{name}" in bed.runtime.informer(PODS).objects)
            bed.controller.tell(pod, [address])
            await bed.controller.gate(pod)
        assert bed.delays("web-1") == [100]
        for name in ("web-0", "web-1"):
            assert bed.reaches(name, "10.1.1.1")
        held = dict(bed.agent.plans)
        for name, address in (("db-1", "10.1.1.1"), ("web-1", "10.1.1.2")):
            await bed.says(name, address)
        await bed.run("web-1")
        assert (await bed.controller.evidence("slow")).gaps == ()
        assert bed.agent.plans == held
        await bed.heal()

    with_bed(scenario)


def test_a_pod_that_joins_and_cannot_fails_alone() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bed.agent.fail["prepare", "default/web-1"] = "no"
        await bed.pod("web-1")
        await until(lambda: bool(bed.seen(events.GapOpened)))
        assert bed.delays("web-0") == [100]
        bed.agent.fail.clear()
        await until(lambda: bed.delays("web-1") == [100])
        await until(lambda: bool(bed.seen(events.GapClosed)))
        (gap,) = await bed.gaps()
        assert gap.pod == "default/web-1"
        assert gap.end is not None
        await bed.heal()

    with_bed(scenario)


def test_a_dead_worker_is_a_gap_that_is_closed() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bed.agent.break_worker("default/web-0")
        await until(lambda: bool(bed.seen(events.GapClosed)))
        assert bed.delays("web-0") == [100]
        (gap,) = await bed.gaps()
        assert (gap.pod, gap.cause) == ("default/web-0", "worker")
        await bed.heal()

    with_bed(scenario)


@pytest.mark.parametrize("heals", [True, False])
def test_a_lost_stream_is_a_gap_only_if_the_agent_healed(heals: bool) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bed.agent.cut(heals=heals)
        await until(lambda: bool(bed.agent.channels) and bed.delays("web-0") == [100])
        await until(lambda: not heals or bool(bed.seen(events.GapClosed)))
        assert [gap.cause for gap in await bed.gaps()] == (["session"] if heals else [])
        assert len(bed.seen(events.ChannelLost)) == 1
        await bed.heal()

    with_bed(scenario)


@pytest.mark.parametrize("steps", range(20))
def test_evidence_asked_for_at_any_moment_of_a_reconnect_opens_no_gap(steps: int) -> None:
    """The loop is in the same state after as many steps, so every moment comes, on a machine of any speed."""

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bed.agent.cut(heals=False)
        for _ in range(steps):
            await asyncio.sleep(0)
        evidence = await bed.controller.evidence("slow")
        assert (set(evidence.pods), evidence.gaps) == ({"default/web-0"}, ())
        assert len(bed.seen(events.ChannelLost)) == 1
        assert bed.delays("web-0") == [100]
        await bed.heal()

    with_bed(scenario)


def test_an_agent_that_does_not_come_back_is_a_gap_and_holds_no_healing_up() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bed.channels.refuse = "the node host has ended"
        bed.agent.cut(heals=True)
        await until(lambda: bool(bed.seen(events.GapOpened)))
        evidence = await bed.controller.evidence("slow")
        assert evidence.pods == {}
        assert [(gap.pod, gap.end) for gap in evidence.gaps] == [("default/web-0", None)]
        await bed.heal()

    with_bed(scenario)


def test_what_is_not_proven_is_said() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        bed.agent.lie = True
        with pytest.raises(ProofError, match="the plan asks for"):
            await bed.apply()
        await bed.heal()

    with_bed(scenario)


def test_a_healing_that_leaves_something_is_not_done() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bed.agent.fail["heal"] = "device busy"
        with pytest.raises(TeardownError, match="slow was not healed"):
            await bed.heal(deadline=0.3)
        bed.agent.fail.clear()
        await waiting.gone(bed.api, "slow", 10)

    with_bed(scenario)


def test_evidence_of_a_profile_that_goes_meanwhile() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        held = bed.agent.hold["observe"] = asyncio.Event()
        asked = asyncio.ensure_future(bed.controller.evidence("slow"))
        await until(lambda: ("observe", "default/web-0") in bed.agent.ops)
        await bed.heal()
        held.set()
        assert set((await asked).pods) <= {"default/web-0"}
        with pytest.raises(NotApplied, match="there is no TrafficProfile slow"):
            await bed.controller.evidence("slow")

    with_bed(scenario)


def test_two_profiles_on_one_pod() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply("a")
        await bed.apply("b", delay="20ms")
        assert sorted(bed.delays("web-0")) == [20, 100]
        (one,) = (await bed.controller.evidence("a")).pods.values()
        assert set(one.verdicts) == {"a", "b"}
        assert one.earlier.passed == 7, "counted before b came"
        (other,) = (await bed.controller.evidence("b")).pods.values()
        assert other.earlier == Effect()
        await bed.heal("a")
        assert bed.delays("web-0") == [20]
        await bed.heal("b")

    with_bed(scenario)


def test_a_pod_that_ends_is_an_event_and_no_gap() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.pod("web-1")
        await bed.apply()
        await bed.api.delete(PODS, "web-1", "default", grace=0)
        bed.agent.remove("default/web-1")
        await until(lambda: bool(bed.seen(events.PodEnded)))
        evidence = await bed.controller.evidence("slow")
        assert set(evidence.pods) == {"default/web-0"}
        assert evidence.gaps == ()
        await bed.heal()

    with_bed(scenario)


def test_what_an_ended_pod_had_met_is_kept() -> None:
    async def scenario(bed: Bed) -> None:
        last = await bed.pod("web-0")
        silent = await bed.pod("web-1")
        await bed.apply()
        await bed.controller.farewell(last)
        for pod in (last, silent):
            await bed.api.delete(PODS, pod["metadata"]["name"], "default", grace=0)
            bed.agent.remove(f"default/{pod['metadata']['name']}")
        await until(lambda: len(bed.seen(events.PodEnded)) == 2)
        evidence = await bed.controller.evidence("slow")
        assert evidence.pods == {}
        ended = {one.pod: one for one in evidence.ended}
        assert ended["default/web-0"].effect.passed == 7
        assert ended["default/web-0"].known
        assert ended["default/web-1"].effect == Effect()
        assert not ended["default/web-1"].known, "nobody could read what it had met"
        await bed.heal()

    with_bed(scenario)


def test_a_profile_that_lives_long_keeps_sums_and_not_each_plan_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST_ENDED", 3)

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        target = bed.controller._fleet.targets["default/web-0"]
        sizes = []
        for number in range(1, 9):
            pod = await bed.pod(f"web-{number}")
            await bed.apply("beside", delay=f"{number}ms")
            await bed.controller.farewell(pod)
            await bed.api.delete(PODS, f"web-{number}", "default", grace=0)
            bed.agent.remove(f"default/web-{number}")
            await until(lambda number=number: len(bed.seen(events.PodEnded)) == number)
            await bed.heal("beside")
            sizes.append(len(pickle.dumps((vars(target.earlier), vars(bed.controller._fleet.past)))))
        evidence = await bed.controller.evidence("slow")
        assert (
            evidence.pods["default/web-0"].earlier.passed == 7 * bed.agent.ops.count(("prepare", "default/web-0")) - 7
        )
        names = [one.pod for one in evidence.ended]
        assert sorted(names) == ["default/web-6", "default/web-7", "default/web-8", tally.OTHERS]
        assert all(one.known for one in evidence.ended)
        passed = {one.pod: one.effect.passed for one in evidence.ended}
        assert passed[tally.OTHERS] == 5 * passed["default/web-8"] > 0
        assert sizes[-1] < sizes[3] * 1.1, f"it grows with each plan: {sizes}"
        await bed.heal()
        assert vars(bed.controller._fleet.past) == {"_ended": {}}

    with_bed(scenario)


def test_conditions_that_change_are_events() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await until(lambda: any(one.condition == "Verified" for one in _true(bed)))
        told = [one.condition for one in _true(bed)]
        assert sorted(told) == ["Accepted", "Applied", "Verified"], "each once"
        assert {one.profile for one in _true(bed)} == {"slow"}
        await bed.heal()

    with_bed(scenario)


def _true(bed: Bed) -> list[Any]:
    return [one for one in bed.seen(events.ConditionChanged) if one.status == "True" and one.generation == 1]


def test_measuring_asks_a_guest() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        check = Check("c", "slow", "x", "icmp", "10.1.0.9", count=3, answers_max=3, rtt_min=5)
        found = await bed.controller.measure({"default/web-0": [check]})
        assert [seen.answered for seen in found["default/web-0"]] == [3]
        assert len(bed.agent.channels) == 1
        with pytest.raises(ImpairmentError, match="no agent"):
            await bed.controller.measure({"default/nobody": [check]})
        with pytest.raises(NotApplied):
            await bed.controller.evidence("nothing")
        await bed.heal()

    with_bed(scenario)


def test_leases_are_renewed() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        assert bed.agent.plans["default/web-0"].ttl == 0.3
        await until(lambda: len(bed.agent.renewed) >= 2)
        await bed.heal()

    with_bed(scenario, ttl=0.3)


def test_a_session_renews_at_once_what_it_finds_in_force() -> None:
    """However late in its lease it comes: what it found would end before a third of a lease has passed."""

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await until(lambda: bed.agent.renewed == [30])
        bed.agent.cut(heals=False)
        await until(lambda: bed.agent.renewed == [30, 30])
        assert await bed.gaps() == ()
        await bed.heal()

    with_bed(scenario, ttl=30)


def test_a_duration_that_is_over_is_no_gap() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.declare(profile("short", spec={"duration": "60s"}))
        assert dict(bed.agent.plans["default/web-0"].durations)["short"] <= 60
        await bed.outlive("short")
        assert len(bed.seen(events.Healed)) == 1
        assert await bed.gaps("short") == ()
        await bed.heal("short")

    with_bed(scenario)


def test_a_duration_that_is_changed_counts_from_the_first_start() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.declare(profile("short", spec={"duration": "600s"}))
        bed.controller._book.states["short"].started -= 300  # type: ignore[operator]
        for change, left in (
            ({"duration": "900s"}, 600),
            ({"impairment": {"delay": "50ms"}}, 600),
            ({"duration": "500s"}, 200),
            ({"duration": None}, None),
            ({"duration": "300s", "impairment": {"delay": "60ms"}}, 0.001),
        ):
            await bed.change("short", **change)
            told = dict(bed.agent.plans["default/web-0"].durations)
            assert set(told) == ({"short"} if left else set()), change
            assert left is None or left - 60 < told["short"] <= left, change
        assert len([op for op, _ in bed.agent.ops if op == "commit"]) == 6
        await bed.heal("short")

    with_bed(scenario)


def test_a_profile_without_its_finalizer_is_healed_all_the_same() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        await bed.api.patch(TRAFFICPROFILES, "slow", {"metadata": {"finalizers": None}})
        await bed.api.delete(TRAFFICPROFILES, "slow")
        await until(lambda: bed.agent.plans == {})

    with_bed(scenario)


def test_a_namespace_that_goes_takes_nothing_with_it_but_its_pods() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.api.create(NAMESPACES, {"metadata": {"name": "other"}})
        await bed.apply()
        await bed.api.delete(NAMESPACES, "other")
        assert bed.delays("web-0") == [100]
        await bed.heal()

    with_bed(scenario)


def test_many_status_writes_become_few() -> None:
    async def scenario(bed: Bed) -> None:
        writes: list[str] = []
        patch = bed.api.patch

        async def counted(kind: Any, name: str, body: Any, namespace: Any = None, subresource: str = "") -> Any:
            if subresource == "status" and kind == TRAFFICPROFILES:
                writes.append(name)
            return await patch(kind, name, body, namespace, subresource)

        bed.api.patch = counted  # type: ignore[method-assign]
        for number in range(30):
            await bed.pod(f"web-{number}")
        began = time.monotonic()
        await bed.apply()
        for number in range(30, 60):
            await bed.pod(f"web-{number}")
            await asyncio.sleep(0.005)
        await until(lambda: len(bed.agent.plans) == 60)
        assert len(writes) <= 5 + 5 * (time.monotonic() - began) + 1
        obj = await bed.api.get(TRAFFICPROFILES, "slow")
        async with asyncio.timeout(10):
            while obj["status"]["pods"]["verified"] != 60:
                await asyncio.sleep(0.05)
                obj = await bed.api.get(TRAFFICPROFILES, "slow")
        assert len(obj["status"]["targets"]) <= 100
        await bed.heal()

    with_bed(scenario)


def test_waiting_for_what_nobody_works_on_says_so() -> None:
    async def scenario() -> None:
        api = MemoryApi()
        await api.create(TRAFFICPROFILES, profile())
        with pytest.raises(ProofError, match="does a controller run"):
            await waiting.verified(api, "slow", 1, 0.05)
        await api.delete(TRAFFICPROFILES, "slow")
        await waiting.gone(api, "slow", 1)
        with pytest.raises(ApiError):
            await api.get(TRAFFICPROFILES, "slow")

    asyncio.run(scenario())


def test_what_ended_by_its_duration_is_no_loss_while_its_queues_drain() -> None:
    """Filters go at once; the agent tells of it when the last packet has left."""

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.declare(profile("short", spec={"duration": "60s"}))
        last = OBSERVED.encode(bed.agent.observed("default/web-0"))
        bed.agent.plans.clear()
        bed.agent.healed_by["default/web-0"] = "duration"
        asked = bed.agent.ops.count(("observe", "default/web-0"))
        evidence = asyncio.create_task(bed.controller.evidence("short"))
        await until(lambda: bed.agent.ops.count(("observe", "default/web-0")) > asked)
        bed.agent.tell(event="healed", target="default/web-0", cause="duration", last=last)
        found = await evidence
        assert found.pods == {}
        assert [(one.pod, one.effect.packets, one.known) for one in found.ended] == [("default/web-0", 7, True)]
        assert found.gaps == ()
        await bed.heal("short")

    with_bed(scenario)


def test_nothing_is_verified_before_its_first_probe_has_ended() -> None:
    """A read-back meanwhile would be enough for some profiles, whose packets the end of the probe would forget."""

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        answered = bed.agent.hold["probe"] = asyncio.Event()
        await bed.api.create(TRAFFICPROFILES, profile())
        await until(lambda: ("probe", "default/web-0") in bed.agent.ops)
        target = bed.controller._fleet.targets["default/web-0"]
        await target.observe()
        assert target.verdicts == {}
        answered.set()
        await waiting.verified(bed.api, "slow", 1, 10)
        await bed.heal()

    with_bed(scenario)


def towards(app: str, name: str = "slow") -> dict[str, Any]:
    """As :func:`profile`, of what goes to the pods of an app only."""
    return profile(name, spec={"egress": [{"to": [{"podSelector": {"matchLabels": {"app": app}}}]}]})


@pytest.mark.parametrize("beside", [False, True])
def test_what_was_met_before_the_last_peer_went_stays_known(beside: bool) -> None:
    """Whether the pod is healed then, or another profile holds it still."""

    async def scenario(bed: Bed) -> None:
        for pod in ("web-0", "db-0"):
            await bed.pod(pod)
        await bed.declare(towards("db"))
        if beside:
            await bed.apply("other")
        await bed.api.delete(PODS, "db-0", "default", grace=0)
        await until(lambda: len(bed.delays("web-0")) == beside)
        found = await bed.controller.evidence("slow")
        assert (found.pods, found.gaps) == ({}, ())
        met = 14 if beside else 7  # the fake's counters say 7 under each plan
        assert [(one.pod, one.effect.packets, one.known) for one in found.ended] == [("default/web-0", met, True)]
        bed.controller._book.states["slow"].started -= 60  # type: ignore[operator] # it has long been in force
        bed.controller._keeper.running_since["default/web-0"] -= 60
        await bed.pod("db-1")
        await until(lambda: len(bed.delays("web-0")) == 1 + beside)
        await waiting.verified(bed.api, "slow", 1, 10)
        assert await bed.gaps() == (), "it was without the profile since it had no peer"
        for name in ("slow", "other") if beside else ("slow",):
            await bed.heal(name)

    with_bed(scenario)


def test_a_healing_under_way_is_no_loss() -> None:
    async def scenario(bed: Bed) -> None:
        for pod in ("web-0", "db-0"):
            await bed.pod(pod)
        await bed.declare(towards("db"))
        drained = bed.agent.hold["heal"] = asyncio.Event()
        await bed.api.delete(PODS, "db-0", "default", grace=0)
        await until(lambda: ("heal", "default/web-0") in bed.agent.ops)
        bed.agent.plans.clear()  # filters go at once, the answer comes when queues have drained
        asked = bed.agent.ops.count(("observe", "default/web-0"))
        evidence = asyncio.create_task(bed.controller.evidence("slow"))
        await until(lambda: bed.agent.ops.count(("observe", "default/web-0")) > asked)
        drained.set()
        assert (await evidence).pods == {}
        await bed.heal()

    with_bed(scenario)
