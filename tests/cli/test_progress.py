"""Progress from facts: plain lines are sparse, a terminal gets bars, figures are right."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

from runner import stats
from runner.cli import output, progress, running

if TYPE_CHECKING:
    import pytest


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def partition(number: int, events: int) -> stats.PartitionFolded:
    return stats.PartitionFolded(
        number, events, 1, {"accounts": events}, {"accounts": 1}, 0.1, 0.2, 0.3, ("accounts",) if number == 3 else ()
    )


def test_plain_lines_come_at_most_once_a_second_and_each_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stream = io.StringIO()
    with progress.watching(stream=stream) as watch:
        watch(stats.StageStarted("fold", 1_000))
        for number in range(100):
            clock.now += 0.5
            watch(partition(number, 10))
        watch(stats.StageFinished("fold", 50.0, 1_000))
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 11
    assert lines[0].startswith("folding: 10%, 100 events, 20 /s")
    assert lines[-1] == "folding: 1,000 events, 20 /s, 50.0 s"


def test_a_quick_stage_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    stream = io.StringIO()
    with progress.watching(stream=stream) as watch:
        watch(stats.StageStarted("sync"))
        for _ in range(50):
            watch(stats.EventsRead("a", 100, 1, 10, 5_000))
        watch(stats.StageFinished("sync", 0.5, 5_000))
    assert stream.getvalue() == "syncing: 5,000 events, 10.0 k/s, 0.50 s\n"


def test_where_events_are_not_counted_beforehand_bytes_give_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stream = io.StringIO()
    with progress.watching(stream=stream) as watch:
        watch(stats.StageStarted("sync"))
        clock.now += 2
        watch(stats.EventsRead("a", 100, 1, 25, 100))
        watch(stats.StageFinished("sync", 2.0, 100))
    assert stream.getvalue().splitlines()[0] == "syncing: 25%, 100 events, 50 /s, 6.00 s left"


def test_watch_remembers_stages_rows_and_twins() -> None:
    with progress.watching(quiet=True) as watch:
        for number in range(5):
            watch(partition(number, 10))
        watch(stats.RowsWritten("accounts", 3, 1))
        watch(stats.RowsWritten("accounts", 4, 0))
        watch(stats.LineRejected("a", "f", 1, "bad"))
        watch(stats.StageFinished("fold", 1.0, 50))
    assert (watch.folded_events, watch.partitions, watch.by_twin) == (50, 5, {"accounts"})
    assert (watch.rows, watch.deleted, watch.rejected) == ({"accounts": 7}, {"accounts": 1}, 1)
    assert [(s.stage, s.events) for s in watch.stages] == [("fold", 50)]
    assert abs(watch.worker_seconds["fold"] - 1.0) < 1e-9


def test_bars_on_a_terminal_end_complete() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with progress.watching(stream=stream) as watch:
        watch(stats.StageStarted("fold", 20))
        watch(partition(0, 20))
        watch(stats.LineRejected("a", "[red]f", 7, "bad [/]"))
        watch(stats.StageFinished("fold", 0.5, 20))
    shown = stream.getvalue()
    assert "folding" in shown
    assert "done" in shown
    assert "rejected [red]f:7: bad [/]" in shown


def test_figures_as_a_person_reads_them() -> None:
    assert [output.rate(1_234_567, 1), output.rate(5, 1), output.rate(1, 0)] == ["1.2 M/s", "5 /s", "-"]
    assert [output.seconds(0.034), output.seconds(12.44), output.seconds(185), output.seconds(7_300)] == [
        "0.03 s",
        "12.4 s",
        "3 min 5 s",
        "2 h 1 min",
    ]
    assert [output.size(12), output.size(1.5e9)] == ["12 B", "1.5 GB"]


def test_of_many_rejected_lines_the_first_ten_are_shown() -> None:
    stream = io.StringIO()
    with progress.watching(stream=stream) as watch:
        for line in range(1, 501):
            watch(stats.LineRejected("a", "a.ndjson", line, "torn"))
    lines = stream.getvalue().splitlines()
    assert lines[:10] == [f"rejected a.ndjson:{n}: torn" for n in range(1, 11)]
    assert len(lines) == 11
    assert "rejects file" in lines[10]
    assert watch.rejected == 500


def test_a_sync_that_has_read_all_says_that_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stream = io.StringIO()
    with progress.watching(stream=stream) as watch:
        watch(stats.StageStarted("sync"))
        clock.now += 2
        watch(stats.EventsRead("a", 100, 1, 99, 100))
        clock.now += 0.1
        watch(stats.EventsRead("a", 1, 1, 100, 100))
        watch(stats.EventsRead("a", 0, 1, 100, 100))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("writing the last segment")


def test_what_takes_long_before_the_first_fact_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "PREPARING_SECONDS", 0.01)
    said: list[str] = []
    watch = progress.Watch(progress._Display())
    monkeypatch.setattr(watch, "say", said.append)
    slow = running._TellsPreparing(watch)
    with slow:
        slow._timer.join()
    assert "compiled, once" in said[0]
    monkeypatch.setattr(running, "PREPARING_SECONDS", 60.0)
    quick = running._TellsPreparing(watch)
    with quick:
        quick(stats.JobStarted("j", "rebuild"))
        quick._timer.join()
    assert len(said) == 1
