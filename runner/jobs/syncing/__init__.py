"""Sync: new events of the sources into the log, all of them or a fraction of the aggregates, and what it would do."""
