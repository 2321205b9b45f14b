"""How long until something is there, and what it weighs."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from agentkit import Agent
from figures import median, milliseconds, say, table

from pytest_k8s_netem.local.addresses import NodeAddresses
from pytest_k8s_netem.local.host import NodeHost

PODS = 50
TESTS = 2000


@pytest.mark.needs("root")
def test_agent() -> None:
    bare, starts, memory = [], [], []
    for _ in range(15):
        start = time.perf_counter()
        agent = Agent()
        agent.guest()
        starts.append((time.perf_counter() - start) * 1e3)
        rollup = Path(f"/proc/{agent.process.pid}/smaps_rollup").read_text().split("\n")
        memory.append(next(int(line.split()[1]) / 1024 for line in rollup if line.startswith("Rss")))
        agent.close()
        bare.append(milliseconds(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", "0"], check=True)))
    table("a process", {"python -I -S -c 0": bare, "agent, until it answers hello": starts})
    say(f"agent, idle: {median(memory):.1f} MiB resident")


@pytest.mark.needs("netns")
def test_cluster() -> None:
    """Two nodes and fifty pods: namespaces, links, addresses, routes, and an agent that serves them all."""

    async def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            host = NodeHost(Path(folder) / "host.log")
            await host.start()
            agent = asyncio.ensure_future(host.start_agent(Path(folder) / "agent.log"))
            nodes = [NodeAddresses(at) for at in range(2)]
            for node in nodes:
                name = f"node-{node.index}"
                await host.add_node(name, node.index, node.own, node.prefixed(node.gateways))
            await host.add_wire("node-0", "node-1")
            pods = []
            for at in range(PODS):
                node = nodes[at % 2]
                addresses = node.prefixed(node.take())
                pods.append(host.add_pod(f"default/pod-{at}", f"node-{node.index}", addresses, node.gateways))
            await asyncio.gather(agent, *pods)
            took = (time.perf_counter() - start) * 1e3
            await host.close()
            return took

    table(f"embedded cluster, 2 nodes, {PODS} pods", {"ready, agent and all": [asyncio.run(once()) for _ in range(7)]})


def test_unmarked_tests(tmp_path: Path) -> None:
    """What the plugin costs a suite that never mentions it."""
    (tmp_path / "test_many.py").write_text(
        f"import pytest\n@pytest.mark.parametrize('at', range({TESTS}))\ndef test_nothing(at): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]

    def run(*more: str) -> float:
        """Milliseconds of processor time, which a busy machine stretches less than time."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3

    run()
    rows: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(5):
        rows["without"].append(run("-p", "no:netem"))
        rows["with"].append(run())
    table(f"{TESTS} empty tests, processor time", rows)
    differences = [(w - wo) * 1e3 / TESTS for w, wo in zip(rows["with"], rows["without"], strict=True)]
    say(f"a test that is not marked pays {median(differences):.1f} us, its share of loading the plugin included")
