"""Evidence of failed tests: what is looked at and when, what a person reads first, which files there are."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_provider import CONDITIONS, HELD, STATUS, condition, filled, pod, profile

from pytest_k8s_netem.api.protocol import PODS, TRAFFICPROFILES
from pytest_k8s_netem.cluster import looking
from pytest_k8s_netem.cluster.camera import Camera
from pytest_k8s_netem.errors import ApiError, ClusterError
from pytest_k8s_netem.report import artifacts, evidence
from pytest_k8s_netem.run import events
from pytest_k8s_netem.run.identity import RUN
from pytest_k8s_netem.run.portal import Portal
from pytest_k8s_netem.run.snapshot import HeldSeen, PodSeen, ProfileSeen, Snapshot


async def seen(provider: Any) -> Snapshot:
    return await looking.look(provider, "run", ["shop"], 0.0, ())


class TestLooking:
    def test_all_is_there(self) -> None:
        async def all_of_it() -> Snapshot:
            return await seen(await filled())

        snapshot = asyncio.run(all_of_it())
        assert snapshot.missing == ()
        assert [one.name for one in snapshot.profiles] == ["netem"]
        assert snapshot.profiles[0].gaps == (
            ("shop/web", "not impaired for 2.0 s: its agent ended, or did not answer any more"),
        )
        assert [one.key for one in snapshot.pods] == ["shop/db", "shop/web"], "what is not well comes first"
        assert snapshot.pods[0].logs == {"main": "db/main\n", "main.previous": "db/main before\n"}
        assert [event["reason"] for event in snapshot.events] == ["BackOff"]
        assert snapshot.logs == {"agent": "agent says\n"}

    def test_profiles_of_others_are_left_out(self) -> None:
        async def look() -> Snapshot:
            provider = await filled()
            other = profile()
            other["metadata"] = {"name": "netem-2", "labels": {RUN: "another"}}
            await provider.api.create(TRAFFICPROFILES, other)
            return await seen(provider)

        assert [one.object["metadata"]["name"] for one in asyncio.run(look()).profiles] == ["netem-1"]

    def test_what_does_not_answer_keeps_nothing_else_from_being_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(looking, "LOOK_WITHIN", 0.4)

        async def never(*_: Any, **__: Any) -> Any:
            await asyncio.sleep(3600)

        async def look() -> Snapshot:
            provider = await filled()
            provider.witness.evidence = never
            provider.part_logs = never  # type: ignore[method-assign]
            async with asyncio.timeout(20):
                return await seen(provider)

        snapshot = asyncio.run(look())
        assert [one.key for one in snapshot.pods] == ["shop/db", "shop/web"]
        assert [one.name for one in snapshot.profiles] == ["netem"]
        assert [what.partition(":")[0] for what in snapshot.missing] == [
            "what the pods hold of netem-1",
            "logs of the provider's parts",
        ]

    def test_what_is_refused_is_named(self) -> None:
        async def refused(*_: Any, **__: Any) -> Any:
            raise ApiError(403, "Forbidden", "pods/log is forbidden")

        async def look() -> Snapshot:
            provider = await filled()
            provider.logs = refused  # type: ignore[method-assign]
            provider.part_logs = refused  # type: ignore[method-assign]
            return await seen(provider)

        snapshot = asyncio.run(look())
        assert len(snapshot.pods) == 2
        assert "log of main in pod/shop/web: pods/log is forbidden" in snapshot.missing
        assert "logs of the provider's parts: pods/log is forbidden" in snapshot.missing

    def test_a_container_that_has_ended_is_seen_with_its_log(self) -> None:
        async def look() -> Snapshot:
            provider = await filled()
            provider.attachments.known = [SimpleNamespace(name="redis", now=None)]
            return await seen(provider)

        (redis,) = [one for one in asyncio.run(look()).pods if one.key == "container/redis"]
        assert redis.logs == {"redis": f"redis of Docker, {looking.MOST_LINES} lines"}
        text = evidence.text(Snapshot(1.0, 0.0, pods=(redis, PodSeen("shop/web", pod("web")))))
        assert text.splitlines()[1:] == [
            "container/redis: Stopped",
            f"  | redis of Docker, {looking.MOST_LINES} lines",
            "pod/web: Running, node-1, 10.0.0.1",
        ]

    def test_what_waits_to_start_again_is_not_told_twice(self) -> None:
        async def same(*_: Any, **__: Any) -> str:
            return "boom\n"

        async def look() -> Snapshot:
            provider = await filled()
            provider.logs = same  # type: ignore[method-assign]
            return await seen(provider)

        assert asyncio.run(look()).pods[0].logs == {"main": "boom\n"}

    def test_many_pods_are_cut_with_the_touched_ones_kept(self) -> None:
        async def web(_: str) -> Any:
            return [type("Pair", (), {"remote": "shop/web"})]

        async def look() -> Snapshot:
            provider = await filled()
            for number in range(looking.MOST_PODS):
                await provider.api.create(PODS, pod(f"a{number}"), "shop")
            provider.witness.pairs = web
            return await seen(provider)

        snapshot = asyncio.run(look())
        assert len(snapshot.pods) == looking.MOST_PODS
        assert (snapshot.pods[0].key, snapshot.pods[0].role) == ("shop/web", "peer")
        assert snapshot.missing == ("2 more pods",)


class TestCamera:
    @pytest.fixture
    def portal(self) -> Any:
        portal = Portal()
        yield portal
        portal.stop()

    @pytest.fixture
    def log(self) -> events.EventLog:
        return events.EventLog()

    @pytest.fixture
    def camera(self, portal: Portal, log: events.EventLog) -> Camera:
        return Camera(portal.call(filled()), portal, log, "run", enabled=True)  # type: ignore[arg-type]

    def test_what_was_seen_before_the_error_went_on_is_told(self, camera: Camera, log: events.EventLog) -> None:
        error = ValueError("inner")
        camera.before_now(error)
        log(events.Trouble("late", "after the snapshot"))
        outer = RuntimeError("outer")
        outer.__context__ = error
        snapshot = camera.snapshot(outer)
        assert snapshot is not None
        assert snapshot.happened == ()

    def test_an_error_that_the_test_took_is_not_that_of_its_failure(self, camera: Camera, log: events.EventLog) -> None:
        camera.before_now(ValueError("expected"))
        log(events.Trouble("late", "seen only now"))
        snapshot = camera.snapshot(AssertionError("another"))
        assert snapshot is not None
        assert len(snapshot.happened) == 1

    def test_events_of_the_test_before_are_left_out(self, camera: Camera, log: events.EventLog) -> None:
        log(events.Trouble("a", "of the first"))
        camera.phase_over(last=True)
        log(events.Trouble("b", "of the second"))
        snapshot = camera.snapshot(None)
        assert snapshot is not None
        assert [event.where for event in snapshot.happened if isinstance(event, events.Trouble)] == ["b"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), pytest.skip.Exception("no")])
    def test_what_fails_no_test_is_not_looked_into(self, camera: Camera, error: BaseException) -> None:
        camera.before_now(error)
        assert not camera._kept

    def test_once_through_several_blocks(self, camera: Camera) -> None:
        error = ValueError()
        camera.before_now(error)
        camera.before_now(error)
        assert len(camera._kept) == 1

    def test_nothing_after_the_test_has_failed(self, camera: Camera) -> None:
        camera.snapshot(ValueError())
        camera.before_now(None)
        assert not camera._kept

    def test_nothing_where_nobody_wants_it(self, portal: Portal, log: events.EventLog) -> None:
        camera = Camera(portal.call(filled()), portal, log, "run", enabled=False)  # type: ignore[arg-type]
        camera.before_now(ValueError())
        assert camera.snapshot(ValueError()) is None

    def test_it_never_raises(self, camera: Camera) -> None:
        def broken() -> str:
            raise ZeroDivisionError("by us")

        camera._provider.lost = broken  # type: ignore[method-assign]
        camera.before_now(ValueError())
        snapshot = camera.snapshot(AssertionError())
        assert snapshot is not None
        assert snapshot.missing == ("ZeroDivisionError: by us",)

    def test_a_loop_that_hangs_is_not_waited_for(
        self, camera: Camera, portal: Portal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import threading

        monkeypatch.setattr("pytest_k8s_netem.cluster.camera.GRACE", -1.9)
        release = threading.Event()

        async def block() -> None:
            release.wait(30)

        future = portal.submit(block())
        try:
            camera.before_now(ValueError())
            with pytest.raises(TimeoutError):
                camera.snapshot(ValueError())
        finally:
            release.set()
            future.result(30)


class TestText:
    def test_a_test_that_failed_under_a_proven_impairment(self) -> None:
        snapshot = Snapshot(
            10.0,
            0.0,
            profiles=(ProfileSeen("netem", profile(STATUS), {"shop/web": HELD}, notes=("as ever",)),),
            pods=(
                PodSeen("shop/web", pod("web"), "impaired"),
                PodSeen("shop/db", pod("db"), "peer", {"main": "".join(f"{n}\n" for n in range(9))}),
            ),
        )
        assert evidence.text(snapshot).splitlines() == [
            "impairment 'netem': delay 10ms, egress of app=web: verified on 1 of 1 pod",
            "  pod/web: 3 packets met, 1 lost, 2 delayed, userspace engine",
            "  note: as ever",
            "pod/web (impaired): Running, node-1, 10.0.0.1",
            "pod/db (peer): Running, node-1, 10.0.0.1",
            *(f"  | {number}" for number in range(4, 9)),
        ]

    def test_what_is_wrong_is_said(self) -> None:
        status = {
            **STATUS,
            "conditions": [CONDITIONS[0], condition("Applied", "False", "Refused", "the kernel says no")],
        }
        held = HeldSeen("kernel", {"packets": 1}, ("its filter is gone",), {})
        waiting = pod("web", ready=False, waiting={"reason": "ImagePullBackOff", "message": "no such image"})
        snapshot = Snapshot(
            10.0,
            0.0,
            lost="the cluster has ended",
            profiles=(ProfileSeen("netem", profile(status), {"shop/db": held}, (("shop/db", "not impaired"),)),),
            pods=(
                PodSeen("shop/web", waiting),
                PodSeen("shop/db", pod("db", ready=False, restarts=2), "", {"main": "x\n", "main.previous": "boom\n"}),
            ),
            events=(
                {"type": "Normal", "reason": "Pulled"},
                {"type": "Warning", "reason": "Old", "message": "kernel", "involvedObject": {"kind": "Node"}},
                {
                    "type": "Warning",
                    "reason": "Unhealthy",
                    "message": "Startup probe failed",
                    "involvedObject": {"kind": "Pod", "fieldPath": "spec.initContainers{netem-agent}"},
                },
                {
                    "type": "Warning",
                    "reason": "Failed",
                    "message": "pull denied",
                    "count": 3,
                    "involvedObject": {"kind": "Pod", "name": "web"},
                },
            ),
            happened=(
                events.Committed(("shop/db",), ("netem-1",), 0.0, at=1.0),
                events.GapOpened("shop/db", "netem-1", "worker", at=2.5),
                events.Healed("shop/db", ("netem-1",), "request", at=3.0),
            ),
            missing=("a", "b", "c", "d"),
        )
        told = evidence.text(snapshot).splitlines()
        assert told[:12] == [
            "the cluster has ended",
            "impairment 'netem': delay 10ms, egress of app=web: not applied: the kernel says no",
            "  pod/db: not impaired",
            "  pod/db: 1 packet met, kernel engine; its filter is gone",
            "pod/web: Running, node-1, 10.0.0.1; main waits: ImagePullBackOff no such image",
            "pod/db: Running, node-1, 10.0.0.1; main runs, not ready, restarted 2 times, ended with 7 before",
            "  log of main",
            "  | x",
            "  log of main.previous",
            "  | boom",
            "event of pod/web: Failed: pull denied (3 times)",
            told[11],
        ]
        assert ", 2.50 s after the test began: pod/shop/db is not impaired any more: the process that" in told[11]
        assert told[12:] == ["not seen: a", "not seen: b", "not seen: c", "not seen: 1 more"]

    def test_it_stays_short_and_plain(self) -> None:
        log = "\x1b[31m" + "x" * 5000 + "\n"
        pods = tuple(PodSeen(f"shop/p{n}", pod(f"p{n}"), "", {"main": log * 500}) for n in range(20))
        told = evidence.text(Snapshot(1.0, 0.0, pods=pods, events=({"type": "Warning", "message": "x" * 999},) * 99))
        assert len(told.splitlines()) < 60
        assert all(len(line) <= evidence.WIDTH for line in told.splitlines())
        assert "\x1b" not in told
        assert "and 14 pods more" in told

    def test_nothing_known(self) -> None:
        assert evidence.text(Snapshot(1.0, 0.0)) == "no impairment was in force"

    def test_nothing_to_tell(self) -> None:
        assert Snapshot(1.0, 0.0, logs={"agent": ""}).empty
        assert not Snapshot(1.0, 0.0, logs={"controller": "Traceback"}).empty
        assert not Snapshot(1.0, 0.0, lost="the embedded cluster has ended").empty
        assert not Snapshot(1.0, 0.0, missing=("pods: forbidden",)).empty


class TestFiles:
    SNAPSHOT = Snapshot(
        10.0,
        0.0,
        profiles=(ProfileSeen("../odd name", profile(STATUS), {"shop/web": HELD}),),
        pods=(PodSeen("shop/web", pod("web"), "impaired", {"main": "hello\n"}),),
        events=({"type": "Normal"},),
        logs={"agent": "agent says\n"},
        happened=(events.Trouble("a", "b", at=1.0),),
        missing=("something",),
    )

    def test_all_is_in_files(self, tmp_path: Path) -> None:
        told, folder = evidence.told(self.SNAPSHOT, tmp_path, "tests/a.py::test_x[1-ü]", "call")
        assert told.endswith(f"all of it: {folder}")
        root = Path(folder)
        assert root == tmp_path / "tests-a.py-test_x-1" / "call"
        files = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
        assert set(files) == {
            "summary.txt",
            "profiles/odd-name.json",
            "profiles/odd-name/shop/web.json",
            "pods/shop/web/pod.json",
            "pods/shop/web/main.log",
            "agent.log",
            "events.json",
            "run.jsonl",
            "not-seen.txt",
        }
        assert json.loads(files["profiles/odd-name.json"])["status"] == STATUS
        assert files["pods/shop/web/main.log"] == "hello\n"
        assert files["run.jsonl"] == events.dumps(self.SNAPSHOT.happened[0]) + "\n"

    def test_an_earlier_run_is_left_alone(self, tmp_path: Path) -> None:
        folders = [evidence.told(self.SNAPSHOT, tmp_path, "t", "call")[1] for _ in range(3)]
        assert [Path(folder).name for folder in folders] == ["call", "call-2", "call-3"]

    def test_a_directory_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        told, folder = evidence.told(self.SNAPSHOT, tmp_path / "file", "t", "call")
        assert folder == ""
        assert told.splitlines()[-1].startswith("not written to a file: ")

    def test_long_names_are_cut_and_stay_apart(self) -> None:
        names = {artifacts.directory_name(f"a.py::test[{'x' * 300}{end}]") for end in "ab"}
        assert len(names) == 2
        assert all(len(name) < 100 for name in names)


def test_a_provider_error_is_a_reason_like_any_other() -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise ClusterError("pod/web does not run")

    async def look() -> Snapshot:
        provider = await filled()
        provider.api.list = broken
        return await seen(provider)

    snapshot = asyncio.run(look())
    assert "TrafficProfiles and pods: pod/web does not run" in snapshot.missing
