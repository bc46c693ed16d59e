"""The port of read-model sinks as the conformance suite sees it, the embedded sink behind it, and a plain reference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.errors import FingerprintChanged, ReadModelError
from runner.sinks.read_models import ReadModels
from runner.sinks.rows import write_rows
from runner.sinks.shape import HASH, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runner.positions import Position

__all__ = ["EmbeddedReadModels", "Live", "MemoryReadModels", "ReadModelPort"]

UInt64s = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Live:
    """What users see of a read model besides its rows."""

    number: int
    position: Position
    fingerprint: str


class ReadModelPort(Protocol):
    """What the suite needs of a sink. Errors are those of ``runner.errors``."""

    def rebuild(self, shape: Shape, position: Position, rows: Mapping[int, pa.Table]) -> None:
        """Write rows per partition into a new version and switch."""

    def update(self, shape: Shape, position: Position, changes: Mapping[int, tuple[pa.Table, pa.Table | None]]) -> None:
        """Write changed rows and deleted keys per partition into the live version."""

    def rollback(self, name: str) -> None:
        """Make the version before the live one live."""

    def compact(self, name: str) -> None:
        """Tidy up inside; the same rows. May do nothing."""

    def live(self, name: str) -> Live | None:
        """What is live."""

    def table(self, name: str) -> pa.Table:
        """All rows that users see, without hashes."""

    def saved(self, name: str, hi: UInt64s, lo: UInt64s) -> pa.Table:
        """The rows of these aggregates (hashes ascending), with hashes."""


class EmbeddedReadModels:
    """The embedded sink as the suite sees it. Tables are read from the files and, as users do, through SQL."""

    def __init__(self, root: Path, *, keep: int = 2) -> None:
        self.models = ReadModels(root, keep=keep)

    def rebuild(self, shape: Shape, position: Position, rows: Mapping[int, pa.Table]) -> None:
        with self.models.begin_rebuild(shape) as claim:
            files = [write_rows(claim.target, partition, part) for partition, part in rows.items()]
            self.models.publish_rebuild([claim.built(position, files)])

    def update(self, shape: Shape, position: Position, changes: Mapping[int, tuple[pa.Table, pa.Table | None]]) -> None:
        with self.models.begin_update(shape) as claim:
            files = [write_rows(claim.target, partition, rows, gone) for partition, (rows, gone) in changes.items()]
            self.models.publish_update([claim.built(position, files)])

    def rollback(self, name: str) -> None:
        self.models.rollback(name)

    def compact(self, name: str) -> None:
        self.models.compact(name)

    def live(self, name: str) -> Live | None:
        version = self.models.live(name)
        return Live(version.number, version.position, version.fingerprint) if version else None

    def table(self, name: str) -> pa.Table:
        table = self.models.table(name)
        with self.models.connect() as connection:
            relation = connection.table('"' + name.replace('"', '""') + '"')
            assert relation.columns == table.schema.names, "SQL shows other columns than the files have"
            seen = relation.fetchall()
        rows = [tuple(row.values()) for row in table.to_pylist()]
        assert sorted(map(_told, seen)) == sorted(map(_told, rows)), "SQL shows other rows than the files have"
        return table

    def saved(self, name: str, hi: UInt64s, lo: UInt64s) -> pa.Table:
        version = self.models.live(name)
        assert version is not None
        return self.models.saved_rows(version)(name, hi, lo)


def _told(row: tuple[Any, ...]) -> str:
    """A row as text that is equal for equal values: NaN, and UTC under any name."""
    return repr([value.isoformat() if isinstance(value, datetime) else value for value in row])


@dataclass
class _Kept:
    shape: Shape
    number: int
    position: Position
    rows: dict[tuple[Any, ...], dict[str, Any]]
    rolled_back: bool = False


@dataclass
class MemoryReadModels:
    """The plain reference: versions as dicts from key to row. Slow, and obviously right."""

    keep: int = 2
    kept: dict[str, list[_Kept]] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)

    def rebuild(self, shape: Shape, position: Position, rows: Mapping[int, pa.Table]) -> None:
        number = self.newest[shape.name] = self.newest.get(shape.name, 0) + 1
        version = _Kept(shape, number, position, {})
        for part in rows.values():
            self._put(version, part)
        before = sorted(self.kept.get(shape.name, []), key=lambda v: v.rolled_back)
        self.kept[shape.name] = [version, *before][: self.keep + 1]

    def update(self, shape: Shape, position: Position, changes: Mapping[int, tuple[pa.Table, pa.Table | None]]) -> None:
        live = self._live(shape.name)
        if live.shape.fingerprint != shape.fingerprint:
            raise FingerprintChanged(f"{shape.name} has changed")
        live = self.kept[shape.name][0] = replace(live, shape=shape, position=position, rows=dict(live.rows))
        for rows, gone in changes.values():
            self._put(live, rows)
            for row in gone.to_pylist() if gone is not None else ():
                live.rows.pop(tuple(row[n] for n in shape.full_key), None)

    def rollback(self, name: str) -> None:
        live, others = self._live(name), self.kept[name][1:]
        target = next((v for v in others if not v.rolled_back), None)
        if target is None:
            raise ReadModelError(f"{name} has no earlier version")
        live.rolled_back = True
        rest = [v for v in (live, *others) if v is not target]
        self.kept[name] = [target, *sorted(rest, key=lambda v: v.rolled_back)]

    def compact(self, name: str) -> None:
        """Nothing is loose here."""

    def live(self, name: str) -> Live | None:
        versions = self.kept.get(name)
        return Live(versions[0].number, versions[0].position, versions[0].shape.fingerprint) if versions else None

    def table(self, name: str) -> pa.Table:
        live = self._live(name)
        whole = pa.Table.from_pylist(list(live.rows.values()), live.shape.schema)
        return whole.select(live.shape.columns)

    def saved(self, name: str, hi: UInt64s, lo: UInt64s) -> pa.Table:
        live = self._live(name)
        wanted = set(zip(hi.tolist(), lo.tolist(), strict=True))
        rows = [r for r in live.rows.values() if (r[HASH[0]], r[HASH[1]]) in wanted]
        return pa.Table.from_pylist(rows, live.shape.schema)

    def _live(self, name: str) -> _Kept:
        if not self.kept.get(name):
            raise ReadModelError(f"there is no read model {name!r}")
        return self.kept[name][0]

    def _put(self, version: _Kept, rows: pa.Table) -> None:
        for row in rows.to_pylist():
            version.rows[tuple(row[n] for n in version.shape.full_key)] = row
