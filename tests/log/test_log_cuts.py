"""--to: positions, times that run backwards, source positions; each against the rule read off a list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import log_cases as cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import ConfigError
from runner.log import Log, LogWriter, Room
from runner.positions import SourcePosition

times = st.one_of(st.none(), st.integers(0, 50))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), times), min_size=1, max_size=40), st.integers(-1, 51), st.integers(1, 9)
)
@settings(max_examples=60, deadline=None)
def test_cut_by_time_is_the_first_event_behind_it(events, limit, segment) -> None:
    rows = [cases.Row(i, recorded=t) for i, t in events]
    with cases.scratch() as folder:
        cases.write(Path(folder), rows, room=Room(events=segment, whole_below=3))
        with Log.open(folder) as log:
            asked = cases.EPOCH + timedelta(microseconds=limit)
            behind = [k for k, (_, t) in enumerate(events) if t is not None and t > limit]
            if behind[:1] == [0]:
                with pytest.raises(ConfigError, match="nothing of the log lies up to it"):
                    log.cut_at(asked)
                return
            cut = log.cut_at(asked)
            assert cut.position == (behind[0] if behind else len(events))
            assert log.left_out(cut) == sum(t is not None and t <= limit for _, t in events[cut.position :])
            assert len(cases.raw_rows(log, 0, cut.position)) == cut.position


@pytest.fixture
def path(tmp_path: Path) -> Path:
    start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    with LogWriter.open(tmp_path / "log", room=Room(events=3)) as writer:
        for source, first in (("orders", 0), ("a:b", 100), ("many", 200)):
            rows = [
                cases.Row("x", recorded=start + (first + k) * 1_000_000, place=(k // 3 if source == "many" else 0, k))
                for k in range(6)
            ]
            writer.append(source, cases.arrival(rows))
            writer.commit(source, 1)
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("asked", "position"),
    [
        ("7", 7),
        ("9999", 18),
        ("2026-01-01T00:00:02Z", 3),
        ("2026-01-01T01:00:02+01:00", 3),
        ("2030-01-01T00:00:00Z", 18),
        ("orders:3", 4),
        ("orders:0,3", 4),
        ("orders:99", 18),
        ("a:b:0", 7),
        ("a:b:-1", 6),
        ("many:0", 15),
        ("many:1,4", 17),
        ("many:5", 18),
    ],
)
def test_texts(path: Path, asked: str, position: int) -> None:
    with Log.open(path) as log:
        cut = log.cut_at(asked)
    assert (cut.position, cut.asked) == (position, asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("yesterday", r"--to yesterday: not a place \(give a position"),
        ("", "not a place"),
        ("2026-01-01T00:00:00", "a time without a zone"),
        ("nobody:3", r"the log has no source 'nobody' \(it has orders, a:b, many\)"),
        ("orders:x", "not a place"),
        ("-3", "not a place"),
        ("0", r"--to 0: nothing of the log lies up to it \(the log has positions 1 to 18\)"),
        ("2025-12-31T23:59:59Z", "--to 2025-12-31T23:59:59Z: nothing of the log lies up to it"),
        ("orders:-1", "--to orders:-1: nothing of the log lies up to it"),
    ],
)
def test_what_is_no_place(path: Path, asked: str, message: str) -> None:
    with Log.open(path) as log, pytest.raises(ConfigError, match=message):
        log.cut_at(asked)


def test_values(path: Path) -> None:
    with Log.open(path) as log:
        assert log.cut_at(("orders", SourcePosition((0, 2)))).position == 3
        zone = timezone(timedelta(hours=2))
        cut = log.cut_at(datetime(2026, 1, 1, 2, 0, 1, tzinfo=zone))
        assert cut.position == 2
        assert cut.recorded_at == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
        for place in (0, -1, ("orders", SourcePosition((-1,))), datetime(2025, 1, 1, tzinfo=UTC)):
            with pytest.raises(ConfigError):
                log.cut_at(place)
        with pytest.raises(ConfigError):
            log.cut_at(("nobody", SourcePosition((1,))))


def test_empty_log(tmp_path: Path) -> None:
    LogWriter.open(tmp_path / "log").close()
    with Log.open(tmp_path / "log") as log:
        assert log.cut_at("5").position == log.cut_at("2026-01-01T00:00:00Z").position == log.last_position == 0
        assert log.events == 0
        assert log.types == ()
        assert list(log.batches(0, [cases.AMOUNT])) == list(log.raw(0)) == []
        assert log.missing_columns([cases.AMOUNT]) == ()
