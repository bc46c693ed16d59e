"""This runner, the scan that is its limit, and the C fold of the batches that it folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from own import Own

from rivals.loaded import ACCOUNT, THREADS, Loaded
from runner.log import Log

if TYPE_CHECKING:
    import pyarrow as pa
    from workloads import Made

__all__ = ["c_rival", "core_rival", "runner_rival", "scan_rival"]


def runner_rival(made: Made, _ids: str, _most: int) -> Loaded:
    own = Own(Log.open(made.log), sorted(made.workload.rows), THREADS)
    return Loaded(own.fold, own.rows, made.shape.events)


def core_rival(made: Made, _ids: str, _most: int) -> Loaded:
    """One thread, and the batches made before: what the C folds are compared with."""
    own = Own(Log.open(made.log), sorted(made.workload.rows), 1, held=True)
    return Loaded(own.fold, own.rows, made.shape.events)


def scan_rival(made: Made, _ids: str, _most: int) -> Loaded:
    own = Own(Log.open(made.log), sorted(made.workload.rows), THREADS)
    return Loaded(own.scan, None, made.shape.events, octets=own.octets())


def c_rival(made: Made, form: str, _most: int) -> Loaded:
    """form: "switch", "runs" or "position"."""
    from rivals.c_fold import FIELDS, CFold, in_position_order

    log = Log.open(made.log)
    held = Own(log, [ACCOUNT], 1, held=True).held
    assert held is not None
    if form == "position":
        held = [[in_position_order(batch, log.types) for batch in batches] for batches in held]
    c = CFold(held, log.types, "runs" if form == "runs" else "switch")

    def rows(found: Any) -> dict[str, pa.Table]:
        import pyarrow as pa

        tables = [pa.table([ids, *columns], ["account", *FIELDS]) for ids, columns in found]
        return {ACCOUNT: pa.concat_tables(tables)}

    return Loaded(c.fold, rows, made.shape.events)
