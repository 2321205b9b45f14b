"""TrafficProfile objects: both dialects, identity of parse and render, totality, every refusal with its path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_objects import profiles, spots, with_change

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.model.impairment import (
    NONE,
    Bernoulli,
    GilbertElliott,
    Impairment,
    Rate,
    Slot,
)
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.tables import named
from pytest_k8s_netem.model.timeline import Timeline
from pytest_k8s_netem.profile.native import render_profile
from pytest_k8s_netem.profile.parse import parse
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

ROOT = Path(__file__).parents[2]
OWN = ROOT / "fixtures" / "profiles"
UPSTREAM = ROOT.parent / "shared" / "data" / "k8s-netem" / "kubernetes" / "example"
MS, S = 10**6, 10**9


def load(path):
    if not path.is_file():
        pytest.skip(f"{path.name} of k8s-netem is not here")
    return yaml.safe_load(path.read_text())


def app(name, key="app"):
    return LabelSelector((Requirement(key, Operator.IN, (name,)),))


# --- identity -------------------------------------------------------------------------------------------------------

SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


@SLOW
@given(profiles())
def test_what_is_rendered_reads_as_the_same_profile(profile):
    assert parse(render_profile(profile)) == profile


@given(profiles())
@SLOW
def test_a_rendered_object_survives_json_and_yaml(profile):
    text = yaml.safe_dump(render_profile(profile))
    assert parse(yaml.safe_load(text)) == profile


# --- totality -------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    re.findall(
        r"\w+",
        """
        apiVersion kind metadata name uid spec podSelector pods matchLabels matchExpressions key operator values egress
        ingress to from ports port endPort protocol ipBlock cidr except impairment delay loss timeline for repeat
        preset rtt type parameters netem profiles segments runTime loss_ratio anyOf namespaceSelector count seed order
        """,
    )
)
WORDS = st.sampled_from(
    ["k8s-netem.riasc.eu/v1", "TrafficProfile", "100ms", "1%", "In", "Flexe", "Script", "lte", "tcp"]
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(KEYS, st.text(max_size=3)), inner, max_size=5)
    ),
    max_leaves=20,
)


def outcome(obj):
    """Whatever is wrong, it is a ConfigError that says what."""
    problems = None
    try:
        assert isinstance(parse(obj), TrafficProfile)
    except ConfigError as error:
        problems = error.problems
    assert problems is None or problems


@given(JSON)
def test_any_json_value_is_a_profile_or_a_config_error(value):
    outcome(value)
    outcome({"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "metadata": {"name": "x"}, "spec": value})


@SLOW
@given(st.data(), JSON)
@pytest.mark.parametrize("name", ["builtin", "flexe", "script", "native"])
def test_any_change_of_a_good_object_is_a_profile_or_a_config_error(name, data, value):
    obj = load(OWN / f"{name}.yaml")
    outcome(with_change(obj, data.draw(st.sampled_from(list(spots(obj)))), value))


@pytest.mark.parametrize("name", ["builtin", "flexe", "native"])
def test_an_unknown_field_anywhere_is_refused_with_its_path(name):
    obj = load(OWN / f"{name}.yaml")
    free = {"metadata", "matchLabels"}
    for path in spots(obj):
        place = obj
        for key in path:
            place = place[key]
        if isinstance(place, dict) and not free & set(path):
            with pytest.raises(ConfigError) as error:
                parse(with_change(obj, (*path, "zzz"), 1))
            assert any(problem.path.endswith("zzz") for problem in error.value.problems), path


# --- upstream -------------------------------------------------------------------------------------------------------


def test_upstreams_builtin_example_loads():
    profile = parse(load(UPSTREAM / "profile-builtin.yaml"))
    assert profile.pods == Selection((app("builtin", "traffic-profile"),))
    assert profile.ingress is None
    kinds, protocols, peers, ports = profile.egress.rules
    assert kinds == Rule(ether_types=Ranges.of(0x0800, 0x0806, 0x86DD, 0x88B8))
    assert protocols == Rule(protocols=Ranges.of(1, 4, 41, 58))
    assert peers == Rule(
        peers=(Selection(blocks=(Block((4, 0x01010101, 32)),)), Selection((app("example", "component"),)))
    )
    assert ports == Rule(ports=(Port(6, Ranges.of(443), side="remote"), Port(17, Ranges.of(53), side="remote")))
    assert profile.egress.timeline.only == Impairment(delay=200 * MS, loss=Bernoulli(0.2))


def test_upstreams_flexe_example_loads():
    profile = parse(load(UPSTREAM / "profile-flexe.yaml"))
    timeline = profile.egress.timeline
    assert profile.interface == "gre1"
    assert timeline.repeat
    assert [segment.duration for segment in timeline.segments] == [30 * S] * 5
    assert [segment.impairment.rate.bits for segment in timeline.segments] == [
        10**8,
        256000,
        60000,
        5 * 10**6,
        2 * 10**6,
    ]
    assert timeline.segments[1].impairment == Impairment(
        delay=200 * MS,
        jitter=50 * MS,
        loss=Bernoulli(0.005),
        duplicate=Bernoulli(0.001),
        corrupt=Bernoulli(0.001),
        reorder=Bernoulli(0.002),
        rate=Rate(256000),
    )


def test_builtin_has_upstreams_units_and_rules():
    profile = parse(load(OWN / "builtin.yaml"))
    canary = Requirement("canary", Operator.DOES_NOT_EXIST)
    assert profile.pods == Selection((LabelSelector((*app("edge", "tier").requirements, canary)),))
    impairment = Impairment(delay=50 * MS, jitter=5 * MS, loss=Bernoulli(0.01), rate=Rate(2 * 10**6))
    assert profile.egress.timeline == profile.ingress.timeline == Timeline.constant(impairment)
    assert profile.egress.rules[1].protocols == Ranges.of(1, 17, 58)
    block = Block((4, 0xC6336400, 24), ((4, 0xC6336407, 32),))
    assert profile.ingress.rules == (Rule(peers=(Selection(blocks=(block,)),)),)


def test_flexe_carries_values_over_and_up_is_egress():
    profile = parse(load(OWN / "flexe.yaml"))
    up, down = profile.egress.timeline, profile.ingress.timeline
    assert [segment.duration for segment in up.segments] == [20 * S, 20 * S, 10 * S]
    assert up.repeat
    assert [i.rate.bits for i in up.impairments] == [5 * 10**6, 60_000, 0]
    assert [i.rate.bits for i in down.impairments] == [15 * 10**6, 80_000, 80_000]
    assert [i.delay for i in up.impairments] == [7_500_000, 350 * MS, 350 * MS]
    assert [i.jitter for i in up.impairments] == [5 * MS] * 3
    assert {i.table for i in up.impairments} == {named("normal")}
    assert [i.loss.p for i in up.impairments] == [0.00025, 0.005, 0.0]
    assert [i.corrupt.p for i in up.impairments] == [0.0, 0.001, 0.001]


def flexe(*entries, segments=None, **spec):
    parameters = {"profiles": [{"name": str(at), "parameters": entry} for at, entry in enumerate(entries)]}
    if segments is not None:
        parameters["segments"] = segments
    return native({"podSelector": {}, "type": "Flexe", "parameters": parameters, "egress": [{}], **spec})


def native(spec):
    return {"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "metadata": {"name": "x"}, "spec": spec}


def durations(obj):
    return [segment.duration for segment in parse(obj).egress.timeline.segments]


def test_flexe_timing():
    assert durations(flexe({"delay": 1})) == [None]
    assert durations(flexe({"delay": 1}, {"loss": 1, "runTime": 5})) == [5 * S]
    assert parse(flexe({"delay": 1}, {"loss": 1, "runTime": 5})).egress.timeline.impairments == (
        Impairment(delay=MS, loss=Bernoulli(0.01)),
    )
    assert durations(flexe({"runTime": 5}, {}, {"runTime": 0}, {"runTime": 2.5})) == [5 * S, 5 * S, 2_500_000_000]
    assert durations(flexe({"runTime": 5}, {"runTime": 0})) == [5 * S, None]
    assert not parse(flexe({"runTime": 5}, {"runTime": 0}, segments=[{"repeat": True}])).egress.timeline.repeat
    assert not parse(flexe({"runTime": 5}, segments=[{"repeat": True}, {"repeat": False}])).egress.timeline.repeat
    assert parse(flexe({"runTime": 5}, segments=[{"profile": "a", "start": 0, "end": 1}, {"repeat": True}])).egress
    assert not parse(flexe({"runTime": 5})).egress.timeline.repeat


def test_a_repeated_name_keeps_its_first_place_with_the_last_value():
    obj = flexe({"runTime": 1, "delay": 1}, {"runTime": 2, "delay": 2}, {"runTime": 3, "delay": 3})
    obj["spec"]["parameters"]["profiles"][2]["name"] = "0"
    assert durations(obj) == [3 * S, 2 * S]


def builtin(**netem):
    return native({"podSelector": {}, "parameters": {"netem": netem}, "egress": [{}]})


@pytest.mark.parametrize(
    ("netem", "impairment"),
    [
        ({}, NONE),
        ({"delay": 0.2, "loss_ratio": 0.2}, Impairment(delay=200 * MS, loss=Bernoulli(0.2))),
        ({"delay": 0.0005, "loss_ratio": 0.001}, Impairment(delay=500_000, loss=Bernoulli(0.001))),
        ({"delay": 1, "jitter": 1}, Impairment(delay=S, jitter=S, table=named("normal"))),
        ({"delay": 1, "jitter": 1, "distribution": "uniform"}, Impairment(delay=S, jitter=S)),
        ({"delay": 1, "distribution": "normal"}, Impairment(delay=S)),
        ({"duplication_ratio": 1, "duplication_correlation": 0.5}, Impairment(duplicate=Bernoulli(1.0, 0.5))),
        ({"delay": 1, "reorder_ratio": 0.5, "reorder_gap": 3}, Impairment(delay=S, reorder=Bernoulli(0.5), gap=3)),
        ({"limit": 0, "rate": 0}, NONE),
        (
            {"rate": 8, "rate_packetoverhead": 1, "rate_cellsize": 2, "rate_celloverhead": 3},
            Impairment(rate=Rate(8000, 1, 2, 3)),
        ),
        ({"slot_min_delay": 0.001}, Impairment(slot=Slot(MS, MS))),
        ({"slot_min_delay": 0.001, "slot_max_delay": 0.002, "slot_packets": 4}, Impairment(slot=Slot(MS, 2 * MS, 4))),
        (
            {"slot_delay": 0.001, "slot_jitter": 0.001, "slot_bytes": 9},
            Impairment(slot=Slot(bytes=9, delay=MS, jitter=MS, table=named("normal"))),
        ),
    ],
)
def test_builtin_values(netem, impairment):
    assert parse(builtin(**netem)).egress.timeline == Timeline.constant(impairment)


@pytest.mark.parametrize(
    ("netem", "text"),
    [
        ({"loss_ratio": 20}, "spec.parameters.netem.loss_ratio=20: above 1: k8s-netem's ratios go from 0 to 1"),
        ({"loss_ratio": 20}, "for 20% write loss_ratio: 0.20"),
        ({"loss_ratio": -1}, "out of range: 0 to 1"),
        ({"loss_ratio": 200}, "out of range: 0 to 1"),
        ({"loss_ratio": float("nan")}, "out of range"),
        ({"delay": "100ms"}, "expected a number; values with units belong in spec.impairment"),
        ({"delay": True}, "expected a number"),
        ({"delay": 5000}, "out of range: 0 to 4294.97"),
        ({"rate": 1.5}, "expected a whole number"),
        ({"distribution": "uniformity"}, "did you mean uniform?"),
        ({"los_ratio": 0.1}, "spec.parameters.netem.los_ratio: unknown field; did you mean loss_ratio?"),
        ({"reorder_ratio": 0.1}, "reorder_ratio=0.1: has no effect without delay"),
        ({"reorder_gap": 1}, "has no effect without reorder_ratio"),
        ({"rate_cellsize": 48}, "has no effect without rate"),
        ({"slot_packets": 3}, "has no effect without slot_min_delay"),
    ],
)
def test_refused_builtin_values(netem, text):
    with pytest.raises(ConfigError) as error:
        parse(builtin(**netem))
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"loss": 101}, "spec.parameters.profiles[0].parameters.loss=101: out of range: 0 to 100"),
        ({"delayDistribution": "gauss"}, "unknown distribution"),
        ({"bandwith": 1}, "unknown field; did you mean bandwidthUp?"),
        ({"runTime": -1}, "out of range"),
        ({"reorder": 1, "delay": 0}, "has no effect without delay"),
    ],
)
def test_refused_flexe_values(entry, text):
    with pytest.raises(ConfigError) as error:
        parse(flexe(entry))
    assert text in str(error.value)


def test_flexe_needs_profiles():
    with pytest.raises(ConfigError, match="needs at least one entry"):
        parse(flexe())


def test_script_keeps_its_parameters():
    profile = parse(load(OWN / "script.yaml"))
    assert profile.script == Script({"anything": [1, "two", {"three": 3}]})
    assert profile.egress == Side((Rule(ports=(Port(6, Ranges.of(80), side="remote"),)),), Timeline.constant(NONE))


@pytest.mark.parametrize("rules", [None, [], "absent"])
def test_upstreams_missing_direction_is_nothing(rules):
    spec = {"podSelector": {}, "parameters": {}} | ({} if rules == "absent" else {"egress": rules})
    assert parse(native(spec)).egress is None


def test_an_empty_peer_restricts_and_an_empty_list_does_not():
    rule = {"podSelector": {}, "parameters": {}, "egress": [{"to": [{}]}, {"to": []}]}
    assert parse(native(rule)).egress.rules == (Rule(peers=()), Rule(peers=None))


def test_rules_of_objects_match_destination_ports():
    spec = {
        "podSelector": {},
        "parameters": {},
        "egress": [{"ports": [{"port": 1}]}],
        "ingress": [{"ports": [{"port": 1}]}],
    }
    profile = parse(native(spec))
    assert profile.egress.rules[0].ports == (Port(6, Ranges.of(1), side="remote"),)
    assert profile.ingress.rules[0].ports == (Port(6, Ranges.of(1), side="local"),)


# --- ours -----------------------------------------------------------------------------------------------------------


def test_our_dialect_in_full():
    profile = parse(load(OWN / "native.yaml"))
    stable = LabelSelector((*app("web").requirements, *app("stable", "track").requirements))
    assert profile.pods == Selection(
        (app("web"),), (Ref(RefKind.POD, "probe-0"),), (), ("shop",), None, (Selection((stable,)),)
    )
    (rule,) = profile.egress.rules
    assert rule.peers == (
        Selection((app("db"),), namespaces=LabelSelector()),
        Selection(refs=(Ref(RefKind.SERVICE, "cache"),)),
        Selection(refs=(Ref(RefKind.FQDN, "example.org"),)),
        Selection(refs=(Ref(RefKind.NODE, "worker-1"),)),
    )
    assert rule.ports == (
        Port(6, Ranges.of(5432), side="remote"),
        Port(17, Ranges.of((8000, 8100)), side="local"),
        Port(6, name="http", side="either"),
        Port(132, side="remote"),
    )
    assert profile.egress.timeline.only.loss == GilbertElliott(0.01, 0.2, 0.5)
    lte, dead, healthy = profile.ingress.timeline.segments
    assert (lte.duration, lte.impairment.rate.bits, lte.impairment.loss.p) == (10 * S, 15 * 10**6, 0.01)
    assert (dead.duration, dead.impairment) == (1500 * MS, Impairment(loss=Bernoulli(1.0)))
    assert (healthy.duration, healthy.impairment) == (250 * MS, NONE)
    assert profile.ingress.timeline.repeat
    assert (profile.duration, profile.engine, profile.verify, profile.seed) == (120.0, "kernel", "read-back", 7)
    assert (profile.follow, profile.exempt, profile.count, profile.order) == ("start", ("dns",), 0.5, (2, 1))


def test_rtt_in_an_object_is_half_each_way():
    profile = parse(native({"podSelector": {}, "egress": [{}], "ingress": [{}], "impairment": {"rtt": "100ms"}}))
    assert profile.egress.timeline.only.delay == profile.ingress.timeline.only.delay == 50 * MS


GOOD = {"podSelector": {}, "egress": [{}], "impairment": {"delay": "1ms"}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"impairment": {"rtt": "1ms"}}, "spec.impairment.rtt: rtt speaks of both directions"),
        ({"impairment": {"egress": {"rtt": "1ms"}}}, "spec.impairment.egress.rtt: rtt speaks of both directions"),
        ({"impairment": {"timeline": [{"rtt": "1ms"}]}}, "rtt speaks of both directions"),
        ({"impairment": {"timeline": []}}, "a timeline needs segments"),
        ({"impairment": {"timeline": [{}, {"for": "1s"}]}}, "spec.impairment.timeline[0].for: only the last segment"),
        ({"impairment": {"timeline": [{"for": "0s"}]}}, "a segment lasts longer than nothing"),
        ({"impairment": {"timeline": [{"delay": "1ms"}], "repeat": True}}, "never ends, so nothing repeats"),
        (
            {"impairment": {"timeline": [{"for": "1s"}], "delay": "1ms"}},
            "spec.impairment.delay: stands beside a timeline",
        ),
        ({"impairment": {"repeat": True}}, "spec.impairment.repeat: unknown field"),
        ({"impairment": {"ingress": {"delay": "1ms"}}}, "spec.impairment.egress: missing: egress has rules only"),
        ({"impairment": {"ingress": {"delay": "1ms"}}}, "spec.ingress: missing: ingress has an impairment only"),
        ({"impairment": {"egress": {}, "delay": "1ms"}}, "spec.impairment.delay: unknown field"),
        ({"impairment": 5}, "spec.impairment=5: expected a mapping"),
        ({"parameters": {}}, "spec.parameters: belongs to k8s-netem's dialect, impairment to ours"),
        ({"type": "Flexe"}, "spec.type: belongs to k8s-netem's dialect"),
        ({"egress": []}, "neither egress nor ingress has a rule"),
        ({"egress": [{"too": []}]}, "spec.egress[0].too: unknown field; did you mean to?"),
        ({"egress": [{"from": []}]}, "spec.egress[0].from: unknown field"),
        ({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0/8"}}]}]}, "spec.egress[0].to[0].ipBlock.cidr="),
        ({"egress": [{"to": [{"ipBlock": {}}]}]}, "spec.egress[0].to[0].ipBlock.cidr=None: not an address block"),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]},
            'spec.egress[0].to[0].ipBlock.except[0]="11.0.0.0/9": does not lie in the block',
        ),
        ({"egress": [{"inetProto": ["tcp"], "inetProtos": ["tcp"]}]}, "is another name of inetProtos"),
        ({"podSelector": {"matchLabels": {"a": 1}}}, "spec.podSelector.matchLabels.a=1: not a label's value; write it"),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}},
            "spec.podSelector.matchExpressions[0].operator",
        ),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "In needs values"),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}},
            "Exists has no values",
        ),
        ({"pods": {"pod": "x"}}, "spec.pods: stands beside podSelector"),
        ({"count": 0}, "spec.count=0: expected a number of pods"),
        ({"count": "0%"}, "expected a number of pods"),
        ({"duration": 5}, "spec.duration=5: a bare number has no unit"),
        ({"duration": "0s"}, "must be above zero"),
        ({"engine": "tc"}, 'spec.engine="tc": expected one of auto, kernel, userspace'),
        ({"verify": True}, "expected one of probe"),
        ({"seed": 1.5}, "a seed is a whole number"),
        ({"seed": 2**64}, "a seed is a whole number"),
        ({"follow": "me"}, "expected one of labels, start"),
        ({"exempt": ["dsn"]}, "spec.exempt[0]"),
        ({"order": ["1"]}, "expected a list of whole numbers"),
        ({"lease": "x"}, "not the name of a Lease"),
        ({"interfaceFilter": "("}, 'spec.interfaceFilter="(": not a regular expression'),
        ({"egres": []}, "spec.egres: unknown field; did you mean egress?"),
    ],
)
def test_refused_objects(change, text):
    with pytest.raises(ConfigError) as error:
        parse(native(GOOD | change))
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("pods", "text"),
    [
        ({"node": "a"}, "name no pod whose interface could be touched"),
        ({"ipBlock": {"cidr": "10.0.0.0/8"}}, "name no pod"),
        ({}, "selects nothing"),
        ({"pod": "a", "namespaceSelector": {}}, "spec.pods.namespaceSelector: stands in pods; write it beside pods"),
        ({"pod": 5}, "spec.pods.pod=5: not the name of a pod"),
    ],
)
def test_refused_pods(pods, text):
    spec = {key: value for key, value in GOOD.items() if key != "podSelector"}
    with pytest.raises(ConfigError) as error:
        parse(native(spec | {"pods": pods}))
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (None, "not a TrafficProfile"),
        ([], "not a TrafficProfile"),
        ({}, "write kind: TrafficProfile"),
        ({**native(GOOD), "apiVersion": "v1"}, 'apiVersion="v1": not a TrafficProfile; write apiVersion: k8s-netem'),
        ({**native(GOOD), "kind": "Pod"}, "write kind: TrafficProfile"),
        ({**native(GOOD), "metadata": {}}, "metadata.name=None: not an object's name"),
        ({**native(GOOD), "metadata": {"name": "A_b"}}, "metadata.name"),
        ({**native(GOOD), "spek": {}}, "spek: unknown field; did you mean spec?"),
        ({**native(GOOD), "spec": None}, "spec=None: expected a mapping"),
        (native({"podSelector": {}, "egress": [{}]}), "spec.impairment: missing: what shall happen to packets?"),
        (native({"egress": [{}], "impairment": {}}), "spec.podSelector: missing"),
        (native({"podSelector": {}, "type": "Builtin"}), "spec.parameters: missing"),
        (native({"podSelector": {}, "type": "Buildin", "parameters": {}}), "did you mean Builtin?"),
    ],
)
def test_refused_shapes(obj, text):
    with pytest.raises(ConfigError) as error:
        parse(obj)
    assert text in str(error.value)


def test_all_mistakes_of_an_object_come_at_once_and_each_once():
    spec = GOOD | {
        "impairment": {"delay": 1, "loss": 0.1},
        "egress": [{"ports": [{"port": 0}]}],
        "ingress": [{}],
        "sed": 1,
        "engine": "tc",
    }
    with pytest.raises(ConfigError) as error:
        parse(native(spec))
    paths = [problem.path for problem in error.value.problems]
    assert sorted(paths) == sorted(
        ["spec.impairment.delay", "spec.impairment.loss", "spec.egress[0].ports[0].port", "spec.sed", "spec.engine"]
    )


def test_the_order_of_keys_in_an_object_means_nothing():
    one, other = ({"podSelector": {"matchLabels": labels}} for labels in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}))
    assert parse(native(GOOD | one)) == parse(native(GOOD | other))


def test_kubernetes_own_metadata_and_status_are_let_be():
    obj = native(GOOD) | {"status": {"conditions": []}}
    obj["metadata"] |= {"uid": "u", "generation": 3, "resourceVersion": "7", "finalizers": [], "namespace": "ignored"}
    profile = parse(obj)
    assert (profile.name, profile.uid, profile.generation) == ("x", "u", 3)
