"""Evidence asked over a socket is the evidence that the controller has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from test_controller_traffic import Bed, with_bed

from pytest_k8s_netem.controller import evidence_codec, evidence_server
from pytest_k8s_netem.controller.evidence_client import RemoteWitness
from pytest_k8s_netem.controller.evidence_server import EvidenceServer
from pytest_k8s_netem.controller.stream import SocketStream, StreamChannel
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.codec import WireError
from pytest_k8s_netem.model.plan import Check

Scenario = Callable[[Bed, RemoteWitness], Awaitable[None]]


def asked(path: Path, scenario: Scenario) -> None:
    async def serve(bed: Bed) -> None:
        server = EvidenceServer(bed.controller, path)
        await server.start()

        async def open_channel() -> StreamChannel:
            return StreamChannel(SocketStream(*await asyncio.open_unix_connection(path)), "the controller")

        witness = RemoteWitness(open_channel)
        await scenario(bed, witness)
        await witness.close()
        await server.stop()
        assert not path.exists()

    with_bed(serve)


@pytest.mark.parametrize("portion", [evidence_server.PORTION, 100])
def test_evidence_and_pairs_arrive_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portion: int) -> None:
    monkeypatch.setattr(evidence_server, "PORTION", portion)

    async def scenario(bed: Bed, witness: RemoteWitness) -> None:
        for name in ("web-0", "web-1", "db-0"):
            await bed.pod(name)
        await bed.apply()
        bed.agent.break_worker("default/web-1")
        while not (mine := await bed.controller.evidence("slow")).gaps or mine.gaps[0].end is None:
            await asyncio.sleep(0.001)
        there, here = await asyncio.gather(witness.evidence("slow"), bed.controller.evidence("slow"))
        assert there == here
        assert set(there.pods) == {"default/web-0", "default/web-1"}
        assert await witness.pairs("slow") == await bed.controller.pairs("slow") != ()
        await bed.heal()

    asked(tmp_path / "socket", scenario)


def test_checks_are_run_for_whoever_asks(tmp_path: Path) -> None:
    async def scenario(bed: Bed, witness: RemoteWitness) -> None:
        await bed.pod("web-0")
        await bed.apply()
        check = Check("c", "slow", "", "icmp", "10.1.0.9", count=2, answers_max=2)
        assert await witness.measure({"default/web-0": [check]}) == await bed.controller.measure(
            {"default/web-0": [check]}
        )
        with pytest.raises(ImpairmentError, match="pod/default/nobody has no agent"):
            await witness.measure({"default/nobody": [check]})
        await bed.heal()

    asked(tmp_path / "socket", scenario)


def test_an_unknown_profile_and_a_question_that_is_none_are_told(tmp_path: Path) -> None:
    async def scenario(bed: Bed, witness: RemoteWitness) -> None:
        with pytest.raises(ImpairmentError, match="there is no TrafficProfile nothing"):
            await witness.evidence("nothing")
        for op, fields in (("sing", {}), ("evidence", {}), ("more", {"of": 99}), ("measure", {"checks": 3})):
            with pytest.raises(ImpairmentError, match="not a question"):
                await witness._whole(op, **fields)
        assert await witness.pairs("nothing") == ()

    asked(tmp_path / "socket", scenario)


def test_a_broken_stream_is_opened_anew(tmp_path: Path) -> None:
    async def scenario(bed: Bed, witness: RemoteWitness) -> None:
        await bed.pod("web-0")
        await bed.apply()
        first = await witness.evidence("slow")
        assert witness._channel is not None
        await witness._channel.close()
        assert await witness.evidence("slow") == first
        await bed.heal()

    asked(tmp_path / "socket", scenario)


def test_what_is_no_testimony_is_refused() -> None:
    for said in (None, [], {}, {"sets": {}, "evidence": {"pods": {"a": 1}}}, {"sets": [], "evidence": {}}):
        with pytest.raises(WireError):
            evidence_codec.decode(json.loads(json.dumps(said)))
