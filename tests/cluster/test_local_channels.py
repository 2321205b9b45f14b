"""The controller's way to the embedded cluster's agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedded_lab import ClusterLab, cluster_lab

from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.errors import ImpairmentError

pytestmark = pytest.mark.needs("linux", "netns")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterLab]:
    with cluster_lab(tmp_path_factory.mktemp("cluster")) as lab:
        lab.pod("first", "sleep", "1000")
        lab.ready("first")
        yield lab


async def _targets(channel: StreamChannel) -> set[str]:
    hello = await channel.request("hello", role="guest", identity="test", epoch=1)
    return set(hello["targets"])


def test_every_pod_is_a_target_of_one_agent(lab: ClusterLab) -> None:
    channels = lab.cluster.channels
    pod = lab.get("first")
    assert channels.target(pod) == "default/first"
    channel = lab.call(channels.open(pod))
    assert lab.call(channels.open(pod)) is channel
    lab.pod("second", "sleep", "1000")
    lab.ready("second")
    assert lab.call(_targets(channel)) == {"default/first", "default/second"}


def test_a_pod_without_network_has_no_channel(lab: ClusterLab) -> None:
    with pytest.raises(ImpairmentError, match="no network yet"):
        lab.call(lab.cluster.channels.open({"metadata": {"name": "x", "namespace": "default"}}))


def test_an_agent_that_died_is_replaced(lab: ClusterLab) -> None:
    channels = lab.cluster.channels
    pod = lab.get("first")
    before = lab.call(channels.open(pod))
    agent = channels.agent
    assert agent
    lab.call(agent.kill())
    assert lab.call(agent.wait()) == -9

    async def closed() -> bool:
        return before.closed

    lab.eventually(closed, "the end of the channel")
    after = lab.call(channels.open(pod))
    assert after is not before
    assert "default/first" in lab.call(_targets(after))
