"""How often a container that is not ready yet is asked."""

from __future__ import annotations

import asyncio

import pytest

from pytest_k8s_netem.local import readiness


@pytest.mark.parametrize(("takes", "pauses"), [(0.01, [0.1, 0.1]), (0.7, [0.7, 0.7]), (9.0, [1, 1])])
def test_the_pause_is_as_long_as_the_answer_took(
    monkeypatch: pytest.MonkeyPatch, takes: float, pauses: list[float]
) -> None:
    """A command that asks would else take a slow machine from what it waits for."""
    now, slept, told = [0.0], [], []

    async def ask() -> bool:
        now[0] += takes
        return len(slept) == 3

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if told:
            raise asyncio.CancelledError

    async def watched() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0], raising=False)
        monkeypatch.setattr(readiness.asyncio, "sleep", sleep)
        await readiness.watch(readiness.Probe(delay=0, period=1, successes=1, failures=1), ask, told.append)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watched())
    assert told == [True]
    assert slept == pytest.approx([0, *pauses, 1])
