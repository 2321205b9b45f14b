"""From a plan to proven filters and back, beside ``tc -batch`` and tcconfig's ``tcset`` on the same work.

The work: 100 ms of delay towards one peer, read back, taken off again. Where the kernel has no netem, ``tc`` is given
a pfifo in its place, which is less work, and ``tcset`` is left out: it knows netem only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from ipaddress import ip_address

import pytest
from agentkit import Agent, Line, Namespace, pod_and_peer, wait_for
from figures import milliseconds, say, table

from pytest_k8s_netem.model.impairment import MILLISECOND, Impairment
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction, Plan, Stage
from pytest_k8s_netem.model.sizing import sized
from pytest_k8s_netem.model.timeline import Timeline

pytestmark = pytest.mark.needs("root", "tc")
ROUNDS = 20
PEER = "10.9.0.2"


def plan(engine: str, target: str = "pod", milliseconds: int = 100) -> Plan:
    timeline = Timeline.constant(sized(Impairment(delay=milliseconds * MILLISECOND)))
    match = Match(remote=PeerSet.from_networks([(4, int(ip_address(PEER)), 32)]))
    return Plan(
        target,
        engine=engine,
        classes=(Class("c", "eth0", Direction.EGRESS, (match,), ("s",)),),
        stages=(Stage("s", "profile", Direction.EGRESS, timeline),),
    )


def heal(owner: Line, target: str = "pod") -> tuple[int, int]:
    """Ask to heal and, behind it, to observe: that is answered once the filters are off."""
    owner.frames.clear()
    return owner.start("heal", target=target), owner.start("observe", target=target)


def until(owner: Line, number: int) -> None:
    owner.until("an answer", lambda frame: frame.get("id") == number)


def ours(pod: Namespace, engine: str, *, spare: bool = True) -> dict[str, list[float]]:
    """An agent that is in place, spoken to as the controller does; without ``spare`` no worker waits for a plan."""
    agent = Agent()
    to_off, to_gone = [], []
    try:
        agent.target("pod", pod)
        owner = agent.owner()
        for at in range(ROUNDS + 3):
            if not spare:
                end_all(agent)
            wanted = plan(engine, milliseconds=100 + at)  # anew each time: nothing is remembered of the last
            applied = milliseconds(lambda wanted=wanted: owner.impose(wanted))
            numbers: list[int] = []

            def off(numbers: list[int] = numbers) -> None:
                numbers.extend(heal(owner))
                until(owner, numbers[1])

            to_off.append(applied + milliseconds(off))
            to_gone.append(to_off[-1] + milliseconds(lambda numbers=numbers: until(owner, numbers[0])))
    finally:
        agent.close()
    if not spare:
        return {f"{engine} engine, a worker forked each time: the same": to_off[3:]}
    return {
        f"{engine} engine: apply, read back, filters off": to_off[3:],
        f"{engine} engine: apply, read back, all gone": to_gone[3:],
    }


def end_all(agent: Agent) -> None:
    """Kill the agent's children, and wait until it has noticed."""
    for child in agent.children():
        os.kill(child, signal.SIGKILL)
    wait_for("no child", lambda: not agent.children())


def tc(pod: Namespace, *, netem: bool) -> list[float]:
    """What the same takes with one ``tc -batch`` to apply, two reads and one removal."""
    leaf = "netem delay 100ms" if netem else "pfifo limit 1000"
    batch = f"""qdisc add dev eth0 root handle 1: htb default 1
class add dev eth0 parent 1: classid 1:10 htb rate 10gbit quantum 60000
qdisc add dev eth0 parent 1:10 handle 10: {leaf}
filter add dev eth0 parent 1: protocol ip prio 1 u32 match ip dst {PEER}/32 flowid 1:10
"""

    def cycle() -> None:
        subprocess.run(pod.enter("tc", "-batch", "-"), input=batch, text=True, check=True)
        for what in ("qdisc", "filter"):
            subprocess.run(pod.enter("tc", what, "show", "dev", "eth0"), check=True, stdout=subprocess.DEVNULL)
        subprocess.run(pod.enter("tc", "qdisc", "del", "dev", "eth0", "root"), check=True)

    return [milliseconds(cycle) for _ in range(ROUNDS)]


def tcset(pod: Namespace) -> list[float]:
    """The same with tcconfig."""

    def cycle() -> None:
        for command in (
            ("tcset", "eth0", "--delay", "100ms", "--dst-network", f"{PEER}/32"),
            ("tcshow", "eth0"),
            ("tcdel", "eth0", "--all"),
        ):
            subprocess.run(pod.enter(*command), check=True, capture_output=True)

    return [milliseconds(cycle) for _ in range(3)]


def _has_netem() -> bool:
    tried = ["unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def test_apply_read_back_and_heal() -> None:
    netem = _has_netem()
    with pod_and_peer() as (pod, _):
        rows = ours(pod, "userspace") | ours(pod, "userspace", spare=False) | (ours(pod, "kernel") if netem else {})
        rows[f"tc -batch, tc show, tc del ({'netem' if netem else 'pfifo for want of netem'})"] = tc(pod, netem=netem)
        if netem and shutil.which("tcset"):
            rows["tcset, tcshow, tcdel"] = tcset(pod)
    table("one profile on one pod", rows)
    if "tcset, tcshow, tcdel" not in rows:
        say("tcset: needs netem and tcconfig (dependency group bench); left out")


def test_fifty_pods_heal_together() -> None:
    """Fifty targets of one agent, on namespaces with a device each."""
    spaces = [Namespace() for _ in range(50)]
    agent = Agent()
    try:
        for at, space in enumerate(spaces):
            space.sh("ip link add eth0 type veth peer name far0")
            agent.target(f"pod-{at}", space)
        owner = agent.owner()
        for at in range(len(spaces)):
            owner.impose(plan("userspace", f"pod-{at}"))

        def all_gone() -> None:
            for number in [owner.start("heal", target=f"pod-{at}") for at in range(len(spaces))]:
                until(owner, number)

        say(f"50 pods of one agent heal, devices gone: {milliseconds(all_gone):.0f} ms")
    finally:
        agent.close()
        for space in spaces:
            space.close()
    assert not os.path.exists(f"/proc/{agent.process.pid}")
