"""Where the events of a source stood in it: for comparing the log's tail with the source, and for telling what of a
range the log has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.log.manifest import Manifest
    from runner.log.streams import EventRows

__all__ = ["PLACES_SCHEMA", "number_parts", "numbers_of", "places_of", "positions_between"]

PLACES_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64()),
        pa.field("source_position_0", pa.int64()),
        pa.field("source_position_1", pa.int64()),
        pa.field("tenant", pa.utf8()),
        pa.field("aggregate_id", pa.utf8()),
        pa.field("version", pa.int64()),
        pa.field("type", pa.utf8()),
    ]
)


def places_of(manifest: Manifest, rows: Iterable[EventRows], source: str, since: int) -> pa.Table:
    """The source's events behind the position ``since`` (PLACES_SCHEMA), ascending by position. A version that the
    source does not have is the log's own lowest number.
    """
    code = _code(manifest, source)
    tenants = np.array([tenant for _, tenant in manifest.scopes] or [""], object)
    types = np.array(manifest.types or ("",), object)
    parts = []
    for each in rows:
        keep = (each.header["source"] == code) & (each.header["position"] > since)
        if not keep.any():
            continue
        codes = each.codes[keep]
        columns = {name: pa.array(each.header[name][keep]) for name in PLACES_SCHEMA.names if name in _NUMBERS}
        columns["tenant"] = pa.array(tenants[each.aggregates.scope[codes]], pa.utf8())
        columns["aggregate_id"] = each.aggregates.ids.take(pa.array(codes)).cast(pa.utf8())
        columns["type"] = pa.array(types[each.header["type"][keep]], pa.utf8())
        parts.append(pa.table({name: columns[name] for name in PLACES_SCHEMA.names}, schema=PLACES_SCHEMA))
    return pa.concat_tables(parts).sort_by("position") if parts else PLACES_SCHEMA.empty_table()


def positions_between(
    manifest: Manifest, rows: Iterable[EventRows], source: str, tenant: str, first: int, last: int
) -> npt.NDArray[np.int64]:
    """The second source positions from first to last, ends included, that the log has of a tenant; ascending."""
    code = _code(manifest, source)
    scopes = np.array([name == tenant for _, name in manifest.scopes] or [False])
    parts = [np.empty(0, np.int64)]
    for each in rows:
        positions = each.header["source_position_1"]
        keep = (each.header["source"] == code) & (positions >= first) & (positions <= last)
        if keep.any():
            keep &= scopes[each.aggregates.scope[each.codes]]
            parts.append(positions[keep])
    return np.unique(np.concatenate(parts))


def numbers_of(manifest: Manifest, rows: Iterable[EventRows], source: str) -> npt.NDArray[np.int64]:
    """int64[n, 3]: position and the two source positions of all events of a source; in no order."""
    return np.concatenate([np.empty((0, 3), np.int64), *number_parts(manifest, rows, source)])


def number_parts(manifest: Manifest, rows: Iterable[EventRows], source: str) -> Iterator[npt.NDArray[np.int64]]:
    """The same, part by part; none is empty."""
    code = _code(manifest, source)
    for each in rows:
        mine = each.header["source"] == code
        if mine.any():
            columns = [each.header[name][mine] for name in ("position", "source_position_0", "source_position_1")]
            yield np.stack([c.astype(np.int64) for c in columns], axis=1)


_NUMBERS = frozenset({"position", "source_position_0", "source_position_1", "version"})


def _code(manifest: Manifest, source: str) -> int:
    names = [s.name for s in manifest.sources]
    return names.index(source) if source in names else -1
