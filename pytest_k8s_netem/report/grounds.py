"""By which engine a profile can be done and how it would be proven, as far as that is known without a machine."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8s_netem.model.capabilities import Capabilities, EngineCapability, asked, check
from pytest_k8s_netem.model.promises import refused, unpromised
from pytest_k8s_netem.resolve.checks import SHARE
from pytest_k8s_netem.resolve.layout import AUTO, layout
from pytest_k8s_netem.resolve.resolve import resolve
from pytest_k8s_netem.resolve.rules import impairments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_k8s_netem.model.plan import Check
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile
    from pytest_k8s_netem.resolve.sample import Sample

WORDS = {"ordered": "ordered", "loss.EveryNth": 'loss_model="every-nth"', "delay_corr": "delay_correlation"}
"""By name in an engine's capabilities: what a user writes."""
PROBES = {"icmp": "ICMP echo requests", "tcp": "bare TCP packets (no application sees them)"}
"""By kind of a check."""


def engines(profile: TrafficProfile, found: Sample) -> Iterator[str]:
    """Which engine does it, what each cannot do, and what has no effect on one."""
    lacks = {name: _lacks(name, profile, found) for name in ("kernel", "userspace")}
    able = [name for name, words in lacks.items() if not words]
    wanted = profile.engine
    if wanted == AUTO:
        yield "kernel if the machine has sch_netem, else userspace" if len(able) > 1 else able[0]
    elif wanted in able:
        yield f"{wanted}, as asked"
    for name, words in lacks.items():
        if words:
            refusal = "; as it is asked for, the test will be an error" if name == wanted else ""
            yield f"the {name} engine cannot do {', '.join(words)}{refusal}"
    wants = {name for impairment in impairments(profile) for name in asked(impairment)}
    for name in unpromised("kernel", "0"):
        if name in wants and wanted != "userspace":
            yield f"the kernel engine takes {WORDS[name]} without effect"


def _lacks(engine: str, profile: TrafficProfile, found: Sample) -> list[str]:
    """What of the plan an engine cannot do on any kernel, as a user writes it."""
    capability = Capabilities("", (EngineCapability(engine, True, refuses=refused(engine)),))
    for pod in found.index.live:
        plan = replace(layout(found.index, pod).plan, engine=engine)
        if problems := check(plan, capability):
            names = (problem.path.removeprefix(f"{profile.name}.") for problem in problems)
            return [WORDS.get(name, name) for name in dict.fromkeys(names)]
    return []


def proof(profile: TrafficProfile, found: Sample) -> Iterator[str]:
    """What is looked at before the test's body may run."""
    if profile.verify == "none":
        yield "none, as asked: nothing shows that it took effect"
        return
    yield "what each pod's kernel holds is read back, before and after the test's body, and must be equal"
    checks = [check for pod in found.index.live for check in resolve(pod, found.index).plan.checks]
    kinds = dict.fromkeys(PROBES[check.kind] for check in checks if check.kind in PROBES)
    if kinds:
        yield f"{' and '.join(kinds)} show that the packets take that way{_share(profile, checks)}"
    else:
        yield "no probe is sent" + (", as asked" if profile.verify == "read-back" else ": none would come this way")


def _share(profile: TrafficProfile, checks: list[Check]) -> str:
    if not any(impairment.loss for impairment in impairments(profile)):
        return ""
    if any(check.answers_max < check.count for check in checks):
        return ", and how many are lost"
    return f"; a loss below {SHARE:.0%}, or one that varies, is read back only"
