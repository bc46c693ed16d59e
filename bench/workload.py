"""The benchmarks' ledger: the same events as plain arrays (for the rivals) and as a compacted log (for the runner).

Kept in ``bench/out/`` and made again only when its shape changes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runner.cli.seeded_ledger import LedgerShape, LedgerTexts, ledger_chunks

OUT = Path(os.environ.get("RUNNER_BENCH_OUT") or Path(__file__).parent / "out")
COLUMNS = ("account", "type", "amount", "at")
FORMAT = 1
"""Raised when what is written here changes."""


@dataclass(frozen=True)
class Workload:
    """Where a ledger lies: ``arrays``: one .npy a column; ``log``: the runner's log directory."""

    directory: Path
    shape: LedgerShape

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def column(self, name: str) -> np.ndarray:
        return np.load(self.directory / f"{name}.npy", mmap_mode="r")

    def account_text(self, account: int) -> str:
        return f"acc-{account:0{len(str(self.shape.account_count - 1))}d}"


def prepare(shape: LedgerShape, partitions: int | None = None) -> Workload:
    """The workload, made if it is not there."""
    name = f"ledger-{shape.events}-{shape.account_count}-{shape.skew}-{shape.seed}-p{partitions or 'auto'}"
    workload = Workload(OUT / name, shape)
    stamp = workload.directory / "made.json"
    wanted = {"format": FORMAT, **asdict(shape)}
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return workload
    shutil.rmtree(workload.directory, ignore_errors=True)
    workload.directory.mkdir(parents=True)
    write_arrays(workload)
    write_log(workload.log, shape, partitions)
    stamp.write_text(json.dumps(wanted))
    return workload


def write_arrays(workload: Workload) -> None:
    chunks = list(ledger_chunks(workload.shape))
    for name in COLUMNS:
        np.save(workload.directory / f"{name}.npy", np.concatenate([getattr(chunk, name) for chunk in chunks]))


def write_log(path: Path, shape: LedgerShape, partitions: int | None) -> None:
    """The ledger straight into a log, a million events at a time, then compacted."""
    from own import plan_for

    from runner.log import Log, LogWriter

    texts = LedgerTexts(shape, cents=True)
    with LogWriter.open(path, **({} if partitions is None else {"partitions": partitions})) as writer:
        for chunk in ledger_chunks(shape):
            writer.append("ledger", texts.arrivals(chunk))
        writer.commit("ledger", {"events": shape.events})
        with Log.open(path) as log:
            columns = plan_for(log).columns
        writer.ensure_columns(columns)
        writer.compact()
