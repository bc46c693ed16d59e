"""Embedded read models: Parquet base and delta files under a DuckDB catalog of views, switched by one rename.

==================  ====================================================================================
``shape``           what a version is, as data: ``Shape``, ``FileInfo``, ``Version``, and its version.json
``rows``            rows into Parquet files and back; a worker calls ``write_rows`` with a ``Target``
``newest``          base and deltas laid over each other: the newest row of a key, deletions out
``saved``           the rows of given aggregates, for a catch-up
``claims``          one writer per version of a read model
``current``         current.json: which versions are live and kept, the truth
``catalog``         catalog.duckdb, and ``connect`` for library users
``publish``         the commit order
``compaction``      deltas merged when there are many
``read_models``     ``ReadModels``: all of it behind one object
``export``          the canonical bytes of a table of rows
==================  ====================================================================================

Nothing is imported here, so that a worker that only writes rows does not load DuckDB.

Secondary ``indexes`` of a projection need nothing in this sink: DuckDB prunes by the row groups' statistics. They are
kept in version.json for sinks that make real indexes of them.
"""
