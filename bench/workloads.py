"""The workloads, as data: which events, which projections fold them, which rows must come out, who else can compute it.

``prepare`` makes a workload's files once, in ``bench/out/`` (or RUNNER_BENCH_OUT): the events as plain columns for the
rivals, and as a compacted log for the runner. Workloads of the same shape and size share them.
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import others
import pyarrow as pa
from queries import Count, Largest, Last, Latest, Query, Seen, Total
from records import RecordShape, RecordTexts, record_chunks

from runner.cli.seeded_ledger import LedgerShape, LedgerTexts, ledger_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["OUT", "SHAPES", "WORKLOADS", "Made", "Workload", "prepare", "prepare_log"]

OUT = Path(os.environ.get("RUNNER_BENCH_OUT") or Path(__file__).parent / "out")
_making = Lock()
FORMAT = 2
"""Raised when what is written here changes."""
GATHERED_EVENTS, GATHERED_BYTES = 16_000_000, 2 << 30
"""What the log's writer gathers before it writes a segment: few segments leave compaction little to do."""
FREE_BYTES_PER_EVENT = 160
"""Of disk, of a ledger's log: raw payloads, columns, header, and twice while segments are compacted."""

Shape = LedgerShape | RecordShape

SHAPES: Mapping[str, Callable[[int, int], Shape]] = {
    "uniform": lambda events, seed: LedgerShape(events, seed=seed, skew="uniform"),
    "zipf": lambda events, seed: LedgerShape(events, seed=seed, skew="zipf"),
    "giant": lambda events, seed: LedgerShape(events, seed=seed, skew="giant"),
    "wide": lambda events, seed: RecordShape(
        events,
        types=("reading.taken",),
        numbers=others.READINGS,
        texts=(("site", 500), ("unit", 9), ("model", 40), ("operator", 10_000)),
        padding=200,
        seed=seed,
    ),
    "many": lambda events, seed: RecordShape(events, types=others.MANY, numbers=("amount",), seed=seed),
    "rare": lambda events, seed: RecordShape(events, types=others.RARE, numbers=("amount",), rare=2, seed=seed),
    "strings": lambda events, seed: RecordShape(
        events, types=others.CHANGES, numbers=("size",), texts=(("status", 6), ("owner", 50_000)), seed=seed
    ),
}

_OPENED, _IN, _OUT, _FEE, _LEDGER = range(1), range(1, 2), range(2, 3), range(3, 4), range(4)


def _ledger(handled: range, **fields: Any) -> Query:
    return Query(4, handled, fields)


ACCOUNT = _ledger(
    _LEDGER,
    balance=Total("amount", _IN, range(2, 4)),
    deposits=Count(_IN),
    withdrawals=Count(_OUT),
    largest=Largest("amount", _IN),
    last_at=Latest(_LEDGER),
    open=Seen(_OPENED),
)
TEN = {
    "account:Account": ACCOUNT,
    "ten:Balance": _ledger(range(1, 4), balance=Total("amount", _IN, range(2, 4))),
    "ten:Deposits": _ledger(_IN, deposits=Count(_IN), total=Total("amount", _IN), largest=Largest("amount", _IN)),
    "ten:Withdrawals": _ledger(
        _OUT, withdrawals=Count(_OUT), total=Total("amount", _OUT), largest=Largest("amount", _OUT)
    ),
    "ten:Fees": _ledger(_FEE, fees=Count(_FEE), total=Total("amount", _FEE)),
    "ten:Activity": _ledger(_LEDGER, events=Count(_LEDGER), last_at=Latest(_LEDGER)),
    "ten:Turnover": _ledger(range(1, 3), turnover=Total("amount", range(1, 3)), movements=Count(range(1, 3))),
    "ten:Extremes": _ledger(range(1, 3), largest_in=Largest("amount", _IN), largest_out=Largest("amount", _OUT)),
    "ten:Dates": _ledger(range(2), opened_at=Latest(_OPENED), deposited_at=Latest(_IN)),
    "ten:Outflow": _ledger(
        range(2, 4), outflow=Total("amount", range(2, 4)), payments=Count(range(2, 4)), last_at=Latest(range(2, 4))
    ),
}

QUERIES = ("duckdb_int", "duckdb_str", "polars_int", "polars_str")
"""Rivals that compute whatever a query says."""
HAND_WRITTEN = ("python", "bytewax", "bytewax_final", "ray_data", "eventsourcing", "c_runs", "c_switch", "c_position")
"""Rivals that are written for one projection, ``account.Account``."""
OURS = ("runner", "runner_core", "scan")


@dataclass(frozen=True)
class Workload:
    """rows: what each projection (module:Class) must make. events: of the full form. rivals: who can compute it."""

    name: str
    what: str
    shape: str
    rows: Mapping[str, Query]
    events: int = 5_000_000
    rivals: tuple[str, ...] = (*OURS, *QUERIES)


WORKLOADS: Mapping[str, Workload] = {
    w.name: w
    for w in (
        Workload(
            "uniform",
            "a ledger of four types, accounts of equal size",
            "uniform",
            {"account:Account": ACCOUNT},
            20_000_000,
            (*OURS, *QUERIES, *HAND_WRITTEN),
        ),
        Workload(
            "zipf",
            "the same, accounts by Zipf's law: the largest has 0.8 % of the events",
            "zipf",
            {"account:Account": ACCOUNT},
            20_000_000,
            (*OURS, *QUERIES, *HAND_WRITTEN),
        ),
        Workload(
            "giant",
            "the same, one account has half of the events",
            "giant",
            {"account:Account": ACCOUNT},
            20_000_000,
            (*OURS, *QUERIES, *HAND_WRITTEN),
        ),
        Workload("ten", "ten projections in one pass over the uniform ledger", "uniform", TEN, 20_000_000),
        Workload(
            "wide",
            "28 fields and 200 octets more in each payload, 12 fields read",
            "wide",
            {
                "others:Sensors": Query(
                    1,
                    range(1),
                    {
                        "readings": Count(range(1)),
                        **{f"s{n}": Total(f"r{n}", range(1)) for n in ("00", "01", "02", "03", "04", "05", "12", "13")},
                        **{f"m{n}": Largest(f"r{n}", range(1)) for n in ("14", "15", "16", "23")},
                    },
                )
            },
            2_000_000,
        ),
        Workload(
            "many",
            "64 event types, all handled",
            "many",
            {
                "others:Ledgers": Query(
                    64,
                    range(64),
                    {
                        "balance": Total("amount", range(32), range(32, 64)),
                        "debits": Count(range(32)),
                        "credits": Count(range(32, 64)),
                        "largest": Largest("amount", range(32)),
                    },
                )
            },
        ),
        Workload(
            "rare",
            "16 event types, two of them handled, which have one event in a hundred",
            "rare",
            {
                "others:Alarms": Query(
                    16, range(14, 16), {"alarms": Count(range(14, 16)), "total": Total("amount", range(14, 16))}
                )
            },
        ),
        Workload(
            "strings",
            "texts kept and compared: 6 and 50,000 distinct ones",
            "strings",
            {
                "others:Tickets": Query(
                    2,
                    range(2),
                    {
                        "status": Last("status"),
                        "owner": Last("owner"),
                        "opened": Count(range(2), ("status", "status 3")),
                        "events": Count(range(2)),
                    },
                )
            },
        ),
    )
}


@dataclass(frozen=True)
class Made:
    """A workload's files: ``events.arrow`` (account, type, at and the columns; mapped), ``log``."""

    workload: Workload
    shape: Shape
    directory: Path
    read: frozenset[str] = field(default=frozenset())

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def events(self, ids: str, most: int = 0) -> pa.Table:
        """The events in their order with the columns that rows are made of. ids: "int" or "str". most: the first."""
        with pa.memory_map(str(self.directory / "events.arrow")) as file:
            table = pa.ipc.open_file(file).read_all()
        table = table.select([name for name in table.column_names if name in self.read | {"account", "type", "at"}])
        table = table.slice(0, most) if most else table
        if ids == "str":
            count = self.shape.account_count
            texts = pa.array([f"acc-{i:0{len(str(count - 1))}d}" for i in range(count)])
            table = table.set_column(0, "account", texts.take(table["account"].combine_chunks()))
        if any(isinstance(f, Last) for q in self.workload.rows.values() for f in q.fields.values()):
            table = table.append_column("n", pa.array(range(table.num_rows), pa.int64()))
        return table


def prepare(name: str, events: int, seed: int = 1, partitions: int | None = None) -> Made:
    """The workload's files, made if they are not there."""
    made = _made(name, events, seed, partitions)
    _once(made, "events", lambda: _write_events(made))
    prepare_log(name, events, seed, partitions)
    return made


def prepare_log(name: str, events: int, seed: int = 1, partitions: int | None = None) -> Made:
    """The same without the events as columns, which large ones do without."""
    made = _made(name, events, seed, partitions)
    _once(made, "log", lambda: _write_log(made, partitions))
    return made


def _made(name: str, events: int, seed: int, partitions: int | None) -> Made:
    workload = WORKLOADS[name]
    shape = SHAPES[workload.shape](events, seed)
    directory = OUT / f"{workload.shape}-{events}-s{seed}{f'-p{partitions}' if partitions else ''}"
    fields = [f for query in workload.rows.values() for f in query.fields.values()]
    read = {f.column for f in fields if isinstance(f, Total | Largest | Last)}
    read |= {f.where[0] for f in fields if isinstance(f, Count) and f.where}
    return Made(workload, shape, directory, frozenset(read))


def _once(made: Made, part: str, make: Callable[[], None]) -> None:
    """Make a part of the files unless it was, of the same shape; a part that was begun only is made again."""
    stamp = made.directory / f"{part}.json"
    wanted = json.loads(json.dumps({"format": FORMAT, "shape": type(made.shape).__name__, **asdict(made.shape)}))
    with _making:
        if stamp.exists() and json.loads(stamp.read_text()) == wanted:
            return
        made.directory.mkdir(parents=True, exist_ok=True)
        make()
        stamp.write_text(json.dumps(wanted))


def _chunks(shape: Shape) -> Iterator[Any]:
    return ledger_chunks(shape) if isinstance(shape, LedgerShape) else record_chunks(shape)


def _texts(shape: Shape) -> LedgerTexts | RecordTexts:
    return LedgerTexts(shape, cents=True) if isinstance(shape, LedgerShape) else RecordTexts(shape)


def _write_events(made: Made) -> None:
    """Written batch by batch: what is made beside the log is never whole in memory."""
    texts = None if isinstance(made.shape, LedgerShape) else RecordTexts(made.shape)
    path = made.directory / "events.arrow"
    writer = None
    try:
        for chunk in _ahead(_chunks(made.shape)):
            columns = {name: pa.array(getattr(chunk, name)) for name in ("account", "type", "at")}
            if texts is None:
                columns["amount"] = pa.array(chunk.amount)
            else:
                columns |= {name: pa.array(values) for name, values in chunk.numbers.items()}
                columns |= {name: texts.values[name].take(pa.array(codes)) for name, codes in chunk.texts.items()}
            batch = pa.record_batch(columns)
            writer = writer or pa.ipc.new_file(str(path), batch.schema)
            writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()


def _write_log(made: Made, partitions: int | None) -> None:
    """The events straight into a log with the columns that any workload of this shape reads, compacted."""
    from own import plan_for

    from runner.log import Log, LogWriter
    from runner.log.writer import Room

    needed = made.shape.events * FREE_BYTES_PER_EVENT
    if shutil.disk_usage(made.directory).free < needed:
        raise SystemExit(f"{OUT} has not the {needed / 1e9:.0f} GB free that {made.shape.events:,} events may need")
    shutil.rmtree(made.log, ignore_errors=True)
    texts = _texts(made.shape)
    room = Room(events=max(1, min(made.shape.events, GATHERED_EVENTS)), payload_bytes=GATHERED_BYTES)
    projections = {name for w in WORKLOADS.values() if w.shape == made.workload.shape for name in w.rows}
    with LogWriter.open(made.log, room=room, **({} if partitions is None else {"partitions": partitions})) as writer:
        for arrivals in _ahead(texts.arrivals(chunk) for chunk in _chunks(made.shape)):
            writer.append("ledger", arrivals)
        writer.commit("ledger", {"events": made.shape.events})
        with Log.open(made.log) as log:
            columns = plan_for(log, sorted(projections)).columns
        writer.ensure_columns(columns)
        writer.compact()


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The same items; the next one is made in a thread while the last one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
