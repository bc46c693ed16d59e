"""``runner demo``: a made-up ledger through the whole way: sync, rebuild of three read models on Ray, figures, rows."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, numeric_columns, print_table, print_text, rate, seconds, size
from runner.cli.progress import watching
from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.cli.options import Session
    from runner.cli.progress import Watch
    from runner.cli.seeded_ledger import LedgerShape
    from runner.config import Config
    from runner.jobs.reports.runs import RebuildReport
    from runner.jobs.syncing.sync import SyncReport

__all__ = ["command"]

EVENTS_A_FILE = 1_000_000
STAMP = "demo.json"
FORMAT = 1
SHOWN = {
    "accounts": "SELECT aggregate_id, currency, balance, lowest, deposits, withdrawals, fees, last_at "
    "FROM accounts ORDER BY deposits + withdrawals DESC, aggregate_id LIMIT 3",
    "balances": "SELECT * FROM balances ORDER BY movements DESC, aggregate_id, currency LIMIT 3",
    "flows": "SELECT * FROM flows ORDER BY day, currency LIMIT 3",
}
CONFIG = """\
# Written by `runner demo`. Try: runner status, runner query "SELECT * FROM flows LIMIT 5", runner jobs

[project]
modules = ["projections.ledger"]

[sources.ledger]
files = "events/*.parquet"
aggregate_id = "account"
type = "type"
recorded_at = "recorded_at"
position = { path = "id", ascending = true }
payload = "payload"

[log]
path = "log"

[read_models]
path = "read_models"

[state]
path = "state"
"""


class Number(click.ParamType[int]):
    """An integer that may be written with underscores."""

    name = "integer"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(str(value))
        except ValueError:
            return self.fail(f"{value!r} is not a number", param, ctx)


@session_command("demo", exits=(3, 6, 8, 9))
@click.option("--events", type=Number(), default=10_000_000, show_default=True, help="How many events.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same events.")
@click.option("--engine", type=click.Choice(["ray", "threads", "auto"]), default="ray", show_default=True)
@click.option("--workers", type=click.IntRange(min=0), default=0, help="0: one for each core.")
@click.option("--fresh", is_flag=True, help="Make the ledger and the log again.")
def command(session: Session, events: int, directory: Path, seed: int, engine: Any, workers: int, fresh: bool) -> None:
    """Make a seeded ledger as Parquet files, sync it, rebuild three read models in one pass, show the figures.

    The ledger has accounts of Zipf-like sizes, eight currencies and four event types. Everything lies in a directory of
    its own, with a runner.toml to play with afterwards. A second run keeps ledger and log, and rebuilds; with other
    --events or --seed, or --fresh, it begins anew. --config is not used.
    """
    from runner.cli.seeded_ledger import LedgerShape

    if events < 1:
        raise ConfigError(f"--events {events}: a ledger has at least one event")
    shape = LedgerShape(events, seed=seed)
    began = time.perf_counter()
    with watching() as watch:
        made = _prepared(directory, shape, watch, fresh=fresh)
        config, synced, report = _run(directory, engine, workers, watch)
    total = time.perf_counter() - began
    if session.as_json:
        emit_json(_as_json(directory, shape, made, synced, report, total))
        return
    _show(config, shape, made, synced, report, total)


def _prepared(directory: Path, shape: LedgerShape, watch: Watch, *, fresh: bool) -> float | None:
    """Make the event files unless they are there; seconds, or None where they were."""
    stamp = directory / STAMP
    wanted = {"format": FORMAT, **asdict(shape)}
    if directory.exists() and any(directory.iterdir()) and not stamp.exists():
        raise ConfigError(f"{directory} is not a demo's directory", hint="give another one: --dir PATH")
    if stamp.exists() and not fresh and json.loads(stamp.read_text()) == wanted:
        watch.say(f"{directory}: ledger and log of an earlier run are kept (--fresh makes them again)")
        return None
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "events").mkdir(parents=True)
    # A run that is interrupted here leaves a stamp that no shape equals: the next one may clear the directory.
    stamp.write_text("{}")
    began = time.perf_counter()
    watch.say(
        f"making {count(shape.events)} events of {count(shape.account_count)} accounts as Parquet in {directory}/events"
    )
    for number, table in enumerate(_tables(shape)):
        _write(table, directory / "events" / f"part-{number:04d}.parquet")
    (directory / "runner.toml").write_text(CONFIG)
    stamp.write_text(json.dumps(wanted))
    spent = time.perf_counter() - began
    octets = sum(f.stat().st_size for f in (directory / "events").iterdir())
    watch.say(f"made: {rate(shape.events, spent)}, {seconds(spent)}, {size(octets)}")
    return spent


def _tables(shape: LedgerShape) -> Iterator[Any]:
    from runner.cli.seeded_ledger import LedgerTexts, ledger_chunks

    texts = LedgerTexts(shape)
    for chunk in ledger_chunks(shape, EVENTS_A_FILE):
        yield texts.table(chunk)


def _write(table: Any, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="lz4", use_dictionary=["account", "type"])


def _run(directory: Path, engine: Any, workers: int, watch: Watch) -> tuple[Config, SyncReport, RebuildReport]:
    from runner.config import load_config
    from runner.jobs.rebuilding.rebuild import rebuild
    from runner.jobs.syncing.sync import sync

    config = load_config(directory / "runner.toml")
    synced = sync(config, listener=watch)
    return config, synced, rebuild(config, "all", engine=engine, workers=workers, listener=watch)


def _rows(shape: LedgerShape, made: float | None, synced: SyncReport, report: RebuildReport) -> list[tuple[Any, ...]]:
    """(stage, events, seconds, what it is): None where a stage had nothing to do."""
    fold = report.seconds.get("fold")
    rows: list[tuple[Any, ...]] = [
        ("make", shape.events, made, "seeded events into Parquet"),
        ("sync", synced.events, synced.seconds.get("sync") if synced.events else None, "Parquet into the log"),
        (
            "columns",
            synced.events,
            synced.seconds.get("columns") if synced.events else None,
            "payload fields to columns",
        ),
        ("rebuild", report.events, fold, f"three projections in one pass, {report.engine}, {report.workers} workers"),
    ]
    words = {"scan": "of it, mapping the log", "fold": "of it, the compiled fold", "write": "of it, rows into Parquet"}
    rows += [
        (f"  {name}", report.events, report.worker_seconds.get(name), f"{words[name]} (worker time)") for name in words
    ]
    rows += [
        ("merge", None, report.seconds.get("merge"), "partial rows of merged keys"),
        ("prove", None, report.seconds.get("prove"), "samples folded again in plain Python, equal"),
        ("publish", None, report.seconds.get("publish"), "the switch"),
    ]
    return rows


def _show(
    config: Config, shape: LedgerShape, made: float | None, synced: SyncReport, report: RebuildReport, total: float
) -> None:
    shown = [
        (stage, count(events) if events else "", seconds(spent) if spent is not None else "kept",
         rate(events, spent) if events and spent else "", what)
        for stage, events, spent, what in _rows(shape, made, synced, report)
    ]  # fmt: skip
    title = f"{count(shape.events)} events, {count(shape.account_count)} accounts, seed {shape.seed}"
    print_table(title, ("stage", "events", "time", "rate", ""), shown, numeric=frozenset({"events", "time", "rate"}))
    from runner.sinks.read_models import ReadModels

    models, largest = ReadModels(config.read_models.path), ""
    with models.connect() as connection:
        for projection in report.projections:
            result = connection.execute(SHOWN[projection.name])
            columns = [c[0] for c in result.description or ()]
            rows = result.fetchall()
            largest = largest or str(rows[0][0])
            title = f"{projection.name}: {count(projection.rows)} rows"
            print_table(title, columns, rows, numeric=numeric_columns(columns, rows))
    print_text(f"all in {seconds(total)}. Look around:")
    print_text(f"  cd {config.root}")
    print_text('  runner status; runner query "SELECT currency, sum(paid_in) FROM flows GROUP BY ALL"')
    print_text(f"  runner explain accounts {largest} --last 5; runner jobs")


def _as_json(
    directory: Path, shape: LedgerShape, made: float | None, synced: SyncReport, report: RebuildReport, total: float
) -> dict[str, Any]:
    return {
        "directory": directory,
        "events": shape.events,
        "accounts": shape.account_count,
        "seed": shape.seed,
        "seconds": total,
        "stages": {
            stage.strip() if not stage.startswith(" ") else f"worker_{stage.strip()}": {
                "events": events,
                "seconds": spent,
                "events_per_second": events / spent if events and spent else None,
            }
            for stage, events, spent, _ in _rows(shape, made, synced, report)
        },
        "sync": asdict(synced),
        "rebuild": asdict(report),
    }
