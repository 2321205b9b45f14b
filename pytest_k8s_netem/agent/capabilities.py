"""What this kernel lets this process do, found by trying: in a namespace made for it, by a child that ends with it."""

from __future__ import annotations

import os
import time

from pytest_k8s_netem.agent.trial import Trial
from pytest_k8s_netem.model.capabilities import Capabilities, EngineCapability
from pytest_k8s_netem.model.promises import refused, unpromised

_NEEDS = {
    "kernel": ("ifb", "netem", "clsact", "filter"),
    "userspace": ("veth", "clsact", "filter", "packet"),
}

_CLASSIFIERS = {"bpf": "filter", "flower": "flower"}


def probe() -> Capabilities:
    """Try what each engine needs; takes a few milliseconds and leaves nothing behind.

    :raises OSError: if no child can be made.
    """
    trial = Trial()
    found = judged(trial.answer())
    while not trial.over():
        time.sleep(0.001)
    return found


def judged(found: dict[str, str]) -> Capabilities:
    """What can be done, by what :meth:`Trial.answer` found."""
    release = os.uname().release
    tried = {name: why for name, why in found.items() if name in _FIXES}
    return Capabilities(
        release,
        tuple(_engine(name, tried, release) for name in _NEEDS),
        classifiers=tuple(kind for kind, need in _CLASSIFIERS.items() if not tried.get(need, "not tried")),
        privileges=tuple(name for name, why in found.items() if name not in _FIXES and not why),
    )


def _engine(name: str, tried: dict[str, str], release: str) -> EngineCapability:
    package = _package(release)
    missing = [
        f"{_FIXES[need][0]} is missing ({tried.get(need, 'not tried')}): {_FIXES[need][1].format(package=package)}"
        for need in _NEEDS[name]
        if tried.get(need, "not tried")
    ]
    branching = bool(tried.get("netem")) or not tried.get("prio")  # tried behind netem only
    return EngineCapability(
        name, not missing, "; ".join(missing), refused(name, branching=branching), unpromised(name, release)
    )


def _package(release: str) -> str:
    """How to get the modules that are not installed with the kernel, where its release tells whose it is.

    An agent may run in a container of another system than its kernel's: /etc/os-release would not tell.
    """
    vendors = [part[:2] for part in release.split(".") if part[2:3].isdigit() and not part.endswith("uek")]
    if "fc" in vendors or "el" in vendors:  # 6.11.4-301.fc41.x86_64, 5.14.0-427.el9_4.x86_64
        return f" (after dnf install kernel-modules-extra-{release})"
    if release.rpartition("-")[2] in _UBUNTUS:
        return f" (after apt install linux-modules-extra-{release})"
    return ""


_UBUNTUS = ("generic", "lowlatency", "aws", "azure", "gcp", "gke", "ibm", "oracle")
"""How releases of Ubuntu's kernels end; Debian's (6.1.0-18-amd64) come with all their modules."""
_FIXES = {
    "ifb": ("ifb", "modprobe ifb, or use --netem-engine=userspace"),
    "netem": (
        "sch_netem",
        "modprobe sch_netem{package}, use --netem-engine=userspace, or run in a guest that has it: --netem-guest",
    ),
    "prio": ("sch_prio", "modprobe sch_prio"),
    "clsact": ("the clsact qdisc", "modprobe sch_ingress (Linux 4.5 and later have it)"),
    "filter": ("cls_bpf with act_mirred", "modprobe -a cls_bpf act_mirred"),
    "flower": ("cls_flower", "modprobe cls_flower"),
    "veth": ("veth", "modprobe veth"),
    "packet": ("a packet socket", "give the agent CAP_NET_RAW, modprobe af_packet"),
}
"""Per need: what it is called, and what to do where it lacks; ``{package}``: where else its module may be."""
