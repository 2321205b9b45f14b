"""The API server does not answer, or a node stands still: shorter than a lease nothing changes, longer it is told."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from declaring import gone
from innerrun import InnerRun, waited
from standstill import LEASE, MORE, back, paused_api_server, paused_node, refused_api_server


def test_an_api_server_away_for_ten_seconds_changes_nothing(scene: Any, inner: Callable[..., InnerRun]) -> None:
    client = scene.client("api-10")
    run = inner(scene.test(client))
    run.reached("test_api_10")
    client.impaired()
    began = time.time()
    with paused_api_server(scene, 10):
        pass
    back(scene)
    client.impaired()
    assert not client.trace().fast(began)
    run.allow()
    run.passed()
    client.healed(time.time() + 5)
    assert scene.profiles(client) == []


def test_an_api_server_away_for_a_minute_heals_and_is_told(scene: Any, inner: Callable[..., InnerRun]) -> None:
    client = scene.client("api-60")
    run = inner(scene.test(client))
    run.reached("test_api_60")
    client.impaired()
    began = time.time()
    with refused_api_server(scene, 60):
        pass
    back(scene)
    fast = client.trace().fast(began)
    assert fast, "it was not healed by its lease"
    assert began + 2 * LEASE / 3 - MORE < fast[0] < began + LEASE + MORE, "renewed ten seconds before, at most"
    run.allow()
    assert run.ended() == 1, run.output
    assert re.search(rf"lost from \S+ to (\d\S+|the end) on pod/{scene.namespace.name}/api-60", run.output), run.output
    assert re.search(r"1 passed, 1 error", run.output), run.output
    client.healed(time.time() + 5)
    gone(scene, client)


def test_a_node_that_stands_still_for_twenty_seconds(scene: Any, inner: Callable[..., InnerRun]) -> None:
    node = scene.node_without_controller()
    client = scene.client("node-20", node=node)
    run = inner(scene.test(client))
    run.reached("test_node_20")
    client.impaired()
    began = time.time()
    with paused_node(scene.nodes, node):
        still = time.time()
        waited(began + 20)
        ended = time.time()
    client.impaired()
    trace = client.trace()
    assert not [at for at, _ in trace.samples if still < at < ended], "its pods went on"
    assert not trace.fast(began)
    run.allow()
    run.passed()
    client.healed(time.time() + 5)
