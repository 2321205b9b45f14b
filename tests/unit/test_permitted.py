"""Profiles that a run sends to a controller of many reach no further than the run may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.cluster.permitted import PermittedProfiles
from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.profile.arguments import from_arguments
from pytest_k8s_netem.resolve.view import View


def said(**arguments: Any) -> dict[str, Any]:
    obj = from_arguments({"delay": "1ms", "pods": "app=web", **arguments}, name="slow", namespace="mine")
    return {**obj, "metadata": {"name": "slow"}}


@pytest.mark.parametrize(
    ("arguments", "allowed", "fix"),
    [
        ({}, (), ""),
        ({"namespaces": "theirs"}, (), "--netem-allow-namespaces=theirs"),
        ({"namespaces": "theirs"}, ("theirs",), ""),
        ({"namespaces": ["mine", "theirs"]}, ("*",), ""),
        ({"namespaces": "kube-system"}, ("*",), "--netem-allow-namespaces=kube-system"),
        ({"namespaces": "*"}, (), "--netem-allow-namespaces='*'"),
        ({"namespaces": "*"}, ("theirs",), "--netem-allow-namespaces='*'"),
        ({"namespaces": "*"}, ("*",), ""),
    ],
)
def test_a_profile_stays_where_the_run_may_impair(
    arguments: dict[str, Any], allowed: tuple[str, ...], fix: str
) -> None:
    async def main() -> None:
        api = PermittedProfiles(MemoryApi(), lambda: View(allowed=frozenset(allowed), made=frozenset({"mine"})))
        if not fix:
            await api.create(TRAFFICPROFILES, said(**arguments))
            return
        with pytest.raises(ConfigError, match=fix.replace("*", r"\*")):
            await api.create(TRAFFICPROFILES, said(**arguments))
        assert (await api.list(TRAFFICPROFILES)).items == []

    asyncio.run(main())


def test_a_change_is_looked_at_as_the_first_was() -> None:
    async def main() -> None:
        api = PermittedProfiles(MemoryApi(), lambda: View(allowed=frozenset(), made=frozenset({"mine"})))
        await api.create(TRAFFICPROFILES, said())
        await api.patch(TRAFFICPROFILES, "slow", {"spec": {"impairment": {"delay": "2ms"}}})
        wider = {"spec": {"namespaceSelector": None}}
        with pytest.raises(ConfigError):
            await api.patch(TRAFFICPROFILES, "slow", wider)
        kept = await api.get(TRAFFICPROFILES, "slow")
        assert kept["spec"]["impairment"] == {"delay": "2ms"}

    asyncio.run(main())
