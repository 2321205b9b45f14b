"""The page about the engines says what the agent says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_k8s_netem.model.capabilities import BRANCHES, Capabilities, EngineCapability, check
from pytest_k8s_netem.model.impairment import Bernoulli, EveryNth, Impairment
from pytest_k8s_netem.model.plan import Class, Direction, Plan, Stage
from pytest_k8s_netem.model.promises import refused, unpromised
from pytest_k8s_netem.model.timeline import Timeline

SLOW = Impairment(delay=1, limit=10)
GENERATOR = Path(__file__).parents[2] / "docs" / "generate_engines.py"


def test_the_page_is_current():
    done = subprocess.run([sys.executable, GENERATOR, "--check"], check=False)
    assert done.returncode == 0, "run python docs/generate_engines.py"


def plan(*chains: tuple[str, ...], impairment: Impairment = SLOW) -> Plan:
    names = dict.fromkeys(name for chain in chains for name in chain)
    stages = tuple(Stage(name, f"profile-{name}", Direction.EGRESS, Timeline.constant(impairment), 1) for name in names)
    classes = tuple(Class(f"c{at}", "eth0", Direction.EGRESS, (), chain) for at, chain in enumerate(chains))
    return Plan("ns/pod", "kernel", classes, stages)


def kernel(release: str = "6.1.0", branching: bool = True) -> Capabilities:
    lacks = refused("kernel", branching=branching)
    return Capabilities(release, (EngineCapability("kernel", True, "", lacks, unpromised("kernel", release)),))


@pytest.mark.parametrize(
    ("impairment", "name"),
    [
        (Impairment(loss=EveryNth(3)), "loss.EveryNth"),
        (Impairment(delay=1, jitter=1, ordered=True), "ordered"),
    ],
)
def test_what_is_refused_is_named(impairment, name):
    (problem,) = check(plan(("a",), impairment=impairment), kernel())
    assert problem.path == f"profile-a.{name}"


@pytest.mark.parametrize("release", ["5.10.0", "6.1.176", "6.6.0", "6.18.3"])
def test_a_seed_is_never_refused(release):
    assert check(plan(("a",), impairment=Impairment(loss=Bernoulli(0.1))), kernel(release)) == ()


def test_a_seed_is_promised_since_6_6():
    assert "seed" in unpromised("kernel", "6.5.13-generic")
    assert "seed" not in unpromised("kernel", "6.6.0")
    assert unpromised("userspace", "4.19.0") == refused("userspace") == ()


@pytest.mark.parametrize("chains", [(("a", "b"), ("a",)), (("a", "b"), ("a", "c"))])
def test_packets_part_ways_only_where_the_kernel_has_prio(chains):
    assert check(plan(*chains), kernel()) == ()
    (problem,) = check(plan(*chains), kernel(branching=False))
    assert problem.path == f"profile-a.{BRANCHES}"


@pytest.mark.parametrize("chains", [(("a",), ("b",)), (("a", "b"),), (("a", "b"), ())])
def test_chains_that_do_not_part_need_no_prio(chains):
    assert check(plan(*chains), kernel(branching=False)) == ()
