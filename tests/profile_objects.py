"""Any profile, and any place in an object of one: for the renderer, the reader, and the API server."""

from __future__ import annotations

import copy
from dataclasses import replace

from hypothesis import strategies as st

from pytest_k8s_netem.model.impairment import (
    NONE,
    Bernoulli,
    EveryNth,
    FourState,
    GilbertElliott,
    Impairment,
    Rate,
    Slot,
)
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.tables import Table, named
from pytest_k8s_netem.model.timeline import Segment, Timeline
from pytest_k8s_netem.profile.trafficprofile import (
    Block,
    LabelSelector,
    Operator,
    Port,
    Ref,
    RefKind,
    Requirement,
    Rule,
    Script,
    Selection,
    Side,
    TrafficProfile,
)

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
SHARES = st.one_of(st.sampled_from([0.01, 0.5, 1.0]), st.floats(1e-9, 1))
NS = st.integers(1, 4 * 10**12)
COUNTS = st.integers(1, 2**32 - 1)
CHANCES = st.one_of(st.just(Bernoulli()), st.builds(Bernoulli, SHARES, st.one_of(st.just(0.0), SHARES)))
TABLES = st.one_of(
    st.none(),
    st.sampled_from(["normal", "pareto", "paretonormal"]).map(named),
    st.builds(Table, NAMES, st.lists(st.integers(-32768, 32767), min_size=1, max_size=5).map(tuple)),
)
LOSSES = st.one_of(
    CHANCES,
    st.builds(GilbertElliott, SHARES, SHARES, SHARES, SHARES),
    st.builds(FourState, SHARES, SHARES, SHARES, SHARES, SHARES),
    st.builds(EveryNth, COUNTS),
)
RATES = st.one_of(
    st.just(Rate()),
    st.builds(Rate, st.integers(1, 125 * 10**12).map(lambda octets: octets * 8), st.integers(-100, 100)),
    st.builds(
        Rate,
        st.integers(1, 125 * 10**12).map(lambda octets: octets * 8),
        st.integers(-100, 100),
        st.integers(1, 99),
        st.integers(0, 99),
    ),
)
SLOTS = st.one_of(
    st.just(Slot()),
    st.tuples(NS, NS, st.integers(0, 9), st.integers(0, 9)).map(lambda t: Slot(min(t[:2]), max(t[:2]), *t[2:])),
    st.builds(Slot, delay=NS, jitter=NS, table=TABLES.filter(bool), packets=st.integers(0, 9)),
)


@st.composite
def impairments(draw):
    delay = draw(st.one_of(st.just(0), NS))
    jitter = draw(st.one_of(st.just(0), NS))
    reorder = draw(CHANCES) if delay else Bernoulli()
    return Impairment(
        delay=delay,
        jitter=jitter,
        delay_corr=draw(st.one_of(st.just(0.0), SHARES)),
        table=draw(TABLES),
        loss=draw(LOSSES),
        duplicate=draw(CHANCES),
        corrupt=draw(CHANCES),
        reorder=reorder,
        gap=draw(COUNTS) if reorder else 0,
        rate=draw(RATES),
        slot=draw(SLOTS),
        limit=draw(st.one_of(st.just(0), COUNTS)),
        ecn=draw(st.booleans()),
        ordered=draw(st.booleans()),
    )


@st.composite
def timelines(draw):
    if draw(st.booleans()):
        return Timeline.constant(draw(impairments()))
    timed = draw(st.lists(st.builds(Segment, NS, impairments()), min_size=1, max_size=3))
    if draw(st.booleans()):
        return Timeline((*timed, Segment(None, draw(impairments()))))
    return Timeline(tuple(timed), draw(st.booleans()))


REQUIREMENTS = st.one_of(
    st.builds(
        Requirement,
        NAMES,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Requirement, NAMES, st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST])),
)
SELECTORS = st.builds(LabelSelector, st.lists(REQUIREMENTS, max_size=3).map(tuple))
POD_REFS = st.builds(Ref, st.sampled_from([RefKind.POD, RefKind.SERVICE, RefKind.DEPLOYMENT, RefKind.CONTAINER]), NAMES)
REFS = st.one_of(POD_REFS, st.builds(Ref, st.sampled_from([RefKind.NODE, RefKind.FQDN]), NAMES))
NETWORKS = st.one_of(
    st.integers(0, 32).map(lambda n: (4, (0x0A010203 >> (32 - n)) << (32 - n), n)),
    st.integers(0, 128).map(lambda n: (6, ((0xFD00 << 112 | 7) >> (128 - n)) << (128 - n), n)),
)
BLOCKS = NETWORKS.flatmap(lambda n: st.sampled_from([Block(n), Block(n, ((n[0], n[1], 32 if n[0] == 4 else 128),))]))


def unique(strategy, most):
    return st.lists(strategy, max_size=most, unique=True).map(tuple)


@st.composite
def selections(draw, depth=1, peers=True):
    selectors, refs = draw(unique(SELECTORS, 2)), draw(unique(REFS if peers else POD_REFS, 2))
    blocks = draw(unique(BLOCKS, 2)) if peers else ()
    if not (selectors or refs or blocks):
        selectors = (LabelSelector(),)
    names = draw(unique(NAMES, 2))
    labelled = SELECTORS.filter(lambda s: s.requirements) if names else SELECTORS
    namespaces = draw(st.one_of(st.none(), labelled))
    exceptions = draw(unique(selections(depth - 1), 2)) if depth else ()
    return Selection(selectors, refs, blocks, names, namespaces, exceptions)


PORT_NUMBERS = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda t: Ranges.of((min(t), max(t))))
SIDES = st.sampled_from(["either", "remote", "local"])
WITH_PORTS = st.sampled_from([6, 17, 132, 136])
PORTS = st.one_of(
    st.builds(Port, WITH_PORTS, PORT_NUMBERS, st.just(""), SIDES),
    st.builds(Port, WITH_PORTS, st.none(), NAMES, SIDES),
    st.builds(Port, st.integers(0, 255), side=SIDES),
)
RULES = st.builds(
    Rule,
    st.one_of(st.none(), unique(st.integers(1536, 65535), 3).filter(bool).map(lambda n: Ranges.of(*n))),
    st.one_of(st.none(), unique(st.integers(0, 255), 3).filter(bool).map(lambda n: Ranges.of(*n))),
    st.one_of(st.none(), unique(selections(), 2)),
    st.one_of(st.none(), unique(PORTS, 3).filter(bool)),
)
RULE_LISTS = st.lists(RULES, min_size=1, max_size=2).map(tuple)


@st.composite
def profiles(draw):
    script = draw(st.sampled_from([None, None, None, Script({"any": [1, {"x": None}]})]))
    timeline = st.just(Timeline.constant(NONE)) if script else timelines()
    sides = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    egress, ingress = (draw(st.builds(Side, RULE_LISTS, timeline)) if present else None for present in sides)
    if egress and ingress and draw(st.booleans()):
        ingress = replace(ingress, timeline=egress.timeline)
    return TrafficProfile(
        draw(NAMES),
        draw(st.sampled_from(["", "0f3c"])),
        draw(st.integers(0, 9)),
        tuple(draw(st.lists(st.integers(-9, 9), max_size=3))),
        draw(selections(peers=False)),
        draw(st.one_of(st.none(), st.integers(1, 99), SHARES)),
        draw(st.sampled_from(["", "eth", "gre[0-9]+"])),
        egress,
        ingress,
        script,
        draw(st.one_of(st.none(), NS.map(lambda ns: ns / 1e9))),
        draw(st.sampled_from(["", "shop/run-1"])),
        draw(st.sampled_from(["auto", "kernel", "userspace"])),
        draw(st.sampled_from(["probe", "read-back", "none"])),
        draw(st.one_of(st.none(), st.integers(0, 2**64 - 1))),
        draw(st.sampled_from(["labels", "start"])),
        draw(st.sampled_from([("node", "apiserver"), (), ("dns",), ("apiserver", "node", "dns")])),
    )


def spots(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from spots(value[key], (*path, key))


def with_change(obj, path, value):
    changed = copy.deepcopy(obj)
    if not path:
        return value
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed
