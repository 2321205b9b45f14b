"""Units: every form that is taken, every form that is refused and with which advice, and exact inverses."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.profile import units

MS, S = 10**6, 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("100ms", 100 * MS),
        ("1.5s", 1500 * MS),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("250μs", 250_000),
        ("2m", 120 * S),
        ("1h", 3600 * S),
        ("7ns", 7),
        ("0ms", 0),
        (" 10 MS ", 10 * MS),
        (".5ms", 500_000),
        ("0.25ms", 250_000),
        (timedelta(milliseconds=3), 3 * MS),
        (timedelta(seconds=1, microseconds=1), S + 1000),
    ],
)
def test_durations(text, nanoseconds):
    assert units.parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "ratio"), [("1%", 0.01), ("1.5%", 0.015), ("0%", 0.0), ("100%", 1.0), ("0.025 %", 0.00025)]
)
def test_shares(text, ratio):
    assert units.parse_share(text) == ratio


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("10mbit", 10_000_000),
        ("1.5gbit", 1_500_000_000),
        ("10mbyte", 80_000_000),
        ("64kbit", 64_000),
        ("8bit", 8),
        ("10Mbit/s", 10_000_000),
        ("10mbits", 10_000_000),
        ("1kbytes/s", 8000),
        ("1tbit", 10**12),
    ],
)
def test_rates(text, bits):
    assert units.parse_rate(text) == bits


@pytest.mark.parametrize(("text", "size"), [("1500byte", 1500), ("64kbyte", 64_000), ("64KiB", 65_536), ("2bytes", 2)])
def test_sizes(text, size):
    assert units.parse_size(text) == size


def test_only_a_signed_size_may_be_negative():
    assert units.parse_signed_size("-14byte") == -14
    with pytest.raises(ConfigError, match="must not be negative"):
        units.parse_size("-14byte")


@pytest.mark.parametrize(("value", "count"), [(1, 1), (1000, 1000), ("1000", 1000)])
def test_counts(value, count):
    assert units.parse_count(value) == count


REFUSED = [
    (units.parse_duration, 100, 'x=100: a bare number has no unit; write x="100ms"'),
    (units.parse_duration, "100", 'x="100": a bare number has no unit; write x="100ms"'),
    (units.parse_duration, 0.2, 'x=0.2: a bare number has no unit; write x="0.2s"'),
    (units.parse_duration, float("nan"), 'x=nan: a bare number has no unit; write x="100ms"'),
    (units.parse_duration, float("inf"), 'x=inf: a bare number has no unit; write x="100ms"'),
    (units.parse_duration, "nan", 'x="nan": not a duration; write x="100ms"'),
    (units.parse_duration, "-1ms", 'x="-1ms": must not be negative'),
    (units.parse_duration, "1.5ns", 'x="1.5ns": finer than 1 ns'),
    (units.parse_duration, "2h", 'x="2h": out of range: 0s to 4294.967295s'),
    (units.parse_duration, "1e3ms", 'x="1e3ms": "e3ms" is no unit of a duration; units: h, m, s, ms, us, ns'),
    (units.parse_duration, "5mins", 'x="5mins": "mins" is no unit of a duration; units: h, m, s, ms, us, ns'),
    (units.parse_duration, None, 'x=None: not a duration; write x="100ms"'),
    (units.parse_duration, True, 'x=True: not a duration; write x="100ms"'),
    (units.parse_duration, "", 'x="": not a duration; write x="100ms"'),
    (units.parse_duration, timedelta(seconds=-1), "must not be negative"),
    (units.parse_share, 0.01, 'x=0.01: a bare number has no unit; write x="1%" or x="0.01%"'),
    (units.parse_share, 5, 'x=5: a bare number has no unit; write x="5%"'),
    (units.parse_share, "0.5", 'x="0.5": a bare number has no unit; write x="50%" or x="0.5%"'),
    (units.parse_share, "101%", 'x="101%": a share lies between 0% and 100%'),
    (units.parse_share, "-1%", 'x="-1%": a share lies between 0% and 100%'),
    (units.parse_share, "1percent", 'x="1percent": "percent" is no unit of a share; units: %'),
    (units.parse_share, [], 'x=[]: not a share; write x="1%"'),
    (units.parse_rate, 10, 'x=10: a bare number has no unit; write x="10mbit"'),
    (units.parse_rate, 1_000_000, 'x=1000000: a bare number has no unit; write x="1000000bit"'),
    (
        units.parse_rate,
        "10mbps",
        'x="10mbps": a suffix in "bps" means bits to people and bytes to tc; '
        'write x="10mbit" or, for bytes, x="10mbyte"',
    ),
    (units.parse_rate, "10Mbps", 'write x="10mbit" or, for bytes, x="10mbyte"'),
    (units.parse_rate, "9600bps", 'write x="9600bit" or, for bytes, x="9600byte"'),
    (units.parse_rate, "1bit", 'x="1bit": out of range: 8bit to 1000tbit'),
    (units.parse_rate, "9601bit", 'bytes a second, in which netem counts; write x="9.6kbit" or x="9.608kbit"'),
    (units.parse_rate, "10M", '"M" is no unit of a rate'),
    (units.parse_rate, "-1mbit", "must not be negative"),
    (units.parse_size, 14, 'x=14: a bare number has no unit; write x="14byte"'),
    (units.parse_size, "1.5byte", "finer than 1 byte"),
    (units.parse_count, 0, "a number of packets lies between 1 and 4294967295"),
    (units.parse_count, 1.5, 'x=1.5: expected a number of packets; write x="1000"'),
    (units.parse_count, True, "expected a number of packets"),
    (units.parse_count, 2**32, "a number of packets lies between"),
]


@pytest.mark.parametrize(("reader", "value", "text"), REFUSED)
def test_refusals_name_value_reason_and_right_form(reader, value, text):
    with pytest.raises(ConfigError) as error:
        reader(value, "x")
    assert len(error.value.problems) == 1
    assert text in str(error.value)


def test_advice_fits_an_object_too():
    with pytest.raises(ConfigError, match=r"spec\.impairment\.delay=100: .*; write delay: 100ms$"):
        units.parse_duration(100, "spec.impairment.delay")


@given(st.integers(0, units.MAX_DURATION))
def test_durations_come_back(nanoseconds):
    assert units.parse_duration(units.format_duration(nanoseconds)) == nanoseconds


@given(st.floats(0, 1))
def test_shares_come_back(ratio):
    assert units.parse_share(units.format_share(ratio)) == ratio


@given(st.integers(units.MIN_RATE // 8, units.MAX_RATE // 8).map(lambda octets: octets * 8))
def test_rates_come_back(bits):
    assert units.parse_rate(units.format_rate(bits)) == bits


@given(st.integers(-units.MAX_SIZE, units.MAX_SIZE))
def test_sizes_come_back(size):
    assert units.parse_signed_size(units.format_size(size)) == size


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (units.format_duration, 100 * MS, "100ms"),
        (units.format_duration, 1500 * MS, "1.5s"),
        (units.format_duration, 90 * S, "90s"),
        (units.format_duration, 1_000_001, "1.000001ms"),
        (units.format_duration, 0, "0s"),
        (units.format_share, 0.015, "1.5%"),
        (units.format_share, 1.0, "100%"),
        (units.format_share, 0, "0%"),
        (units.format_share, 0.00025, "0.025%"),
        (units.format_rate, 10_000_000, "10mbit"),
        (units.format_rate, 1_500_000_000, "1.5gbit"),
        (units.format_rate, 992, "992bit"),
    ],
)
def test_forms_are_compact(form, value, text):
    assert form(value) == text


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())
)


@given(ANYTHING)
@pytest.mark.parametrize(
    "reader", [units.parse_duration, units.parse_share, units.parse_rate, units.parse_size, units.parse_count]
)
def test_readers_are_total(reader, value):
    refusal = None
    try:
        assert reader(value, "x") >= 0
    except ConfigError as error:
        refusal = str(error)
    assert refusal is None or "x=" in refusal


def test_a_number_too_long_to_print_is_refused():
    for value in (10**5000, "9" * 5000, "1." + "0" * 5000 + "ms"):
        with pytest.raises(ConfigError):
            units.parse_duration(value, "x")
