"""Ray Data: the rows as a ``groupby`` with its own aggregates over blocks in its object store, on a local Ray."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from rivals.loaded import ACCOUNT, THREADS, Loaded

if TYPE_CHECKING:
    import pyarrow as pa
    from workloads import Made

__all__ = ["ray_data_rival"]

BLOCKS = 8
PARTITIONS = 4
"""Of the shuffle. Its default, 200, took twice as long for two million events."""


def derived(table: pa.Table) -> pa.Table:
    """What its aggregates, which know no conditions, add up."""
    import pyarrow as pa
    import pyarrow.compute as pc

    amount, nothing = table["amount"], pa.scalar(0, pa.int64())
    opened, deposited, withdrawn = (pc.equal(table["type"], kind) for kind in range(3))
    signed = pc.if_else(deposited, amount, pc.if_else(opened, nothing, pc.negate(amount)))
    return pa.table(
        {
            "account": table["account"],
            "signed": signed,
            "deposited": deposited.cast(pa.int64()),
            "withdrawn": withdrawn.cast(pa.int64()),
            "amount_in": pc.if_else(deposited, amount, nothing),
            "at": table["at"],
            "opened": opened.cast(pa.int64()),
        }
    )


def ray_data_rival(made: Made, ids: str, most: int) -> Loaded:
    warnings.simplefilter("ignore")
    import ray
    import ray.data
    from ray.data.aggregate import Max, Sum

    ray.init(
        address="local", num_cpus=THREADS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    table = made.events(ids, most)
    size = -(-len(table) // BLOCKS)
    blocks = [ray.put(table.slice(at, size).combine_chunks()) for at in range(0, len(table), size)]
    aggregates = (
        Sum("signed", alias_name="balance"),
        Sum("deposited", alias_name="deposits"),
        Sum("withdrawn", alias_name="withdrawals"),
        Max("amount_in", alias_name="largest"),
        Max("at", alias_name="last_at"),
        Max("opened", alias_name="open"),
    )

    def fold() -> Any:
        events = ray.data.from_arrow_refs(blocks).map_batches(derived, batch_format="pyarrow", zero_copy_batch=True)
        return ray.get(events.groupby("account", num_partitions=PARTITIONS).aggregate(*aggregates).to_arrow_refs())

    def rows(tables: Any) -> dict[str, pa.Table]:
        import pyarrow as pa

        return {ACCOUNT: pa.concat_tables([t for t in tables if t.num_rows], promote_options="permissive")}

    return Loaded(fold, rows, len(table), close=ray.shutdown)
