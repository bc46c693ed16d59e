"""Metrics for Prometheus, from the facts that a run emits. The only file that imports prometheus_client.

::

    metrics = Metrics()
    rebuild(config, "all", listener=metrics)        # a Metrics is a Listener
    metrics.serve(9464)                             # scraped while the run lasts
    metrics.write_textfile(path)                    # node_exporter's textfile collector, after a batch job
    metrics.push("http://pushgateway:9091", "runner")
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    pushadd_to_gateway,
    start_http_server,
    write_to_textfile,
)
from prometheus_client.parser import text_string_to_metric_families

from runner.errors import ConfigError, RunnerError
from runner.files import disk_of
from runner.metrics import names
from runner.stats import (
    CheckpointMoved,
    EntryMissed,
    EntryRan,
    EntryStands,
    EventsRead,
    Fact,
    Followed,
    JobFinished,
    JobStarted,
    LineRejected,
    PartitionFolded,
    Proved,
    RoundFailed,
    RowsWritten,
    StageFinished,
    WatermarkSeen,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from wsgiref.simple_server import WSGIServer

__all__ = ["Metrics", "MetricsServer"]

ENDED = {"succeeded": names.LAST_SUCCESS, "failed": names.LAST_FAILURE}
"""Outcomes of jobs whose last time is kept."""


@dataclass(frozen=True)
class MetricsServer:
    """A running endpoint; ``port`` is the one it has, also where 0 was asked for."""

    port: int
    _server: WSGIServer
    _thread: threading.Thread

    def close(self) -> None:
        """End it; a scrape under way is answered first."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Metrics:
    """A listener that counts. It has a registry of its own, so that several may live in one process.

    directories: by name, those whose disks are looked at whenever the metrics are read.
    """

    def __init__(self, *, directories: Mapping[str, Path] | None = None, now: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self._now = now
        self._metrics: dict[names.Metric, Any] = {
            metric: (Counter if metric.kind == "counter" else Gauge)(
                metric.name, metric.help, metric.labels, registry=self.registry
            )
            for metric in names.METRICS
        }

        for name, path in (directories or {}).items():
            self._of(names.DISK_FREE, name).set_function(partial(_disk, path, "free"))
            self._of(names.DISK_SIZE, name).set_function(partial(_disk, path, "size"))
        self._holders: dict[tuple[str, str], tuple[str, str]] = {}

    def _of(self, metric: names.Metric, *labels: str) -> Any:
        return self._metrics[metric].labels(*labels) if metric.labels else self._metrics[metric]

    def __call__(self, fact: Fact) -> None:
        """Count one fact; facts that no metric is about change nothing."""
        match fact:
            case EventsRead():
                self._of(names.EVENTS_READ, fact.source).inc(fact.events)
                self._of(names.BATCHES_READ, fact.source).inc(fact.batches)
                self._of(names.SOURCE_BYTES_READ, fact.source).set(fact.bytes_done)
            case LineRejected():
                self._of(names.LINES_REJECTED, fact.source).inc()
            case WatermarkSeen():
                self._watermark(fact)
            case PartitionFolded():
                self._partition(fact)
            case RowsWritten():
                self._of(names.ROWS_WRITTEN, fact.projection).inc(fact.rows)
                self._of(names.ROWS_DELETED, fact.projection).inc(fact.deleted)
            case Proved():
                self._of(names.AGGREGATES_PROVED, fact.projection).inc(fact.aggregates)
            case CheckpointMoved():
                self._of(names.CHECKPOINT, fact.projection).set(fact.position)
                self._of(names.LOG_POSITION).set(fact.log_position)
                self._of(names.LAG, fact.projection).set(max(0, fact.log_position - fact.position))
            case Followed():
                self._followed(fact)
            case RoundFailed():
                self._of(names.FOLLOW_FAILURES, fact.place).inc()
            case StageFinished():
                self._of(names.STAGE_SECONDS, fact.stage).inc(fact.seconds)
                if fact.events and fact.seconds > 0:
                    self._of(names.EVENTS_PER_SECOND, fact.stage).set(fact.events / fact.seconds)
            case JobStarted():
                self._of(names.JOBS_RUNNING, fact.what).inc()
            case JobFinished():
                self._job(fact)
            case EntryStands():
                self._entry(fact)
            case EntryRan():
                self._of(names.SCHEDULE_RUNS, fact.entry, fact.outcome).inc()
                self._of(names.SCHEDULE_SECONDS, fact.entry).set(fact.seconds)
            case EntryMissed():
                self._of(names.SCHEDULE_MISSED, fact.entry).inc(fact.occurrences)

    def _watermark(self, fact: WatermarkSeen) -> None:
        store = (fact.source, fact.tenant)
        if fact.behind is not None:
            self._of(names.WATERMARK_BEHIND, *store).set(fact.behind)
        self._of(names.WATERMARK_HOLDERS, *store).set(fact.holders)
        self._of(names.WATERMARK_HELD, *store).set(fact.held_seconds)
        holder = self._metrics[names.WATERMARK_HOLDER]
        if (former := self._holders.pop(store, None)) is not None:
            holder.remove(*store, *former)
        if fact.holders:
            self._holders[store] = (fact.pid, fact.application)
            holder.labels(*store, fact.pid, fact.application).set(fact.held_seconds)
        self._of(names.OPEN_GAPS, *store).set(fact.open_gaps)
        self._of(names.LATE_EVENTS, *store).set(fact.late_events)

    def _partition(self, fact: PartitionFolded) -> None:
        self._of(names.EVENTS_SCANNED).inc(fact.events)
        self._of(names.BATCHES_SCANNED).inc(fact.batches)
        self._of(names.PARTITIONS_FOLDED).inc()
        for projection, folded in fact.folded.items():
            self._of(names.EVENTS_FOLDED, projection).inc(folded)
            self._of(names.EVENTS_PASSED_OVER, projection).inc(max(0, fact.events - folded))
        for projection in fact.by_twin:
            self._of(names.PARTITIONS_BY_TWIN, projection).inc()
        for stage, seconds in (("scan", fact.scan_seconds), ("fold", fact.fold_seconds), ("write", fact.write_seconds)):
            self._of(names.WORKER_SECONDS, stage).inc(seconds)

    def _followed(self, fact: Followed) -> None:
        self._of(names.FOLLOW_LAST_ROUND).set(self._now())
        if fact.events:
            self._of(names.FOLLOW_LAG).set(fact.lag)
            self._of(names.FOLLOW_ROUND_SECONDS).set(fact.seconds)
            self._of(names.FOLLOW_ROUNDS).inc()

    def _job(self, fact: JobFinished) -> None:
        self._of(names.JOBS_RUNNING, fact.what).dec()
        self._of(names.JOBS, fact.what, fact.outcome).inc()
        self._of(names.JOB_SECONDS, fact.what).set(fact.seconds)
        if fact.outcome in ENDED:
            self._of(ENDED[fact.outcome], fact.what).set(self._now())

    def _entry(self, fact: EntryStands) -> None:
        self._of(names.SCHEDULE_RUNNING, fact.entry).set(fact.running)
        self._of(names.SCHEDULE_NEXT_RUN, fact.entry).set(fact.next_run)
        self._of(names.SCHEDULE_FAILURES, fact.entry).set(fact.failures)
        self._of(names.SCHEDULE_MISSED, fact.entry).inc(0)  # a counter that is there before it counts can be rated
        if fact.last_success is not None:
            self._of(names.SCHEDULE_LAST_SUCCESS, fact.entry).set(fact.last_success)

    def serve(self, port: int, address: str = "") -> MetricsServer:
        """Answer scrapes of ``/metrics`` at this port, on all interfaces unless an address is given; 0: a free port.

        Raises ConfigError where the port cannot be had.
        """
        try:
            server, thread = start_http_server(port, address or "::", registry=self.registry)
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served at port {port}: {error.strerror or error}",
                hint="give another --metrics-port",
            ) from error
        return MetricsServer(server.server_port, server, thread)

    def write_textfile(self, path: Path | str) -> None:
        """Replace the file at once, for a collector of text files. Other jobs' last successes and failures stay in it.

        Raises RunnerError where it cannot be written.
        """
        path = Path(path)
        try:
            self._keep_last(path)
            write_to_textfile(str(path), self.registry)
        except OSError as error:
            raise RunnerError(
                f"metrics cannot be written to {path}: {error.strerror or error}", hint="see --metrics-file"
            ) from error

    def _keep_last(self, path: Path) -> None:
        try:
            families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return  # none yet, or not a metrics file: it is replaced
        for metric in ENDED.values():
            known = {
                tuple(sample.labels.values()) for family in self._metrics[metric].collect() for sample in family.samples
            }
            for sample in (one for family in families if family.name == metric.name for one in family.samples):
                if (what := sample.labels.get("what")) is not None and (what,) not in known:
                    self._of(metric, what).set(sample.value)

    def push(self, url: str, job: str, *, timeout: float = 10.0) -> None:
        """Send all to a pushgateway under this job name. Adds to what is there: a failed run leaves the last success.

        Raises RunnerError where the gateway does not take it.
        """
        try:
            pushadd_to_gateway(url, job, self.registry, timeout=timeout)
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise RunnerError(f"metrics cannot be pushed to {url}: {reason}", hint="see --pushgateway") from error


def _disk(path: Path, what: Literal["free", "size"]) -> float:
    """NaN where it cannot be known: a scrape never fails for a disk."""
    try:
        return float(getattr(disk_of(path), what))
    except OSError:
        return math.nan
