"""Parts of following that need no server: which failures heal, which segments are joined, what is shown and told."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli.follow import _Following
from runner.cli.progress import watching
from runner.errors import (
    FieldValueError,
    FingerprintChanged,
    LogLocked,
    PostgresConflict,
    PostgresDenied,
    PostgresError,
    PostgresUnavailable,
    ReadModelError,
    RunnerError,
    SourceChanged,
    Superseded,
    VersionBusy,
)
from runner.jobs.following.joining import LARGEST, _joined_after
from runner.jobs.following.troubles import READ_MODELS, Troubles
from runner.metrics.prometheus import Metrics
from runner.stats import Followed, Noted, RoundFailed

NEVER = [
    PostgresDenied("no"),
    SourceChanged("other"),
    FieldValueError("x", event_type="", path="", position=0, aggregate_id=""),
    Superseded("new"),
]


@pytest.mark.parametrize("error", [LogLocked("held"), VersionBusy("held")])
def test_what_another_run_holds_is_waited_for_from_the_first(error: RunnerError) -> None:
    Troubles(lambda _: None).failed("log", error)


def test_a_server_that_never_answered_is_an_error_at_once() -> None:
    troubles = Troubles(lambda _: None)
    with pytest.raises(PostgresUnavailable):
        troubles.failed("bank", PostgresUnavailable("gone"))


@pytest.mark.parametrize("error", [PostgresUnavailable("gone"), PostgresConflict("lost"), PostgresError("other")])
def test_one_that_answered_is_waited_for(error: RunnerError) -> None:
    told: list[object] = []
    troubles = Troubles(told.append)
    troubles.reached("bank")
    pauses = []
    for _ in range(12):
        troubles.failed("bank", error)
        pauses.append(next(fact.pause for fact in reversed(told) if isinstance(fact, RoundFailed)))
    assert pauses[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(pauses) == pytest.approx(10.0)
    assert troubles.failures == 12
    # The same words once, not each time.
    assert sum(isinstance(fact, Noted) for fact in told) == 1
    troubles.well("bank")
    assert "goes on after" in [fact.text for fact in told if isinstance(fact, Noted)][-1]
    assert troubles.again("bank") is None


@pytest.mark.parametrize("error", NEVER)
def test_what_time_does_not_heal(error: RunnerError) -> None:
    troubles = Troubles(lambda _: None)
    troubles.well("bank")
    with pytest.raises(type(error)):
        troubles.failed("bank", error)


def test_a_read_model_that_is_switched_just_now_is_waited_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = Troubles(lambda _: None)
    with pytest.raises(FingerprintChanged):
        troubles.failed(READ_MODELS, FingerprintChanged("from the first"))
    troubles.well(READ_MODELS)
    troubles.failed(READ_MODELS, ReadModelError("version 1 is not live"))
    monkeypatch.setattr("runner.jobs.following.troubles.BUSY", 0.0)
    with pytest.raises(ReadModelError):
        troubles.failed(READ_MODELS, ReadModelError("version 1 is not live"))


@dataclass(frozen=True)
class Piece:
    """As much of a segment as the choice looks at."""

    events: int
    last: int


def pieces(sizes: list[int]) -> list[Piece]:
    made, last = [], 0
    for size in sizes:
        last += size
        made.append(Piece(size, last))
    return made


def joined(sizes: list[int], least: int = 2) -> int | None:
    return _joined_after(pieces(sizes), least)  # type: ignore[arg-type]  # pieces have what it reads


def test_small_segments_at_the_end_are_joined() -> None:
    assert joined([2_000_000, 5, 5, 5]) == 2_000_000
    assert joined([2_000_000, 5], least=2) is None
    assert joined([5] * 10, least=2) == 0
    assert joined([], least=1) is None
    # One that is much larger than all behind it stays.
    assert joined([100_000, 5_000, 4_000, 4_000]) == 100_000


@given(st.lists(st.integers(1, 3_000_000), max_size=30))
def test_none_that_is_large_is_joined(sizes: list[int]) -> None:
    after = joined(sizes)
    for piece in pieces(sizes):
        if after is not None and piece.last > after:
            assert piece.events <= LARGEST


def test_an_event_is_written_again_a_few_times_only() -> None:
    """10,000 commits of 7 events: what is rewritten in all, against what there is."""
    segments: list[int] = []
    rewritten = 0
    for _ in range(10_000):
        segments.append(7)
        after = joined(segments, least=64)
        if after is not None:
            kept = [p for p in pieces(segments) if p.last <= after]
            moved = sum(segments) - sum(p.events for p in kept)
            rewritten += moved
            segments = [*(p.events for p in kept), moved]
    assert sum(segments) == 70_000
    assert len(segments) < 64 + 12
    assert rewritten < 70_000 * 12


def test_metrics_of_a_follower() -> None:
    metrics = Metrics(now=lambda: 1_000.0)
    metrics(Followed(0, 0.0, 5, 0.0))
    metrics(Followed(7, 0.25, 12, 0.1))
    metrics(RoundFailed("bank", "gone", 0.1))
    value = metrics.registry.get_sample_value
    assert value("runner_follow_lag_seconds") == 0.25
    assert value("runner_follow_round_seconds") == 0.1
    assert value("runner_follow_rounds_total") == 1
    assert value("runner_follow_failures_total", {"place": "bank"}) == 1
    assert value("runner_follow_last_round_timestamp_seconds") == 1_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_one_line_that_moves_on_a_terminal_and_few_elsewhere(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    shown = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with watching(quiet=True) as quiet:
        line = _Following(quiet)
        for number in range(1, 50):
            line(Followed(1, 0.2, number, 0.1))
        line(Noted("bank: gone; tried again"))
        line(Followed(1, 0.2, 1234, 0.1))
        line.end()
    text = shown.getvalue()
    assert "note: bank: gone; tried again\n" in text
    if terminal:
        assert text.count("\n") == 2
        assert text.rstrip().rpartition("\r")[2].startswith("\x1b[Kfollowing: position 1,234")
    else:
        assert text.count("following:") == 1
