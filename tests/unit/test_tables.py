"""Delay distributions: formulas, iproute2's files."""

from __future__ import annotations

import statistics

import pytest

from pytest_k8s_netem.model import tables
from pytest_k8s_netem.model.tables import SCALE, named, parse_dist


@pytest.mark.parametrize("name", tables.NAMES)
def test_a_named_table_fits_netem(name):
    table = named(name)
    assert table.name == name
    assert len(table.values) == tables.SIZE <= tables.MAX_SIZE
    assert all(type(value) is int and -32768 <= value <= 32767 for value in table.values)
    assert list(table.values) == sorted(table.values)
    assert named(name) is table


def test_normal_quantiles_are_those_of_the_standard_library():
    reference = statistics.NormalDist()
    for u in (1e-300, 1e-20, 1e-6, 0.02, 0.3, 0.5, 0.7, 0.98, 1 - 1e-12):
        assert tables.normal_quantile(u) == pytest.approx(reference.inv_cdf(u), rel=1e-12, abs=1e-15)


def test_normal_has_mean_zero_and_sigma_one():
    values = [value / SCALE for value in named("normal").values]
    assert abs(statistics.fmean(values)) < 1e-3
    assert statistics.pstdev(values) == pytest.approx(1, abs=2e-3)


def test_pareto_has_a_sharp_foot_and_a_long_tail_cut_at_four_sigma():
    values = named("pareto").values
    assert values[0] == pytest.approx(-2 / 3 * SCALE, abs=2)
    assert values[-1] == 32767
    assert statistics.median(values) < 0


def test_paretonormal_lies_between_its_parts():
    mixed, normal, pareto = (named(name).values for name in ("paretonormal", "normal", "pareto"))
    for at in range(0, 4000, 37):
        assert mixed[at] == pytest.approx((normal[at] + 3 * pareto[at]) / 4, abs=2)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"experimental.*normal, pareto, paretonormal"):
        named("experimental")


def test_a_dist_file():
    assert parse_dist("# a comment\n -32768 0\n\t17\n  # more\n32767\n", "mine") == tables.Table(
        "mine", (-32768, 0, 17, 32767)
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "1 2 x", "32768", "-32769", "1.5", "0 " * 16385])
def test_what_is_no_dist_file(text):
    with pytest.raises(ValueError):  # noqa: PT011 - int() words some of them
        parse_dist(text)
