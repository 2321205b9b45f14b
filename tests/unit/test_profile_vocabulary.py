"""Words to impairments: each word, each impossible mix, each preset."""

from __future__ import annotations

import pytest

from pytest_k8s_netem.errors import ConfigError
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
from pytest_k8s_netem.model.tables import Table, named
from pytest_k8s_netem.profile.findings import Findings
from pytest_k8s_netem.profile.presets import PRESETS
from pytest_k8s_netem.profile.sides import both_ways
from pytest_k8s_netem.profile.vocabulary import FIELDS, build, render

MS = 10**6

BUILT = [
    ({}, NONE),
    ({"delay": "100ms"}, Impairment(delay=100 * MS)),
    ({"delay": "100ms", "jitter": "10ms"}, Impairment(delay=100 * MS, jitter=10 * MS)),
    ({"delay": "1ms", "jitter": "10ms"}, Impairment(delay=MS, jitter=10 * MS)),
    ({"delay": "0ms", "jitter": "10ms"}, Impairment(jitter=10 * MS)),
    (
        {"delay": "1ms", "jitter": "1ms", "delay_correlation": "25%", "distribution": "normal"},
        Impairment(delay=MS, jitter=MS, delay_corr=0.25, table=named("normal")),
    ),
    ({"delay": "1ms", "jitter": "1ms", "distribution": "uniform"}, Impairment(delay=MS, jitter=MS)),
    (
        {"delay": "1ms", "jitter": "1ms", "distribution": {"table": [-8192, 0, 8192], "name": "mine"}},
        Impairment(delay=MS, jitter=MS, table=Table("mine", (-8192, 0, 8192))),
    ),
    (
        {"delay": "1ms", "jitter": "1ms", "distribution": {"table": "# measured\n-1 2\n3"}},
        Impairment(delay=MS, jitter=MS, table=Table("user", (-1, 2, 3))),
    ),
    (
        {"delay": "1ms", "jitter": "1ms", "distribution": [1, 2]},
        Impairment(delay=MS, jitter=MS, table=Table("user", (1, 2))),
    ),
    ({"loss": "100%"}, Impairment(loss=Bernoulli(1.0))),
    ({"loss": "1%", "loss_correlation": "25%"}, Impairment(loss=Bernoulli(0.01, 0.25))),
    ({"duplicate": "1%", "duplicate_correlation": "5%"}, Impairment(duplicate=Bernoulli(0.01, 0.05))),
    ({"corrupt": "1%", "corrupt_correlation": "5%"}, Impairment(corrupt=Bernoulli(0.01, 0.05))),
    (
        {"delay": "1ms", "reorder": "5%", "reorder_correlation": "50%", "gap": 5},
        Impairment(delay=MS, reorder=Bernoulli(0.05, 0.5), gap=5),
    ),
    ({"rate": "10mbit"}, Impairment(rate=Rate(10**7))),
    (
        {"rate": "10mbit", "packet_overhead": "-14byte", "cell_size": "48byte", "cell_overhead": "5byte"},
        Impairment(rate=Rate(10**7, -14, 48, 5)),
    ),
    ({"slot": "10ms"}, Impairment(slot=Slot(10 * MS, 10 * MS))),
    ({"slot": "5ms 10ms"}, Impairment(slot=Slot(5 * MS, 10 * MS))),
    (
        {"slot": {"min": "5ms", "packets": 3, "bytes": "9000byte"}},
        Impairment(slot=Slot(5 * MS, 5 * MS, packets=3, bytes=9000)),
    ),
    (
        {"slot": {"delay": "5ms", "jitter": "1ms", "distribution": "pareto"}},
        Impairment(slot=Slot(delay=5 * MS, jitter=MS, table=named("pareto"))),
    ),
    ({"slot": {"delay": "5ms", "jitter": "1ms"}}, Impairment(slot=Slot(4 * MS, 6 * MS))),
    ({"limit": 500}, Impairment(limit=500)),
    ({"loss": "1%", "ecn": True}, Impairment(loss=Bernoulli(0.01), ecn=True)),
    ({"delay": "1ms", "jitter": "1ms", "ordered": True}, Impairment(delay=MS, jitter=MS, ordered=True)),
    ({"loss_model": "gemodel 1% 10%"}, Impairment(loss=GilbertElliott(0.01, 0.1))),
    ({"loss_model": "gemodel 1%"}, Impairment(loss=GilbertElliott(0.01, 0.99))),
    ({"loss_model": "ge 1% 10% 50% 2%"}, Impairment(loss=GilbertElliott(0.01, 0.1, 0.5, 0.02))),
    (
        {"loss_model": {"gilbert-elliott": {"p": "1%", "r": "10%", "bad_loss": "100%", "good_loss": "0%"}}},
        Impairment(loss=GilbertElliott(0.01, 0.1)),
    ),
    ({"loss_model": "state 1%"}, Impairment(loss=FourState(0.01, 0.99, 0.0, 1.0, 0.0))),
    (
        {"loss_model": {"4-state": {"p13": "1%", "p31": "20%", "p32": "30%", "p23": "40%", "p14": "5%"}}},
        Impairment(loss=FourState(0.01, 0.2, 0.3, 0.4, 0.05)),
    ),
    ({"loss_model": "every-nth 10"}, Impairment(loss=EveryNth(10))),
    ({"loss_model": {"every-nth": 10}}, Impairment(loss=EveryNth(10))),
]


@pytest.mark.parametrize(("fields", "impairment"), BUILT)
def test_words_become_the_impairment_and_come_back(fields, impairment):
    assert build(fields) == impairment
    assert build(render(impairment)) == impairment


REFUSED = [
    ({"reorder": "1%"}, 'reorder: reorder without delay; add delay="100ms"'),
    ({"delay": "0ms", "reorder": "1%"}, "reorder: reorder with a delay of zero: there is nothing to overtake"),
    ({"ecn": True}, 'ecn: ecn without loss or loss_model; add loss="1%" or loss_model="gemodel 1% 10%"'),
    ({"jitter": "1ms"}, 'jitter: jitter without delay; add delay="100ms"'),
    ({"delay": "1ms", "distribution": "normal"}, "distribution without jitter"),
    ({"delay": "1ms", "delay_correlation": "1%"}, "delay_correlation without jitter"),
    ({"loss_correlation": "1%"}, "loss_correlation without loss"),
    ({"duplicate_correlation": "1%"}, "duplicate_correlation without duplicate"),
    ({"corrupt_correlation": "1%"}, "corrupt_correlation without corrupt"),
    ({"delay": "1ms", "reorder_correlation": "1%"}, "reorder_correlation without reorder"),
    ({"delay": "1ms", "gap": 3}, 'gap: gap without reorder; add reorder="5%"'),
    ({"packet_overhead": "1byte"}, "packet_overhead without rate"),
    ({"cell_size": "1byte"}, "cell_size without rate"),
    ({"rate": "1mbit", "cell_overhead": "1byte"}, "cell_overhead without cell_size"),
    ({"rate": "1mbit", "cell_size": "0byte"}, "a cell of no bytes"),
    ({"loss": "1%", "loss_model": "ge 1% 10%"}, "loss and loss_model exclude each other"),
    ({"dealy": "1ms"}, "dealy: unknown field; did you mean delay?"),
    ({"ecn": 1, "loss": "1%"}, "ecn=1: expected true or false"),
    ({"limit": 0}, "limit=0: a number of packets lies between 1 and 4294967295"),
    ({"delay": "1ms", "jitter": "1ms", "distribution": "gauss"}, "not a distribution"),
    ({"delay": "1ms", "jitter": "1ms", "distribution": "parato"}, "did you mean pareto?"),
    ({"delay": "1ms", "jitter": "1ms", "distribution": []}, "a table has between 1 and 16384 values"),
    ({"delay": "1ms", "jitter": "1ms", "distribution": [0] * 16385}, "a table has between 1 and 16384 values"),
    ({"delay": "1ms", "jitter": "1ms", "distribution": [1, 1.5]}, "distribution[1]=1.5: a table's values are whole"),
    ({"delay": "1ms", "jitter": "1ms", "distribution": [40000]}, "distribution[0]=40000"),
    ({"delay": "1ms", "jitter": "1ms", "distribution": {"table": "1 x"}}, "not a .dist file"),
    ({"loss_model": "gemodel"}, "gilbert-elliott needs p"),
    ({"loss_model": "gemodel 1% 2% 3% 4% 5%"}, "too many numbers"),
    ({"loss_model": "bernoulli 1%"}, "unknown loss model"),
    ({"loss_model": {"gilbert-elliott": {"p": 0.01}}}, "loss_model.gilbert-elliott.p=0.01: a bare number has no unit"),
    ({"loss_model": {"gilbert-elliott": {"q": "1%"}}}, "loss_model.gilbert-elliott.q: unknown field"),
    ({"loss_model": "every-nth 0"}, "a number of packets lies between 1"),
    ({"loss_model": 5}, "not a loss model"),
    ({"slot": {}}, "a slot needs the time between slots"),
    ({"slot": "10ms 5ms"}, 'slot.max="5ms": is shorter than min'),
    ({"slot": {"min": "1ms", "delay": "1ms"}}, "min and max exclude delay"),
    ({"slot": {"min": "1ms", "jitter": "1ms"}}, "slot.jitter: needs the slot's delay"),
    ({"slot": 10}, "slot=10: expected a mapping"),
]


@pytest.mark.parametrize(("fields", "text"), REFUSED)
def test_impossible_words_are_refused(fields, text):
    with pytest.raises(ConfigError) as error:
        build(fields)
    assert text in str(error.value)


def test_every_mistake_is_told_at_once():
    with pytest.raises(ConfigError) as error:
        build({"delay": 100, "loss": 0.01, "rate": "10mbps", "dealy": 1, "gap": 3}, "spec.impairment")
    paths = {problem.path.removeprefix("spec.impairment.") for problem in error.value.problems}
    assert paths == {"delay", "loss", "rate", "dealy", "gap"}


@pytest.mark.parametrize("word", FIELDS)
def test_the_example_of_each_word_is_right(word):
    field = FIELDS[word]
    example = field.example == "true" or field.example
    field.parse(example, word)
    assert all(need in FIELDS for need in field.needs)


FLEXE = {  # up and down kbit/s; delay and variation ms; loss, duplicate, corrupt, reorder %
    "ethernet": (100_000, 100_000, 0.25, 0.25, 0, 0, 0, 0),
    "3g": (256, 256, 200, 50, 0.5, 0.1, 0.1, 0.2),
    "gprs": (60, 60, 350, 100, 0.5, 0.1, 0.1, 0.2),
    "lte": (5000, 15_000, 7.5, 5, 0.025, 0, 0, 0),
    "xdsl": (2000, 15_000, 7.5, 2.5, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", FLEXE)
def test_presets_of_k8s_netem_have_its_numbers(name):
    up, down, delay, jitter, *shares = FLEXE[name]
    chances = [Bernoulli(share / 100) for share in shares]
    for words, kilobits in ((PRESETS[name].up, up), (PRESETS[name].down, down)):
        got = build(words)
        assert (got.rate, got.delay, got.jitter) == (Rate(kilobits * 1000), round(delay * MS), round(jitter * MS))
        assert [got.loss, got.duplicate, got.corrupt, got.reorder] == chances


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_possible_and_says_where_it_is_from(name):
    assert build(PRESETS[name].up) != NONE != build(PRESETS[name].down)
    assert PRESETS[name].source.endswith(".")


def test_the_presets_are_these():
    assert set(PRESETS) == {*FLEXE, "dsl", "5g", "starlink", "geo-satellite", "transatlantic", "lossy-wifi"}


def sides(told):
    findings = Findings()
    up, down = both_ways(told, "", findings)
    findings.settle()
    return build(up), build(down)


def test_fields_beside_a_preset_override_it():
    up, down = sides({"preset": "lte", "loss": "3%", "rate": "1mbit"})
    assert up == down == build({"delay": "7.5ms", "jitter": "5ms", "loss": "3%", "rate": "1mbit"})


def test_a_loss_model_replaces_a_presets_loss_and_the_other_way_round():
    assert sides({"preset": "lte", "loss_model": "ge 1% 20%"})[0].loss == GilbertElliott(0.01, 0.2)
    assert sides({"preset": "lossy-wifi", "loss": "1%"})[0].loss == Bernoulli(0.01)


def test_rtt_is_half_each_way_and_replaces_a_presets_delay():
    assert sides({"rtt": "100ms"}) == (Impairment(delay=50 * MS), Impairment(delay=50 * MS))
    up, down = sides({"rtt": "3ns"})
    assert up.delay + down.delay == 3
    assert [side.delay for side in sides({"preset": "lte", "rtt": "40ms"})] == [20 * MS, 20 * MS]


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"preset": "4g"}, "unknown preset"),
        ({"preset": "startlink"}, "did you mean starlink?"),
        ({"preset": ["lte"]}, "unknown preset"),
        ({"rtt": "1ms", "delay": "1ms"}, "rtt and delay exclude each other"),
        ({"rtt": 100}, 'rtt=100: a bare number has no unit; write rtt="100ms"'),
    ],
)
def test_refused_words_of_both_directions(told, text):
    with pytest.raises(ConfigError) as error:
        sides(told)
    assert text in str(error.value)
