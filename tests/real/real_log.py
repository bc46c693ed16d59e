"""A real event log in a project of its own, and its read models beside SQL over the raw files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.config import load_config, load_definitions
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.syncing.sync import sync
from runner.jobs.updating.update import update
from runner.sinks.export import canonical
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from runner.jobs.reports.runs import RebuildReport, UpdateReport
    from runner.jobs.syncing.sync import SyncReport

__all__ = ["BANK", "FILES", "GITHUB", "LOANS", "RealLog", "one", "same"]

TOML = """
[project]
modules = ["{module}"]
[log]
partitions = {partitions}
segment_events = {segment_events}
[engine]
name = "threads"
workers = 2
"""

LOANS = """
[sources.loans]
files = "{files}"
aggregate_id = "stream"
type = "type"
recorded_at = "time"
version = "version"
position = {{ path = "position", ascending = true }}
payload = "data"
"""
GITHUB = """
[sources.github]
files = "{files}"
aggregate_id = ["repo.name", {{ paths = ["payload.issue.number", "payload.pull_request.number"], optional = true }}]
separator = "#"
type = "type"
recorded_at = "created_at"
position = {{ path = "id", ascending = true }}
"""
BANK = """
[sources.accounts]
files = "{accounts}"
aggregate_id = "account_id"
type = {{ constant = "account.opened" }}
recorded_at = {{ path = "date", format = "%y%m%d", zone = "Europe/Prague" }}
namespace = "berka"
encoding = "latin-1"
csv = {{ delimiter = ";" }}
[sources.transactions]
files = "{transactions}"
aggregate_id = "account_id"
type = "type"
recorded_at = {{ path = "date", format = "%y%m%d", zone = "Europe/Prague" }}
namespace = "berka"
encoding = "latin-1"
csv = {{ delimiter = ";" }}
"""
FILES = """
[sources.files]
files = "{files}"
aggregate_id = "stream"
type = "type"
recorded_at = "time"
version = "version"
position = "position"
payload = "data"
"""
"""The sources, as runner.toml has them."""


class RealLog:
    """A project: log, read models and state in ``folder``."""

    def __init__(
        self, folder: Path, module: str, sources: str, *, partitions: int = 16, segment_events: int = 100_000
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = TOML.format(module=module, partitions=partitions, segment_events=segment_events)
        (folder / "runner.toml").write_text(settings + sources)
        self.folder = folder
        self.config = load_config(folder / "runner.toml")
        self.definitions = load_definitions(self.config)
        self.models = ReadModels(self.config.read_models.path)
        self.rebuilt: RebuildReport | None = None

    def sync(self) -> SyncReport:
        return sync(self.config)

    def rebuild(self, **options: Any) -> RebuildReport:
        self.rebuilt = rebuild(self.config, **{"prove": 0, **options})
        return self.rebuilt

    def update(self) -> UpdateReport:
        return update(self.config, prove=0)

    def bytes(self) -> dict[str, bytes]:
        """The canonical bytes of every read model."""
        return {d.name: canonical(self.models.table(d.name), [part.name for part in d.key]) for d in self.definitions}

    def sql(self) -> duckdb.DuckDBPyConnection:
        """DuckDB over the live read models; the raw files are the test's own business."""
        connection = self.models.connect()
        connection.execute("SET TimeZone = 'UTC'")
        return connection


def same(connection: duckdb.DuckDBPyConnection, actual: str, expected: str) -> int:
    """Compare two queries row by row, duplicates counted; how many rows they have. AssertionError shows differing
    rows.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE actual AS {actual}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE expected AS {expected}")
    extra = connection.execute("(FROM actual EXCEPT ALL FROM expected) ORDER BY ALL LIMIT 3").fetchall()
    missing = connection.execute("(FROM expected EXCEPT ALL FROM actual) ORDER BY ALL LIMIT 3").fetchall()
    assert not extra, f"rows that SQL does not have: {extra}; SQL has {missing}"
    assert not missing, f"rows that only SQL has: {missing}"
    (count,) = one(connection, "SELECT count(*) FROM actual")
    assert count > 0
    return int(count)


def one(connection: duckdb.DuckDBPyConnection, query: str, parameters: object = None) -> tuple[Any, ...]:
    """The one row of a query. Fetched to its end: DuckDB refuses other work beside an open result."""
    (row,) = connection.execute(query, parameters).fetchall()
    return row  # type: ignore[no-any-return]  # duckdb says no more
