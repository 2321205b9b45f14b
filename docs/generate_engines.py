"""Writes reference/engines.md: what each engine can do, as the agent itself says it.

``python docs/generate_engines.py`` writes the page, ``--check`` only says whether it is current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_k8s_netem.agent.dataplane.batches import FRAME
from pytest_k8s_netem.agent.dataplane.chains import MAX_BRANCHES, MAX_JITTER
from pytest_k8s_netem.agent.dataplane.userspace import SLOW
from pytest_k8s_netem.model.capabilities import BRANCHES
from pytest_k8s_netem.model.plan import MAX_CLASSES
from pytest_k8s_netem.model.promises import SEEDED_SINCE, refused, unpromised

PAGE = Path(__file__).parent / "reference" / "engines.md"
SEEDED = ".".join(map(str, SEEDED_SINCE))
YES = "yes"

WORDS = {
    "delay": "`delay`",
    "jitter": "`jitter`, `distribution`",
    "delay_corr": "`delay_correlation`",
    "rtt": "`rtt`",
    "loss": "`loss`, `loss_correlation`",
    "loss.GilbertElliott": '`loss_model="gemodel ..."`',
    "loss.FourState": '`loss_model="state ..."`',
    "loss.EveryNth": '`loss_model="every-nth N"`',
    "duplicate": "`duplicate`",
    "corrupt": "`corrupt`",
    "reorder": "`reorder`, `gap`",
    "rate": "`rate`, `packet_overhead`, `cell_size`, `cell_overhead`",
    "slot": "`slot`",
    "limit": "`limit`",
    "ecn": "`ecn`",
    "ordered": "`ordered`",
    "seed": "`seed` repeats what happens",
    BRANCHES: "profiles that match part of another's packets",
}
"""By name in the agent's capabilities: what a user writes."""

WHY = {
    "ordered": "refused: netem's jitter reorders packets",
    "loss.EveryNth": "refused: netem has no such model",
    "delay_corr": "held and read back, but without effect: netem reduces the correlated number by a remainder",
    "seed": f"no: netem takes a seed since Linux {SEEDED}",
}
"""What is told of each name that an engine lacks."""

SHAPES = (
    (
        "Overlapping profiles, neither of which contains the other's packets",
        YES,
        "refused, naming both, if the one that would stand in two places has a queue, an order or a memory; a plain "
        "`delay`, uncorrelated `loss`, `duplicate` or `corrupt` may",
    ),
    ("`duplicate` behind another profile", YES, "refused: netem would send the copies through the first one again"),
    (f"More than {MAX_BRANCHES} profiles behind one", f"{YES}, up to {MAX_CLASSES} sets of packets", "refused"),
    (f"`jitter` above {MAX_JITTER} ns", YES, "refused: netem caps it"),
    ("A timeline from slots with a distribution to slots with bounds", YES, "refused: netem cannot forget the first"),
    ("Interfaces without an Ethernet header", "refused", YES),
    (
        f"Frames longer than {FRAME >> 10} KiB (BIG TCP)",
        "lost and counted as such; the impairment then no longer counts as proven",
        YES,
    ),
    (
        "Superpackets (GSO)",
        f"cut into packets where packets count, and for rates below {SLOW // 10**6} Mbit/s",
        "cut into packets where packets count",
    ),
    (
        "Order of packets while a plan changes its shape",
        "kept",
        "kept by packets that are on time: there is a queue before and one after the change, and after a stall of the "
        "processor both catch up, in either order",
    ),
)
"""What depends on more than one field: (what, user space, kernel)."""

PAGE_TEXT = """# Engines

<!-- Written by docs/generate_engines.py from what the agent says of itself; do not edit. -->

One of two engines does the impairing. `kernel` is sch_netem on an ifb device; `userspace` is a worker process that
holds the packets, for kernels without sch_netem. Both hold the same plan, and each argument means the same on both. The
first engine that can do all of a pod's profiles is used, `kernel` before `userspace`; `--netem-engine` or `engine=`
chooses one.

What an engine cannot do is an error that names the field; nothing is impaired then.

## Fields

| what | name | userspace | kernel, Linux {seeded} and later | kernel, older |
| --- | --- | --- | --- | --- |
{fields}

A rate must be a whole number of bytes a second, since that is how netem counts: `rate="9601bit"` is refused on both
engines, and the message has the two nearest rates. Rates of k8s-netem's type Flexe may be fractions, and are rounded to
whole bytes a second.

Every impairment has a seed: the one that was given, or one derived from the run's. So an older kernel does not refuse
`seed`; each run just differs, and `netem doctor` says so. Even where the kernel takes a seed, it draws the bits of
`corrupt`, the gaps of `slot` and the first number of a correlation from elsewhere.

## Shapes

| what | userspace | kernel |
| --- | --- | --- |
{shapes}

`kernel` needs the modules sch_netem, ifb, cls_bpf and act_mirred, and sch_prio for profiles that match only part of
another's packets. `userspace` needs veth, cls_bpf and act_mirred, and the capability NET_RAW. Either uses cls_flower,
where it is there, for thousands of IPv4 addresses that one program cannot hold; elsewhere several programs serve.
"""


def text() -> str:
    """The page.

    :raises LookupError: for a name of the agent's that has no words here.
    """
    releases = (SEEDED, "5.0")
    columns = [("userspace", releases[0]), *(("kernel", release) for release in releases)]
    lacks = [{*refused(engine), *unpromised(engine, release)} for engine, release in columns]
    if unknown := set.union(*lacks) - set(WORDS):
        raise LookupError(f"no words for {', '.join(sorted(unknown))}")
    fields = "\n".join(
        f"| {words} | `{name}` | {' | '.join(WHY[name] if name in lack else YES for lack in lacks)} |"
        for name, words in WORDS.items()
    )
    shapes = "\n".join(f"| {' | '.join(row)} |" for row in SHAPES)
    return PAGE_TEXT.format(seeded=SEEDED, fields=fields, shapes=shapes)


def main() -> int:
    """Write or check the page; 1 = it is not current."""
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != text())
    PAGE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
