"""One run of an entry in this process: its steps, the place that is pinned, locks and turns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from scheduled_shop import Shop

from runner.cli import app
from runner.cli.options import Session
from runner.cli.schedule_steps import step_done
from runner.errors import ConfigError, JobError
from runner.jobs.records.ledger import Ledger
from runner.jobs.scheduling import carry_out as module
from runner.jobs.scheduling.carry_out import StepEnd, carry_out
from runner.jobs.scheduling.clock import WallClock
from runner.jobs.scheduling.state import Pin, ScheduleState, directory_of
from runner.jobs.scheduling.times import occurrence_named
from runner.log import Log
from runner.positions import Position
from runner.sinks.export import canonical
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from runner.jobs.scheduling.state import EntryRun

Step = Callable[[Sequence[str]], StepEnd]
NIGHTLY = """
[[schedule]]
name = "nightly"
run = ["sync", "rebuild --all --prove 0"]
cron = "30 0 * * *"
zone = "Europe/Berlin"
as_of = "start of day"
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.chdir(tmp_path)
    made = Shop(tmp_path, NIGHTLY)
    yield made
    made.close()


class Runs:
    """Of the shop's entry, one after the other."""

    def __init__(self, shop: Shop) -> None:
        self.config, self.said = shop.config, list[str]()
        self.lines: list[str] = []
        self.session = Session(shop.root / "runner.toml", as_json=False, debug=False)

    def step(self, line: Sequence[str]) -> StepEnd:
        self.lines.append(" ".join(line))
        return step_done(self.session, line)

    def begin(self, day: str) -> int:
        with ScheduleState(self.config) as state:
            occurrence = occurrence_named(self.config.schedule[0], day)
            return state.begin("nightly", occurrence, WallClock().now(), by="hand")

    def of(self, day: str, step: Step | None = None) -> EntryRun:
        run = self.begin(day)
        carry_out(self.config, run, step or self.step, self.said.append)
        with ScheduleState(self.config) as state:
            return state.run(run)

    def totals(self) -> tuple[bytes, dict[str, list[int]]]:
        models = ReadModels(self.config.read_models.path)
        live = models.live("totals")
        assert live is not None
        table = models.table("totals", live)
        return canonical(table, live.shape.key), table.sort_by("aggregate_id").select(["total"]).to_pydict()


def test_an_occurrence_gives_the_same_bytes_again(shop: Shop) -> None:
    runs = Runs(shop)
    shop.append(("a", "2026-11-28T10:00:00Z", 1), ("b", "2026-11-28T22:59:59.999999Z", 2))

    def dies_in_the_rebuild(line: Sequence[str]) -> StepEnd:
        return StepEnd(9, "workers are gone") if line[0] == "rebuild" else runs.step(line)

    first = runs.of("2026-11-29", dies_in_the_rebuild)
    assert (first.state, first.exit_code, first.error) == ("failed", 9, "workers are gone")
    assert any("no event recorded since" in line for line in runs.said)
    # Recorded before that midnight, but in the log only behind the first run: it is left out for good.
    shop.append(("a", "2026-11-28T21:00:00Z", 10), ("b", "2026-11-28T23:00:00Z", 20))
    assert runs.of("2026-11-29").state == "succeeded"
    of_29 = runs.totals()
    assert of_29[1] == {"total": [1, 2]}
    runs.of("2026-11-30")
    assert runs.totals()[1] == {"total": [11, 22]}
    assert not any("left out" in line and "events recorded before" in line for line in runs.said)
    runs.of("2026-11-29")
    assert runs.totals() == of_29
    assert runs.lines[-1] == "rebuild --all --prove 0 --to 2"  # the first run's failure: a later one succeeded


@pytest.mark.parametrize("step", ["schedule.3", "schedule.4"])
def test_a_run_that_is_killed_at_a_step_folds_to_the_same_place_again(shop: Shop, step: str) -> None:
    runs = Runs(shop)
    shop.append(("a", "2026-11-28T10:00:00Z", 1))
    line = [sys.executable, "-m", "runner", "schedule", "carry-out", str(runs.begin("2026-11-29"))]
    killed = subprocess.run(line, env={**os.environ, "RUNNER_CRASH_AT": step}, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    shop.append(("a", "2026-11-28T11:00:00Z", 1))
    assert runs.of("2026-11-29").state == "succeeded"
    assert "--to 1" in runs.lines[-1]
    assert runs.totals()[1] == {"total": [1]}


def test_what_was_recorded_before_but_stands_behind_is_counted(shop: Shop) -> None:
    runs = Runs(shop)
    for name, at in (("a", "2026-11-28T10:00:00Z"), ("a", "2026-11-29T10:00:00Z"), ("b", "2026-11-28T11:00:00Z")):
        shop.append((name, at, 1))
    runs.of("2026-11-29")
    assert runs.lines[-1].endswith("--to 1")
    assert any(line.startswith("note: 1 events recorded before 2026-11-28T23:00:00+00:00 stand") for line in runs.said)
    assert (shop.root / "state").stat().st_mode & 0o777 == 0o700


def test_a_pin_of_another_log_or_time_is_made_anew_and_one_beyond_the_log_is_told(shop: Shop) -> None:
    runs = Runs(shop)
    shop.append(("a", "2026-11-28T10:00:00Z", 1), ("a", "2026-11-29T10:00:00Z", 2))
    runs.of("2026-11-29")
    occurrence = occurrence_named(runs.config.schedule[0], "2026-11-29")
    with ScheduleState(runs.config) as state, Log.open(runs.config.log.path) as log:
        pin = state.pin("nightly", occurrence)
        assert pin is not None
        assert (pin.position, pin.log_id) == (1, log.manifest.log_id)
        for other in (replace(pin, log_id="another"), replace(pin, as_of=occurrence)):
            state.set_pin("nightly", occurrence, replace(other, position=Position(2)))
            runs.of("2026-11-29")
            assert state.pin("nightly", occurrence) == pin
        assert sum("cut by time anew" in line for line in runs.said) == 2
        state.set_pin("nightly", occurrence, Pin(pin.as_of, pin.log_id, Position(9)))
        with pytest.raises(JobError, match="the log ends at 2"):
            runs.of("2026-11-29")
        assert state.runs("nightly", 1)[0].state == "failed"


def test_a_step_that_fails_ends_the_run_with_its_code_and_line(shop: Shop) -> None:
    runs = Runs(shop)
    shop.append(("a", "2026-11-28T10:00:00Z", 1))
    (shop.root / "events.ndjson").write_text("no JSON\n")
    bad = runs.of("2026-11-29")
    assert (bad.state, bad.exit_code) == ("failed", 5)
    assert bad.error.startswith("sync: ")
    assert runs.lines == ["sync"]
    (shop.root / "events.ndjson").unlink()


def test_a_rebuild_that_was_begun_is_gone_on_with_or_begins_anew(shop: Shop) -> None:
    runs, dies = Runs(shop), StepEnd(9, "workers are gone")
    shop.append(("a", "2026-11-28T10:00:00Z", 1), ("b", "2026-11-28T10:00:00Z", 2))
    runs.of("2026-11-29", lambda line: dies if line[0] == "rebuild" else runs.step(line))
    crash = "import os; os.environ['RUNNER_CRASH_AT'] = 'rebuild.4'; from runner.cli import main; main()"
    subprocess.run([sys.executable, "-c", crash, "rebuild", "--all", "--to", "2"], check=False, capture_output=True)
    assert runs.of("2026-11-29").state == "succeeded"
    assert runs.lines[-1] == "rebuild --all --prove 0 --to 2 --resume"
    with Ledger(runs.config.state.path / "jobs.sqlite") as ledger:
        done, killed = ledger.jobs(limit=2, what="rebuild")
        assert (done.resumes, killed.state) == (killed.id, "died")
    runs.of("2026-11-29")  # it succeeded: nothing to go on with
    assert runs.lines[-1] == "rebuild --all --prove 0 --to 2"
    runs.of("2026-11-29", lambda _line: dies)

    def not_resumable(line: Sequence[str]) -> StepEnd:
        return StepEnd(1, "changed since", "NotResumable") if line[-1] == "--resume" else runs.step(line)

    assert runs.of("2026-11-29", not_resumable).state == "succeeded"
    assert runs.lines[-1] == "rebuild --all --prove 0 --to 2"


def test_an_interrupted_run_is_stopped_and_one_given_up_does_not_begin(shop: Shop) -> None:
    runs = Runs(shop)

    def interrupted(line: Sequence[str]) -> StepEnd:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.of("2026-11-29", interrupted)
    run = runs.begin("2026-11-29")
    with ScheduleState(runs.config) as state:
        assert state.runs("nightly", 2)[1].state == "stopped"
        state.end(run, "died", WallClock().now())
    with pytest.raises(JobError, match="given up"):
        carry_out(runs.config, run, runs.step, runs.said.append)


def test_of_an_entry_one_run_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.01)
    runs = Runs(shop)

    def within(line: Sequence[str]) -> StepEnd:
        with pytest.raises(JobError, match="goes on already"):
            runs.of("2026-11-28", lambda _line: StepEnd())
        return StepEnd(1, "enough")

    assert runs.of("2026-11-29", within).error == "enough"


def test_steps_that_write_the_log_take_turns(shop: Shop) -> None:
    runs = Runs(shop)
    waiting = threading.Event()
    turn = FileLock(directory_of(runs.config) / "locks" / "turn-log.lock", thread_local=False)
    Path(turn.lock_file).parent.mkdir(parents=True)
    turn.acquire()

    def say(line: str) -> None:
        if line.startswith("waiting"):
            waiting.set()

    run = runs.begin("2026-11-29")
    ended: list[StepEnd] = []
    other = threading.Thread(
        target=lambda: ended.append(carry_out(runs.config, run, lambda _line: StepEnd(1, "x"), say))
    )
    other.start()
    assert waiting.wait(30)
    assert not ended
    turn.release()
    other.join(30)
    assert ended == [StepEnd(1, "x")]


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ('run = "rebuild"\nevery = "1h"', "give the names of projections, or --all"),
        ('run = "rebuild --al"\nevery = "1h"', "--al"),
        ('run = "update --workers x"\nevery = "1h"', "workers"),
        (
            (
                'run = "rebuild totals"\nevery = "1h"\nas_of = "start of day"\n'
                '[[schedule]]\nname = "other"\nrun = ["sync", "update"]\nevery = "1min"'
            ),
            "writes it too",
        ),
    ],
)
def test_steps_are_looked_at_before_anything_runs(
    shop: Shop, capsys: pytest.CaptureFixture[str], schedule: str, words: str
) -> None:
    toml = shop.root / "runner.toml"
    toml.write_text(toml.read_text().replace(NIGHTLY, f'\n[[schedule]]\nname = "one"\n{schedule}\n'))
    for command in (["schedule"], ["schedule", "list"], ["schedule", "run-now", "one"]):
        assert app.run([*command, "--config", str(toml)]) == ConfigError.exit_code
        assert words in capsys.readouterr().err


def test_list_and_next_show_what_is_known(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    toml = str(shop.root / "runner.toml")
    assert app.run(["schedule", "list", "--config", toml]) == 0
    assert "Europe/Berlin" in capsys.readouterr().out
    assert not directory_of(shop.config).exists()  # to look makes nothing
    Runs(shop).of("2026-11-29", lambda _line: StepEnd(9, "workers are gone"))
    assert app.run(["schedule", "--config", toml, "list"]) == 0
    assert "nightly, run 1: workers are gone" in capsys.readouterr().out
    assert app.run(["schedule", "next", "nightly", "--count", "2", "--config", toml]) == 0
    assert capsys.readouterr().out.count("T00:30:00+0") == 2 * 2  # the occurrence, and when it is due
    assert app.run(["schedule", "next", "no", "--config", toml]) == ConfigError.exit_code
