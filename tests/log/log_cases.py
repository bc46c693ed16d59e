"""Events as plain rows, a log in memory that follows the same rules, and strategies for both."""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import strategies as st

from runner.log import ARRIVAL_SCHEMA, Log, LogWriter, Room
from runner.values import Kind, PayloadColumn, RecordField, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.batch import Batch, PayloadArray

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one: random histories sync to disk thousands of times."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


@dataclass(frozen=True)
class Row:
    """One event. place is its source position; recorded in µs."""

    id: str
    type: str = "opened"
    version: int | None = None
    tenant: str = ""
    recorded: int | None = None
    place: tuple[int, int] = (0, 0)
    payload: str = "{}"
    position: int = 0
    source: str = ""

    @property
    def aggregate(self) -> tuple[str, str, str]:
        return self.source, self.tenant, self.id

    def raw(self) -> tuple[Any, ...]:
        recorded = None if self.recorded is None else EPOCH + timedelta(microseconds=self.recorded)
        return self.position, self.id, self.type, self.version, recorded, self.payload


def arrival(rows: Sequence[Row], *, encoded: bool = False) -> pa.RecordBatch:
    """The rows in the arrival schema; encoded: aggregate_id and type as dictionaries."""
    columns = [
        [r.tenant for r in rows],
        [r.id for r in rows],
        [r.version for r in rows],
        [r.type for r in rows],
        [r.recorded for r in rows],
        [r.place[0] for r in rows],
        [r.place[1] for r in rows],
        [r.payload for r in rows],
    ]
    arrays = [pa.array(values, f.type) for values, f in zip(columns, ARRIVAL_SCHEMA, strict=True)]
    names = ARRIVAL_SCHEMA.names
    if encoded:
        arrays = [
            a.dictionary_encode() if n in ("aggregate_id", "type") else a for a, n in zip(arrays, names, strict=True)
        ]
    return pa.record_batch(arrays, names=names)


def numbered(rows: Sequence[Row], start: int = 1) -> list[Row]:
    """The rows with places (0, start), (0, start + 1), ..."""
    return [replace(r, place=(0, start + i)) for i, r in enumerate(rows)]


@dataclass
class Model:
    """What the log should hold, kept the obvious way."""

    segment_events: int
    rows: list[Row] = field(default_factory=list)
    heads: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def commit(self, source: str, rows: Sequence[Row]) -> bool:
        """Take the rows as one commit; False, and nothing taken, where a version is not above its aggregate's last."""
        heads, taken = dict(self.heads), []
        for at in range(0, len(rows), self.segment_events):
            part = self._segment([replace(r, source=source) for r in rows[at : at + self.segment_events]], heads)
            if part is None:
                return False
            taken += part
        first = len(self.rows) + 1
        self.rows += [replace(r, position=first + i) for i, r in enumerate(taken)]
        self.heads = heads
        return True

    def _segment(self, rows: list[Row], heads: dict[tuple[str, str, str], int]) -> list[Row] | None:
        highest = dict(heads)
        places = defaultdict(list)
        for i, row in enumerate(rows):
            version = highest.get(row.aggregate, 0) + 1 if row.version is None else row.version
            rows[i] = replace(row, version=version)
            highest[row.aggregate] = max(version, highest.get(row.aggregate, version))
            places[row.aggregate].append(i)
        result = list(rows)
        for aggregate, spots in places.items():
            ordered = sorted((rows[i] for i in spots), key=lambda r: r.version)
            for spot, row in zip(spots, ordered, strict=True):
                if aggregate in heads and row.version <= heads[aggregate]:
                    return None
                heads[aggregate] = row.version
                result[spot] = row
        return result


AMOUNT = PayloadColumn("deposited", (("amount",),), ValueType(Kind.INT))
NOTE = PayloadColumn("deposited", (("note",),), ValueType(Kind.STR, optional=True))
TAGS = PayloadColumn("opened", (("tags",),), ValueType(Kind.LIST, element=ValueType(Kind.STR)))
_LINE = ValueType(
    Kind.RECORD,
    fields=(
        RecordField("sku", ValueType(Kind.STR), (("sku",),)),
        RecordField("values", ValueType(Kind.INT, optional=True), (("values",),)),
    ),
)
LINES = PayloadColumn("opened", (("lines",),), ValueType(Kind.LIST, optional=True, element=_LINE))
COLUMNS = (AMOUNT, NOTE, TAGS, LINES)

payloads = {
    "deposited": st.fixed_dictionaries(
        {"amount": st.integers(-(2**40), 2**40)},
        optional={"note": st.one_of(st.none(), st.sampled_from(["", "a", "żółw"]))},
    ),
    "opened": st.fixed_dictionaries(
        {"tags": st.lists(st.sampled_from(["x", "yy", ""]), max_size=3)},
        optional={
            "lines": st.one_of(
                st.none(),
                st.lists(
                    st.fixed_dictionaries(
                        {"sku": st.sampled_from(["s1", "s2"])},
                        optional={"values": st.one_of(st.none(), st.integers(0, 9))},
                    ),
                    max_size=2,
                ),
            )
        },
    ),
    "closed": st.just({"why": "\u0000 nothing"}),
}


@st.composite
def rows(draw: Callable[[Any], Any], versions: bool = False) -> Row:
    """One event of few aggregates, tenants and types."""
    type_name = draw(st.sampled_from(sorted(payloads)))
    return Row(
        id=draw(st.sampled_from(["a", "b", "c", "longer-than-eight-bytes", "ü\u0000\x1f", ""])),
        type=type_name,
        version=draw(st.one_of(st.none(), st.integers(0, 40))) if versions else None,
        tenant=draw(st.sampled_from(["", "", "", "t1"])),
        recorded=draw(st.one_of(st.none(), st.integers(-(10**12), 10**15))),
        payload=json.dumps(draw(payloads[type_name]), ensure_ascii=False),
    )


def write(path: Path, rows: Sequence[Row], *, partitions: int = 4, room: Room | None = None, source: str = "s") -> None:
    """One commit into a log."""
    with LogWriter.open(path, partitions=partitions, room=room) as writer:
        writer.append(source, arrival(numbered(rows)))
        writer.commit(source, len(rows))


def raw_rows(log: Log, since: int = 0, to: int | None = None) -> list[tuple[Any, ...]]:
    """All raw events of all partitions, by position; checks each partition's own order."""
    found = []
    for p in range(log.partitions):
        mine = [tuple(e) for e in log.raw(p, since, to)]
        assert mine == sorted(mine, key=lambda e: e[0])
        found += mine
    return sorted(found, key=lambda e: e[0])


def values_of(array: PayloadArray) -> list[Any]:
    """A payload array as Python values; "absent" where no path was present, None for null."""
    n = len(array)
    valid = [1] * n if array.valid is None else array.valid.tolist()
    absent = [0] * n if array.absent is None else array.absent.tolist()
    stored = array.values.tolist()
    if array.type.kind == Kind.LIST:
        inner = values_of(array.element) if array.element is not None else _records(array.fields)
        stored = [inner[a:b] for a, b in pairwise(stored)]
    elif array.dictionary is not None:
        texts = array.dictionary.texts.to_pylist()
        stored = [texts[c] if v else "" for c, v in zip(stored, valid, strict=True)]
    return ["absent" if a else v if ok else None for v, ok, a in zip(stored, valid, absent, strict=True)]


def _records(fields: Any) -> list[dict[str, Any]]:
    columns = {name: values_of(part) for name, part in fields.items()}
    size = len(next(iter(columns.values())))
    return [{name: values[i] for name, values in columns.items()} for i in range(size)]


def wanted_value(payload: str, column: PayloadColumn) -> Any:
    """What ``values_of`` gives for a payload."""
    value = json.loads(payload)
    (key,) = column.paths[0]
    if key not in value:
        return "absent"
    if key == "lines" and value[key] is not None:
        return [{"sku": line["sku"], "values": line.get("values", "absent")} for line in value[key]]
    return value[key]


def decoded(log: Log, batch: Batch, partition: int) -> list[tuple[Any, ...]]:
    """A batch's events as (position, namespace, tenant, id, type, version, recorded, payload values), as stored."""
    assert batch.partition == partition
    assert batch.position is not None
    assert batch.version is not None
    assert batch.recorded_at is not None
    names = [log.types[t] for t in batch.types]
    cursors: dict[PayloadColumn, int] = defaultdict(int)
    values = {c: values_of(a) for c, a in batch.payload.items()}
    ids, scope = batch.aggregates.texts.to_pylist(), batch.aggregates.scope.tolist()
    found = []
    for i, code in enumerate(batch.aggregate.tolist()):
        payload = {}
        for column in values:
            if column.event_type == names[i]:
                payload[column] = values[column][cursors[column]]
                cursors[column] += 1
        recorded = int(batch.recorded_at[i])
        row = (int(batch.position[i]), *log.scopes[scope[code]], ids[code], names[i], int(batch.version[i]))
        found.append((*row, None if recorded == -(2**63) else recorded, payload))
    assert all(cursors[c] == len(values[c]) for c in values)
    assert set(range(len(ids))) == set(batch.aggregate.tolist())
    return found


def expected(row: Row, columns: Sequence[PayloadColumn]) -> tuple[Any, ...]:
    """What ``decoded`` gives for a row."""
    payload = {c: wanted_value(row.payload, c) for c in columns if c.event_type == row.type}
    return (row.position, row.source, row.tenant, row.id, row.type, row.version, row.recorded, payload)


def check(log: Log, model: Model, columns: Sequence[PayloadColumn] = (), since: int = 0, to: int | None = None) -> None:
    """The log holds what the model holds, in batches that keep each aggregate's order."""
    last = len(model.rows) if to is None else to
    inside = [r for r in model.rows if since < r.position <= last]
    found = []
    for p in range(log.partitions):
        for batch in log.batches(p, columns, since=since, to=to):
            mine = decoded(log, batch, p)
            order: dict[Any, int] = {}
            for position, *aggregate, _type, _version, _recorded, _payload in mine:
                assert order.get(tuple(aggregate), 0) < position
                order[tuple(aggregate)] = position
            found += mine
    assert sorted(found, key=lambda e: e[0]) == [expected(r, columns) for r in inside]
    assert raw_rows(log, since, to) == [r.raw() for r in inside]
