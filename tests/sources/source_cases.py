"""Sources made in a folder, read to their end, and what came out as plain rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.config import SourceConfig, load_config
from runner.sources import BadLine, UnfinishedLine, open_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LEDGER = """
files = "events*.ndjson"
format = "ndjson"
aggregate_id = "id"
type = "type"
"""


@dataclass
class Reading:
    """All that one reading gave. The mark has gone through JSON, as in a manifest."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[BadLine] = field(default_factory=list)
    unfinished: tuple[UnfinishedLine, ...] = ()
    mark: Any = None
    error: Exception | None = None

    @property
    def ids(self) -> list[str]:
        return [row["aggregate_id"] for row in self.rows]

    @property
    def places(self) -> list[tuple[int, int]]:
        return [(row["source_position_0"], row["source_position_1"]) for row in self.rows]


def source(folder: Path, body: str = LEDGER) -> SourceConfig:
    """The source of a runner.toml in ``folder``."""
    file = folder / "runner.toml"
    file.write_text(f"[sources.s]\n{body}", encoding="utf-8")
    return load_config(file).sources["s"]


def read(config: SourceConfig, mark: Any = None) -> Reading:
    """Read from a mark to the end, or to the error."""
    found = Reading()
    reader = open_source(config, mark)
    try:
        for piece in reader.pieces():
            found.rows += piece.events.to_pylist()
            found.rejected += piece.rejected
        found.unfinished = reader.unfinished()
    except Exception as error:  # tests look at it
        found.error = error
    found.mark = json.loads(json.dumps(reader.mark()))
    return found


def lines(first: int, last: int) -> str:
    """NDJSON of events first..last - 1, ids e<k>."""
    return "".join(f'{{"id":"e{k}","type":"t","n":{k}}}\n' for k in range(first, last))


def ids(first: int, last: int) -> list[str]:
    return [f"e{k}" for k in range(first, last)]


def no_error(found: Reading) -> Reading:
    if found.error is not None:
        raise found.error
    return found


def read_all(config: SourceConfig, mark: Any = None) -> Reading:
    """Read to the end; an error is raised."""
    return no_error(read(config, mark))


def fields(found: Reading, *names: str) -> list[Sequence[Any]]:
    return [tuple(row[name] for name in names) for row in found.rows]
