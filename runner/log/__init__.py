"""The log: the runner's own columnar copy of the events. ``Log`` reads, ``LogWriter`` writes, ``audit`` checks."""

from __future__ import annotations

from runner.log.arrival import ARRIVAL_SCHEMA
from runner.log.audit import AuditReport, audit
from runner.log.compaction import Limits
from runner.log.identity import identity_hash, partition_of
from runner.log.reader import HEADER, Log, RawEvent
from runner.log.storage import Storage, storage_of
from runner.log.writer import LogWriter, Room

__all__ = [
    "ARRIVAL_SCHEMA",
    "HEADER",
    "AuditReport",
    "Limits",
    "Log",
    "LogWriter",
    "RawEvent",
    "Room",
    "Storage",
    "audit",
    "identity_hash",
    "partition_of",
    "storage_of",
]
