"""Every metric that the runner gives: name, kind, unit, labels, meaning. Dashboards and alerts rest on this file.

Counters end in ``_total`` as they are exposed; seconds and bytes stand in the name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """One metric. ``labels`` in the order in which values are given."""

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    labels: tuple[str, ...]
    help: str


EVENTS_READ = Metric(
    "runner_events_read_total", "counter", "events", ("source",), "Events that sync took from a source."
)
BATCHES_READ = Metric(
    "runner_batches_read_total", "counter", "batches", ("source",), "Batches that sync took from a source."
)
SOURCE_BYTES_READ = Metric(
    "runner_source_read_bytes", "gauge", "bytes", ("source",), "How far this sync is in the bytes of a source."
)
LINES_REJECTED = Metric(
    "runner_lines_rejected_total", "counter", "lines", ("source",), "Bad lines that went to a rejects file."
)
WATERMARK_BEHIND = Metric(
    "runner_watermark_behind_events",
    "gauge",
    "events",
    ("source", "tenant"),
    "Visible events of a store that were not settled at the last look.",
)
WATERMARK_HOLDERS = Metric(
    "runner_watermark_holders",
    "gauge",
    "transactions",
    ("source", "tenant"),
    "Sessions and prepared transactions that held the watermark at the last look.",
)
WATERMARK_HELD = Metric(
    "runner_watermark_held_seconds",
    "gauge",
    "seconds",
    ("source", "tenant"),
    "For how long the longest of them had gone on; 0 where none did.",
)
WATERMARK_HOLDER = Metric(
    "runner_watermark_holder_seconds",
    "gauge",
    "seconds",
    ("source", "tenant", "pid", "application"),
    "The one that had held the watermark longest at the last look; a prepared transaction has no pid. Gone with it.",
)
OPEN_GAPS = Metric(
    "runner_open_gap_positions",
    "gauge",
    "positions",
    ("source", "tenant"),
    "Positions that were passed by time and are still asked for.",
)
LATE_EVENTS = Metric(
    "runner_late_events",
    "gauge",
    "events",
    ("source", "tenant"),
    "Events of all time that came in gaps which had been passed by time.",
)
EVENTS_SCANNED = Metric(
    "runner_events_scanned_total", "counter", "events", (), "Events of the log that went through a fold."
)
BATCHES_SCANNED = Metric(
    "runner_batches_scanned_total", "counter", "batches", (), "Batches of the log that went through a fold."
)
PARTITIONS_FOLDED = Metric(
    "runner_partitions_folded_total", "counter", "partitions", (), "Partitions that were folded."
)
EVENTS_FOLDED = Metric("runner_events_folded_total", "counter", "events", ("projection",), "Events that had a handler.")
EVENTS_PASSED_OVER = Metric(
    "runner_events_passed_over_total", "counter", "events", ("projection",), "Events that had no handler."
)
PARTITIONS_BY_TWIN = Metric(
    "runner_partitions_by_twin_total",
    "counter",
    "partitions",
    ("projection",),
    "Partitions that the plain twin folded, much slower than a compiled fold.",
)
ROWS_WRITTEN = Metric("runner_rows_written_total", "counter", "rows", ("projection",), "Rows written to a read model.")
ROWS_DELETED = Metric(
    "runner_rows_deleted_total", "counter", "rows", ("projection",), "Rows deleted from a read model."
)
AGGREGATES_PROVED = Metric(
    "runner_aggregates_proved_total",
    "counter",
    "aggregates",
    ("projection",),
    "Aggregates folded twice and found equal.",
)
STAGE_SECONDS = Metric("runner_stage_seconds_total", "counter", "seconds", ("stage",), "Wall time of a run's stages.")
WORKER_SECONDS = Metric(
    "runner_worker_seconds_total", "counter", "seconds", ("stage",), "Time of all workers in scan, fold and write."
)
EVENTS_PER_SECOND = Metric(
    "runner_events_per_second", "gauge", "events/s", ("stage",), "Events over wall time of the stage that ended last."
)
CHECKPOINT = Metric(
    "runner_checkpoint_position", "gauge", "position", ("projection",), "The position that a read model reflects."
)
LOG_POSITION = Metric(
    "runner_log_position", "gauge", "position", (), "The log's last position when a checkpoint moved."
)
LAG = Metric(
    "runner_lag_events", "gauge", "events", ("projection",), "Events of the log behind a read model's checkpoint."
)
FOLLOW_LAG = Metric(
    "runner_follow_lag_seconds",
    "gauge",
    "seconds",
    (),
    "At most so long after its commit the first event of the last round was visible in the read models.",
)
FOLLOW_ROUND_SECONDS = Metric(
    "runner_follow_round_seconds", "gauge", "seconds", (), "What a follower's last round with events took."
)
FOLLOW_ROUNDS = Metric(
    "runner_follow_rounds_total", "counter", "rounds", (), "Rounds of a follower that brought events."
)
FOLLOW_FAILURES = Metric(
    "runner_follow_failures_total",
    "counter",
    "rounds",
    ("place",),
    "Rounds of a follower that failed and were tried again.",
)
FOLLOW_LAST_ROUND = Metric(
    "runner_follow_last_round_timestamp_seconds",
    "gauge",
    "seconds since 1970",
    (),
    "When a follower last found the read models current.",
)
JOBS = Metric(
    "runner_jobs_total", "counter", "jobs", ("what", "outcome"), "Jobs that ended: succeeded, failed, interrupted."
)
JOBS_RUNNING = Metric("runner_jobs_running", "gauge", "jobs", ("what",), "Jobs under way.")
JOB_SECONDS = Metric("runner_job_seconds", "gauge", "seconds", ("what",), "Wall time of the job that ended last.")
LAST_SUCCESS = Metric(
    "runner_last_success_timestamp_seconds", "gauge", "seconds since 1970", ("what",), "When a job last succeeded."
)
LAST_FAILURE = Metric(
    "runner_last_failure_timestamp_seconds", "gauge", "seconds since 1970", ("what",), "When a job last failed."
)
SCHEDULE_RUNNING = Metric(
    "runner_schedule_running", "gauge", "runs", ("entry",), "1 while a run of an entry of the schedule goes on."
)
SCHEDULE_NEXT_RUN = Metric(
    "runner_schedule_next_run_timestamp_seconds",
    "gauge",
    "seconds since 1970",
    ("entry",),
    "When the next occurrence of an entry is due; in the past while its run goes on or waits for a place.",
)
SCHEDULE_LAST_SUCCESS = Metric(
    "runner_schedule_last_success_timestamp_seconds",
    "gauge",
    "seconds since 1970",
    ("entry",),
    "When a run of an entry last succeeded.",
)
SCHEDULE_FAILURES = Metric(
    "runner_schedule_failures",
    "gauge",
    "runs",
    ("entry",),
    "Runs that failed of the occurrence that is being tried; 0 from its success on.",
)
SCHEDULE_RUNS = Metric(
    "runner_schedule_runs_total",
    "counter",
    "runs",
    ("entry", "outcome"),
    "Runs that ended: succeeded, failed, timed out, died, stopped.",
)
SCHEDULE_SECONDS = Metric(
    "runner_schedule_run_seconds", "gauge", "seconds", ("entry",), "Wall time of an entry's run that ended last."
)
SCHEDULE_MISSED = Metric(
    "runner_schedule_missed_total", "counter", "occurrences", ("entry",), "Occurrences that were not run."
)
DISK_FREE = Metric(
    "runner_disk_free_bytes",
    "gauge",
    "bytes",
    ("directory",),
    "Free to the runner on the file system of its log, read_models or state directory.",
)
DISK_SIZE = Metric("runner_disk_size_bytes", "gauge", "bytes", ("directory",), "Size of that file system.")

METRICS: tuple[Metric, ...] = (
    EVENTS_READ,
    BATCHES_READ,
    SOURCE_BYTES_READ,
    LINES_REJECTED,
    WATERMARK_BEHIND,
    WATERMARK_HOLDERS,
    WATERMARK_HELD,
    WATERMARK_HOLDER,
    OPEN_GAPS,
    LATE_EVENTS,
    EVENTS_SCANNED,
    BATCHES_SCANNED,
    PARTITIONS_FOLDED,
    EVENTS_FOLDED,
    EVENTS_PASSED_OVER,
    PARTITIONS_BY_TWIN,
    ROWS_WRITTEN,
    ROWS_DELETED,
    AGGREGATES_PROVED,
    STAGE_SECONDS,
    WORKER_SECONDS,
    EVENTS_PER_SECOND,
    CHECKPOINT,
    LOG_POSITION,
    LAG,
    FOLLOW_LAG,
    FOLLOW_ROUND_SECONDS,
    FOLLOW_ROUNDS,
    FOLLOW_FAILURES,
    FOLLOW_LAST_ROUND,
    JOBS,
    JOBS_RUNNING,
    JOB_SECONDS,
    LAST_SUCCESS,
    LAST_FAILURE,
    SCHEDULE_RUNNING,
    SCHEDULE_NEXT_RUN,
    SCHEDULE_LAST_SUCCESS,
    SCHEDULE_FAILURES,
    SCHEDULE_RUNS,
    SCHEDULE_SECONDS,
    SCHEDULE_MISSED,
    DISK_FREE,
    DISK_SIZE,
)
