"""What a person sees: a line for each impaired test, under ``-v`` and for tests that did not pass."""

from __future__ import annotations

from pytest_k8s_netem.report.words import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    import pytest


def line(fact: Mapping[str, Any]) -> str:
    """One impairment in one line: who, what, asked against measured, packets met."""
    return f"{fact['name']}: {fact['phrase']}: {'; '.join(_measured(fact))}"


def _measured(fact: Mapping[str, Any]) -> Iterator[str]:
    if fact["rtt"]:
        low, high = (f"{nanoseconds / 1e6:.1f}" for nanoseconds in fact["rtt"])
        yield f"measured RTT {low} ms" if low == high else f"measured RTT {low}..{high} ms"
    packets, dropped = fact["packets"], fact["dropped"]
    lost = f", {dropped} lost ({dropped / packets:.1%})" if packets and dropped else ""
    yield f"{counted(packets, 'packet')} met{lost}"
    yield f"{_pods(fact['pods'])}, {fact['engine'] or 'no'} engine, proven by {fact['proof'] or 'nothing'}"
    if fact["spared"]:
        yield f"spared: {', '.join(what.partition(' (')[0] for what in fact['spared'])}"
    yield from fact["notes"]
    yield from fact["findings"]


def _pods(keys: Sequence[str]) -> str:
    """Two by name, more by number; a name without its namespace, which is mostly the test's own."""
    from pytest_k8s_netem.resolve.objects import shown

    if not 0 < len(keys) <= 2:
        return counted(len(keys), "pod")
    return " and ".join(shown(key) for key in keys)


def summary(reporter: pytest.TerminalReporter, prop: str, seed: str, *, verbose: bool) -> None:
    """Write the section from the reports' properties of these names, if there is anything to say."""
    seeds: set[str] = set()
    bad = {report.nodeid for kind in ("failed", "error") for report in reporter.stats.get(kind, ())}
    told: dict[str, list[str]] = {}
    for reports in reporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown" and (verbose or report.nodeid in bad):
                lines = [value for name, value in report.user_properties if name == prop]
                if lines:
                    told[report.nodeid] = lines
                    seeds |= {value for name, value in report.user_properties if name == seed}
    if not told:
        return
    reporter.section("network impairments", sep="-")
    for nodeid, lines in told.items():
        reporter.write_line(nodeid)
        for text in lines:
            reporter.write_line(f"  {text}")
    reporter.write_line(f"to repeat the random choices: {' '.join(f'--netem-seed={one}' for one in sorted(seeds))}")
