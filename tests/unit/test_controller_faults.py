"""The traffic controller, and who waits for it, while the API server or agents refuse, fail or do not answer."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from fake_agent import FakeChannels
from test_controller_traffic import Bed, conditions, profile, until, with_bed

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import PODS, TRAFFICPROFILES
from pytest_k8s_netem.controller import attaching, refusals, render, rounds, testimony, waiting
from pytest_k8s_netem.controller.forcing import Forcing
from pytest_k8s_netem.errors import ApiError, ConfigError, ImpairmentError, ProofError, TeardownError
from pytest_k8s_netem.resolve.view import View
from pytest_k8s_netem.run import events


class Refused:
    """Requests of a bed's store that are refused; ``refuse`` tells by operation, name and body, or raises nothing."""

    def __init__(self, bed: Bed, refuse: Callable[[str, str, Any], ApiError | None]) -> None:
        self.met: list[str] = []
        self._refuse = refuse
        patch, get = bed.api.patch, bed.api.get

        async def patched(kind: Any, name: str, body: Any, namespace: Any = None, subresource: str = "") -> Any:
            self._look("patch", kind, name, body)
            return await patch(kind, name, body, namespace, subresource)

        async def got(kind: Any, name: str, namespace: Any = None) -> Any:
            self._look("get", kind, name, None)
            return await get(kind, name, namespace)

        bed.api.patch, bed.api.get = patched, got  # type: ignore[method-assign]

    def _look(self, operation: str, kind: Any, name: str, body: Any) -> None:
        if kind == TRAFFICPROFILES and (error := self._refuse(operation, name, body)) is not None:
            self.met.append(operation)
            raise error


def _of_finalizers(body: Any) -> bool:
    return body is not None and "finalizers" in body.get("metadata", {})


def test_a_finalizer_is_taken_away_whatever_a_conflict_is_followed_by() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        errors = {"patch": [ApiError(409, "Conflict")], "get": [ApiError(503, "ServiceUnavailable")]}

        def refuse(operation: str, _: str, body: Any) -> ApiError | None:
            after_conflict = operation == "get" and not errors["patch"]
            return errors[operation].pop() if (_of_finalizers(body) or after_conflict) and errors[operation] else None

        refused = Refused(bed, refuse)
        await bed.heal()
        assert refused.met == ["patch", "get"]

    with_bed(scenario)


def test_a_finalizer_is_taken_away_after_any_number_of_conflicts() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        errors = [ApiError(409, "Conflict")] * 12
        refused = Refused(bed, lambda _, __, body: errors.pop() if _of_finalizers(body) and errors else None)
        await bed.heal()
        assert len(refused.met) == 12

    with_bed(scenario)


@pytest.mark.parametrize("status", [403, 500])
def test_a_profile_whose_finalizer_cannot_be_written_waits_alone(status: int) -> None:
    """Nothing is applied without it: whoever deleted the profile would not be told from one who heals it."""

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.pod("db-0")
        await bed.apply("before")
        mended = False

        def refuse(_: str, name: str, body: Any) -> ApiError | None:
            refused = name == "denied" and _of_finalizers(body) and not mended
            return ApiError(status, "Denied", "the webhook says no") if refused else None

        Refused(bed, refuse)
        with pytest.raises(ProofError, match=r"NotHeld: its finalizer cannot be written: .*the webhook says no"):
            await bed.apply("denied", deadline=0.5, delay="70ms")
        await bed.declare(profile("other", app="db"))
        await bed.heal("before")
        assert (bed.delays("web-0"), bed.delays("db-0")) == ([], [100])
        mended = True
        await waiting.verified(bed.api, "denied", 1, 10)
        assert bed.delays("web-0") == [70]
        await bed.heal("denied")
        await bed.heal("other")

    with_bed(scenario)


def test_a_profile_whose_finalizer_stays_holds_no_other_up() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply("a")
        mended = False

        def refuse(_: str, name: str, body: Any) -> ApiError | None:
            return ApiError(403, "Forbidden") if name == "a" and _of_finalizers(body) and not mended else None

        refused = Refused(bed, refuse)
        await bed.api.delete(TRAFFICPROFILES, "a")
        await until(lambda: bool(refused.met))
        assert bed.agent.plans == {}, "it is healed all the same"
        await bed.apply("b", delay="70ms")
        await bed.heal("b")
        mended = True
        await waiting.gone(bed.api, "a", 10)

    with_bed(scenario)


def test_what_may_be_touched_is_asked_anew_when_a_finalizer_can_be_written() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        mended = False

        def refuse(_: str, __: str, body: Any) -> ApiError | None:
            return ApiError(500, "InternalError") if _of_finalizers(body) and not mended else None

        refused = Refused(bed, refuse)
        await bed.api.create(TRAFFICPROFILES, profile())
        await until(lambda: bool(refused.met))
        bed.controller._keeper.world.view = View(allowed=frozenset())
        mended = True
        with pytest.raises(ConfigError, match="--netem-allow-namespaces=default"):
            await waiting.verified(bed.api, "slow", 1, 10)
        assert bed.agent.ops == []
        await bed.heal()

    with_bed(scenario)


def test_what_could_not_be_reached_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "RETRIED_AFTER", 0.05)

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        bed.channels.refuse = "the agent did not run in pod/default/web-0 within 20 s"
        with pytest.raises(ImpairmentError, match="did not run"):
            await bed.apply()
        bed.channels.refuse = ""
        await until(lambda: bed.delays("web-0") == [100])
        async with asyncio.timeout(10):
            while conditions(await bed.api.get(TRAFFICPROFILES, "slow"))["Verified"][0] != "True":
                await asyncio.sleep(0.01)
        await bed.heal()

    with_bed(scenario)


def test_what_an_agent_refused_is_tried_again_with_other_words_only() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        bed.agent.fail["prepare"] = "the kernel refused"
        with pytest.raises(ImpairmentError, match="the kernel refused"):
            await bed.apply()
        assert bed.controller._book.again() is None
        bed.channels.refuse = "no agent"
        bed.agent.cut(heals=True)
        with pytest.raises(ImpairmentError, match="no agent"):
            await bed.change(impairment={"delay": "50ms"})
        seconds = bed.controller._book.again()
        assert seconds is not None
        assert 0 < seconds <= refusals.RETRIED_AFTER
        await bed.heal()

    with_bed(scenario)


def test_sessions_that_were_lost_are_forgotten() -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        lost = []
        for number in range(1, 11):
            lost.append(weakref.ref(bed.agent.channels[0]))
            bed.agent.cut(heals=False)
            await until(lambda: bool(bed.agent.channels) and bed.controller._rounds.holds("default/web-0"))
            assert len(bed.seen(events.ChannelLost)) == number
        await bed.heal()
        gc.collect()
        assert sum(ref() is not None for ref in lost) <= 1

    with_bed(scenario)


class Lost:
    """A bed whose pod ``a-0`` has lost its agent, and ``b-0`` has not.

    :ivar back: set when the agent can be reached again. :ivar lost: whether it cannot before. :ivar asked: attempts.
    """

    def __init__(self, bed: Bed) -> None:
        self.lost = False
        self.back = asyncio.Event()
        self.asked: list[str] = []
        self._open = bed.channels.open
        self._bed = bed
        self._own = FakeChannels(bed.agent)
        bed.channels.open = self.open  # type: ignore[method-assign]

    async def begin(self) -> None:
        for name in ("a", "b"):
            await self._bed.pod(f"{name}-0")
            await self._bed.declare(profile(name, app=name))
        channel = await self._own.open({})
        self.lost = True
        channel.end()
        await until(lambda: "a-0" in self.asked)

    async def open(self, pod: dict[str, Any]) -> Any:
        name = pod["metadata"]["name"]
        if name != "a-0":
            return await self._open(pod)
        if self.lost:
            self.asked.append(name)
            await self.back.wait()
        return await self._own.open(pod)


def test_a_pod_whose_agent_is_lost_holds_no_other_up() -> None:
    async def scenario(bed: Bed) -> None:
        lost = Lost(bed)
        await lost.begin()
        await bed.heal("b")
        await bed.pod("c-0")
        await bed.declare(profile("c", app="c"))
        assert (bed.delays("a-0"), lost.asked) == ([100], ["a-0"]), "it is still looked for, for the first time"
        lost.back.set()
        evidence = await bed.controller.evidence("a")
        assert (set(evidence.pods), evidence.gaps) == ({"default/a-0"}, ())
        await bed.api.patch(TRAFFICPROFILES, "a", {"spec": {"impairment": {"delay": "50ms"}}})
        await until(lambda: bed.delays("a-0") == [50])
        await bed.heal("a")
        await bed.heal("c")

    with_bed(scenario)


def test_a_profile_waits_for_all_of_its_pods_though_one_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attaching, "WAITED_FOR", 0.0)

    async def scenario(bed: Bed) -> None:
        lost = Lost(bed)
        await lost.begin()
        pods = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}
        await bed.api.create(TRAFFICPROFILES, profile("both", spec={"podSelector": pods}, delay="30ms"))
        await until(lambda: "both" in bed.controller._book.states)
        for _ in range(200):
            await asyncio.sleep(0)
        assert (bed.delays("a-0"), bed.delays("b-0")) == ([100], [100])
        lost.back.set()
        await waiting.verified(bed.api, "both", 1, 10)
        assert (len(bed.delays("a-0")), len(bed.delays("b-0"))) == (2, 2)
        for name in ("both", "a", "b"):
            await bed.heal(name)

    with_bed(scenario)


def test_evidence_of_a_lost_pod_is_waited_for_without_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attaching, "WAITED_FOR", 0.0)
    monkeypatch.setattr(testimony, "REACHED_WITHIN", 0.5)

    async def scenario(bed: Bed) -> None:
        lost = Lost(bed)
        await lost.begin()
        run, rounds = bed.controller._rounds.run, 0

        async def counted() -> bool:
            nonlocal rounds
            rounds += 1
            return await run()

        monkeypatch.setattr(bed.controller._rounds, "run", counted)
        evidence = await bed.controller.evidence("a")
        assert [(gap.pod, gap.cause, gap.end) for gap in evidence.gaps] == [("default/a-0", "session", None)]
        assert rounds <= 3 * 0.5 / testimony.ASKED_AGAIN + 10, "it asks, and the round tries again"
        lost.back.set()
        await bed.heal("a")
        await bed.heal("b")

    with_bed(scenario)


def test_a_question_that_a_pod_did_not_answer_is_held_against_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask, at any time: what a node that stood still holds is known when it has gone on."""
    monkeypatch.setattr(testimony, "REACHED_WITHIN", 0.1)

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        answered = bed.agent.hold["observe"] = asyncio.Event()
        meanwhile = await bed.controller.evidence("slow")
        assert (meanwhile.pods, [gap.pod for gap in meanwhile.gaps]) == ({}, ["default/web-0"])
        answered.set()
        later = await bed.controller.evidence("slow")
        assert (list(later.pods), later.gaps) == (["default/web-0"], ())
        await bed.heal()

    with_bed(scenario)


def test_a_pod_made_anew_is_not_waited_for_as_the_old_one() -> None:
    async def scenario(bed: Bed) -> None:
        lost = Lost(bed)
        await lost.begin()
        bed.agent.remove("default/a-0")
        await bed.api.delete(PODS, "a-0", "default", grace=0)
        lost.lost = False
        made = await bed.pod("a-0")
        await until(lambda: bed.delays("a-0") == [100])
        assert bed.controller._fleet.targets["default/a-0"].uid == made["metadata"]["uid"]
        await bed.heal("a")
        await bed.heal("b")

    with_bed(scenario)


def test_what_is_looked_for_as_a_controller_stops_is_left() -> None:
    async def scenario(bed: Bed) -> None:
        lost = Lost(bed)
        await lost.begin()
        bed.agent.plans.pop("default/a-0")
        await bed.heal("b")

    with_bed(scenario)


class Moody(MemoryApi):
    """A store that answers each listing and each watch at first with errors."""

    def __init__(self, *errors: ApiError) -> None:
        super().__init__()
        self.refuse = {"list": list(errors), "watch": list(errors)}

    async def list(self, *args: Any) -> Any:
        if self.refuse["list"]:
            raise self.refuse["list"].pop(0)
        return await super().list(*args)

    async def watch(self, *args: Any) -> Any:
        if self.refuse["watch"]:
            raise self.refuse["watch"].pop(0)
        async for change in super().watch(*args):
            yield change


PASSING = tuple(ApiError(status, "Passing") for status in (0, 410, 429, 500, 503, 504))


def test_waiting_goes_on_while_the_api_server_has_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AGAIN_AFTER", 0.001)

    async def scenario() -> None:
        api = Moody(*PASSING)
        await api.create(TRAFFICPROFILES, profile())
        task = asyncio.ensure_future(waiting.verified(api, "slow", 1, 10))
        await until(lambda: not any(api.refuse.values()))
        true = [
            {"type": kind, "status": "True", "reason": "", "message": "", "observedGeneration": 1}
            for kind in waiting.CONDITIONS
        ]
        await api.patch(TRAFFICPROFILES, "slow", {"status": {"conditions": true}}, subresource="status")
        assert (await task)["metadata"]["name"] == "slow"
        api.refuse = {"list": list(PASSING), "watch": list(PASSING)}
        task = asyncio.ensure_future(waiting.gone(api, "slow", 10))
        await until(lambda: not any(api.refuse.values()))
        await api.delete(TRAFFICPROFILES, "slow")
        await task
        api.refuse["list"] = [ApiError(403, "Forbidden", "trafficprofiles are not for you")]
        with pytest.raises(ApiError, match="not for you"):
            await waiting.gone(api, "slow", 10)
        await api.close()

    asyncio.run(scenario())


def test_waiting_in_vain_for_the_api_server_says_so() -> None:
    async def scenario() -> None:
        api = Moody(*[ApiError(0, "Unreachable", "it does not answer")] * 10)
        with pytest.raises(ProofError, match=r"within 0\.05 s: .*it does not answer$"):
            await waiting.verified(api, "slow", 1, 0.05)
        with pytest.raises(TeardownError, match=r"within 0\.05 s: .*it does not answer; run netem sweep"):
            await waiting.gone(api, "slow", 0.05)

    asyncio.run(scenario())


class Bug:
    """Makes one function of a module raise what nobody foresaw, while :attr:`there`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: Exception | None = None) -> None:
        self.there, self.met = True, False
        real = getattr(owner, name)

        def buggy(*args: Any, **named: Any) -> Any:
            if self.there:
                self.met = True
                raise error or KeyError("no\nsuch thing")
            return real(*args, **named)

        monkeypatch.setattr(owner, name, buggy)


SAID = "the controller failed with KeyError: 'no\\nsuch thing'; it tries again, and its log has the traceback"


@pytest.mark.parametrize(
    ("owner", "name"), [(rounds, "resolve"), (rounds, "affected"), (Forcing, "push"), (render.Renderer, "status")]
)
def test_an_error_of_the_controllers_own_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, owner: Any, name: str
) -> None:
    bug = Bug(monkeypatch, owner, name)

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        with pytest.raises(ProofError) as told:
            await bed.apply(deadline=0.5)
        assert f"Accepted=Unknown InternalError: {SAID}" in str(told.value)
        said = [bool(record.exc_info) for record in caplog.records if record.name.endswith("runtime")]
        assert said[:1] == [True] or name == "status"
        assert True not in said[1:], "the traceback once is enough"
        assert "in buggy" in caplog.text
        bug.there = False
        bed.controller.wake()
        obj = await waiting.verified(bed.api, "slow", 1, 10)
        assert conditions(obj)["Accepted"] == ("True", "Accepted")
        assert bed.delays("web-0") == [100]
        assert await bed.gaps() == ()
        await bed.heal()

    with_bed(scenario)


def test_a_lasting_mistake_of_the_controller_is_not_waited_for_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LASTING", 0.3)
    bug = Bug(monkeypatch, rounds, "resolve")

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        with pytest.raises(ProofError, match="was not verified within") as told:
            await bed.apply(deadline=3600)
        assert f"Accepted=Unknown InternalError: {SAID}" in str(told.value)
        assert "within 3600 s" not in str(told.value)
        bug.there = False
        bed.controller.wake()
        await waiting.verified(bed.api, "slow", 1, 10)
        await bed.heal()

    with_bed(scenario)


def test_what_the_controller_needs_is_waited_for_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be there again at any moment, unlike a program without its mistake."""
    monkeypatch.setattr(waiting, "LASTING", 0.0)
    bug = Bug(monkeypatch, rounds, "resolve", ApiError(500, "InternalError", "etcd has no leader"))

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        applied = asyncio.create_task(bed.apply(deadline=3600))
        while not bug.met:
            await asyncio.sleep(0.01)
        with pytest.raises(ProofError, match=r"within 0\.5 s: Accepted=Unknown Interrupted: .*etcd has no leader"):
            await waiting.verified(bed.api, "slow", 1, 0.5)
        bug.there = False
        bed.controller.wake()
        await applied
        await bed.heal()

    with_bed(scenario)


def test_a_healing_that_the_controllers_own_error_keeps_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bug = Bug(monkeypatch, Forcing, "push")
        with pytest.raises(TeardownError) as told:
            await bed.heal(deadline=0.5)
        assert SAID in str(told.value)
        bug.there = False
        await waiting.gone(bed.api, "slow", 10)

    with_bed(scenario)


def test_a_pod_that_the_controllers_own_error_leaves_unimpaired_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LATE_BROUGHT", 0.05)

    async def scenario(bed: Bed) -> None:
        await bed.pod("web-0")
        await bed.apply()
        bug = Bug(monkeypatch, rounds, "resolve")
        await bed.pod("web-1")
        await until(lambda: bool(bed.seen(events.GapOpened)))
        (gap,) = await bed.gaps()
        assert (gap.pod, gap.end, gap.cause) == ("default/web-1", None, SAID)
        status = (await bed.api.get(TRAFFICPROFILES, "slow"))["status"]
        assert [one["message"] for one in status["targets"] if not one["verified"]] == [SAID]
        bug.there = False
        await until(lambda: bed.delays("web-1") == [100])
        (gap,) = await bed.gaps()
        assert gap.end is not None
        await bed.heal()

    with_bed(scenario)
