"""DuckDB and Polars: the rows as one GROUP BY over a table of their own in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queries import polars_frame, sql

from rivals.loaded import THREADS, Loaded

if TYPE_CHECKING:
    from workloads import Made

__all__ = ["duckdb_rival", "polars_rival"]


def duckdb_rival(made: Made, ids: str, most: int) -> Loaded:
    import duckdb

    connection = duckdb.connect(config={"threads": THREADS})
    arrived = made.events(ids, most)
    connection.register("arrived", arrived)
    names = ", ".join(f'"{name}"' for name in arrived.column_names)
    connection.execute(f"CREATE TABLE events AS SELECT {names} FROM arrived")
    connection.unregister("arrived")
    connection.execute("SET preserve_insertion_order = false")
    texts = {name: sql(query) for name, query in made.workload.rows.items()}
    return Loaded(
        lambda: {name: connection.sql(text).to_arrow_table() for name, text in texts.items()}, dict, len(arrived)
    )


def polars_rival(made: Made, ids: str, most: int) -> Loaded:
    import polars as pl

    arrived = made.events(ids, most)
    events = pl.from_arrow(arrived).rechunk()  # type: ignore[union-attr]  # of a table, it is a frame
    frames = [polars_frame(query, events.lazy()) for query in made.workload.rows.values()]

    def rows(found: Any) -> dict[str, Any]:
        return {name: frame.to_arrow() for name, frame in zip(made.workload.rows, found, strict=True)}

    return Loaded(lambda: pl.collect_all(frames), rows, len(arrived))
