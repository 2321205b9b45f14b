"""The gaps of a profile that lives long: what is kept is bounded, and no gap is lost from what is told."""

from __future__ import annotations

from pytest_k8s_netem.controller import evidence, inheritance
from pytest_k8s_netem.controller.evidence import Gap, GapBook, condensed
from pytest_k8s_netem.run.events import Event, GapClosed, GapOpened


def _book() -> tuple[GapBook, list[Event]]:
    events: list[Event] = []
    return GapBook(events.append), events


def _covered(gaps: list[Gap] | tuple[Gap, ...], moment: float) -> bool:
    return any(gap.start <= moment and (gap.end is None or moment <= gap.end) for gap in gaps)


def test_a_pod_that_flaps_for_weeks_is_told_in_bounded_room() -> None:
    book, events = _book()
    number = 3 * evidence.MOST_GAPS
    for at in range(number):
        book.open("slow", "default/web-0", "worker", 10.0 * at)
        book.close("slow", "default/web-0", 10.0 * at + 5)
    found = book.of("slow")
    assert len(found) == evidence.MOST_GAPS
    assert all(_covered(found, 10.0 * at + 2) for at in range(number)), "a gap was lost"
    first, second, *_ = found
    assert (first.pod, first.start, first.end) == ("default/web-0", 0.0, second.start - 5)
    assert first.cause == "more than once in this time; at last: the process that carries its packets ended or hung"
    assert [gap.start for gap in found[-2:]] == [10.0 * number - 20, 10.0 * number - 10], "the latest stay as they were"
    told = [kind for kind in (GapOpened, GapClosed) for event in events if isinstance(event, kind)]
    assert len(told) == 2 * number, "each is told when it happens"


def test_gaps_of_one_pod_are_merged_before_those_of_several() -> None:
    one = [Gap("default/a", 1.0, 2.0, "ttl"), Gap("default/b", 3.0, 4.0, "ttl"), Gap("default/a", 5.0, 6.0, "session")]
    assert [(gap.pod, gap.start, gap.end) for gap in condensed(one, 2)] == [
        ("default/a", 1.0, 6.0),
        ("default/b", 3.0, 4.0),
    ]
    (merged,) = condensed(one, 1)
    assert (merged.pod, merged.start, merged.end) == ("default/a", 1.0, 6.0)
    assert merged.cause.startswith("more than once in this time, on other pods too; at last: ")
    (again,) = condensed([merged, Gap("default/a", 7.0, 8.0, "it ran before it was impaired")], 1)
    assert again.end == 8.0
    assert again.cause == ("more than once in this time, on other pods too; at last: it ran before it was impaired")
    assert condensed(one, 3) == one


def test_what_is_not_over_is_never_merged() -> None:
    book, _ = _book()
    for number in range(evidence.MOST_GAPS + 5):
        book.open("slow", f"default/web-{number}", "ttl", float(number))
    assert len(book.of("slow")) == evidence.MOST_GAPS + 5
    book.close("slow", "default/web-0", 5000.0)
    assert book.of("slow")[0] == Gap("default/web-0", 0.0, 5000.0, "ttl")


def test_a_later_controller_finds_that_there_were_gaps_at_every_time_that_had_one() -> None:
    gaps = [Gap(f"default/web-{number}", 10.0 * number, 10.0 * number + 5, "ttl") for number in range(50)]
    gaps += [Gap(f"default/db-{number}", 1000.0, None, "session") for number in range(30)]
    fields = inheritance.written(1.0, None, gaps)
    assert len(fields["gaps"]) == inheritance.MOST_GAPS
    read = inheritance.read({"status": {**fields, "conditions": []}}).gaps
    assert all(_covered(read, 10.0 * number + 2) for number in range(50))
    assert any(gap.end is None for gap in read)
    book, _ = _book()
    book.remember("slow", read)
    assert len(book.of("slow")) == len(read)


def test_pods_that_came_late_are_counted_when_they_are_too_many_to_name() -> None:
    book, _ = _book()
    for number in range(evidence.MOST_LATE + 3):
        book.late("slow", f"default/web-{number}", 0.0, 0.9 if number == 1 else 0.2)
    notes = book.notes("slow")
    assert len(notes) == evidence.MOST_LATE + 1
    assert notes[0] == "pod/default/web-3 ran 0.2 s before it was impaired"
    assert notes[-1] == "3 pods more ran up to 0.9 s before they were impaired"
