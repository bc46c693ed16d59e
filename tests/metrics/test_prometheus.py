"""Metrics as a scraper, a textfile collector and a pushgateway see them."""

from __future__ import annotations

import http.server
import math
import shutil
import threading
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from runner.errors import ConfigError, RunnerError
from runner.metrics import names
from runner.metrics.prometheus import Metrics
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
    StageStarted,
    WatermarkSeen,
)

if TYPE_CHECKING:
    from pathlib import Path

FACTS: list[Fact] = [
    JobStarted("j-1", "rebuild", ("accounts",)),
    StageStarted("fold", 100),
    EventsRead("bank", 60, bytes_done=10, bytes_total=20),
    EventsRead("bank", 40, batches=2, bytes_done=20, bytes_total=20),
    LineRejected("bank", "a.ndjson", 7, "broken"),
    WatermarkSeen("bank", "blue", "exact", 1, 1, 7.5, 0, 0, "4711", "importer"),
    WatermarkSeen("bank", "red", "exact", 5, 2, 12.5, 0, 0, "4712", "psql"),
    WatermarkSeen("bank", "red", "exact", None, 0, 0.0, 4, 1),
    PartitionFolded(0, 70, 2, {"accounts": 50, "daily": 70}, {"accounts": 5}, 0.5, 1.0, 0.25, by_twin=("daily",)),
    PartitionFolded(1, 30, 1, {"accounts": 30, "daily": 30}, {"accounts": 2}, 0.5, 1.0, 0.25),
    RowsWritten("accounts", 7, 1),
    Proved("accounts", 5, 44),
    StageFinished("fold", 2.0, 100),
    StageFinished("publish", 0.5),
    CheckpointMoved("accounts", 90, 100),
    RoundFailed("bank", "gone", 0.1),
    Followed(7, 0.25, 100, 0.125),
    Followed(0, 0.0, 100, 0.0),
    JobFinished("j-1", "rebuild", "succeeded", 4.5, ("accounts",)),
    JobStarted("j-2", "update"),
    JobFinished("j-2", "update", "failed", 1.5),
    EntryStands("nightly", False, 1_800_000_000.0, None, 0),
    EntryMissed("nightly", 3),
    EntryRan("nightly", "timed out", 12.5),
    EntryStands("nightly", True, 1_800_086_400.0, 1_799_999_000.0, 1),
]

EXPECTED = {
    ("runner_events_read_total", ("bank",)): 100,
    ("runner_batches_read_total", ("bank",)): 3,
    ("runner_source_read_bytes", ("bank",)): 20,
    ("runner_lines_rejected_total", ("bank",)): 1,
    ("runner_watermark_behind_events", ("bank", "blue")): 1,
    ("runner_watermark_holders", ("bank", "blue")): 1,
    ("runner_watermark_held_seconds", ("bank", "blue")): 7.5,
    ("runner_watermark_holder_seconds", ("importer", "4711", "bank", "blue")): 7.5,
    ("runner_open_gap_positions", ("bank", "blue")): 0,
    ("runner_late_events", ("bank", "blue")): 0,
    ("runner_watermark_behind_events", ("bank", "red")): 5,
    ("runner_watermark_holders", ("bank", "red")): 0,
    ("runner_watermark_held_seconds", ("bank", "red")): 0,
    ("runner_open_gap_positions", ("bank", "red")): 4,
    ("runner_late_events", ("bank", "red")): 1,
    ("runner_events_scanned_total", ()): 100,
    ("runner_batches_scanned_total", ()): 3,
    ("runner_partitions_folded_total", ()): 2,
    ("runner_events_folded_total", ("accounts",)): 80,
    ("runner_events_folded_total", ("daily",)): 100,
    ("runner_events_passed_over_total", ("accounts",)): 20,
    ("runner_events_passed_over_total", ("daily",)): 0,
    ("runner_partitions_by_twin_total", ("daily",)): 1,
    ("runner_rows_written_total", ("accounts",)): 7,
    ("runner_rows_deleted_total", ("accounts",)): 1,
    ("runner_aggregates_proved_total", ("accounts",)): 5,
    ("runner_stage_seconds_total", ("fold",)): 2,
    ("runner_stage_seconds_total", ("publish",)): 0.5,
    ("runner_worker_seconds_total", ("scan",)): 1,
    ("runner_worker_seconds_total", ("fold",)): 2,
    ("runner_worker_seconds_total", ("write",)): 0.5,
    ("runner_events_per_second", ("fold",)): 50,
    ("runner_checkpoint_position", ("accounts",)): 90,
    ("runner_log_position", ()): 100,
    ("runner_lag_events", ("accounts",)): 10,
    ("runner_follow_lag_seconds", ()): 0.25,
    ("runner_follow_round_seconds", ()): 0.125,
    ("runner_follow_rounds_total", ()): 1,
    ("runner_follow_failures_total", ("bank",)): 1,
    ("runner_follow_last_round_timestamp_seconds", ()): 1_800_000_000,
    ("runner_jobs_total", ("succeeded", "rebuild")): 1,
    ("runner_jobs_running", ("rebuild",)): 0,
    ("runner_job_seconds", ("rebuild",)): 4.5,
    ("runner_last_success_timestamp_seconds", ("rebuild",)): 1_800_000_000,
    ("runner_jobs_total", ("failed", "update")): 1,
    ("runner_jobs_running", ("update",)): 0,
    ("runner_job_seconds", ("update",)): 1.5,
    ("runner_last_failure_timestamp_seconds", ("update",)): 1_800_000_000,
    ("runner_schedule_running", ("nightly",)): 1,
    ("runner_schedule_next_run_timestamp_seconds", ("nightly",)): 1_800_086_400,
    ("runner_schedule_last_success_timestamp_seconds", ("nightly",)): 1_799_999_000,
    ("runner_schedule_failures", ("nightly",)): 1,
    ("runner_schedule_runs_total", ("nightly", "timed out")): 1,
    ("runner_schedule_run_seconds", ("nightly",)): 12.5,
    ("runner_schedule_missed_total", ("nightly",)): 3,
}


def listened(facts: list[Fact]) -> Metrics:
    metrics = Metrics(now=lambda: 1_800_000_000.0)
    for fact in facts:
        metrics(fact)
    return metrics


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_scrape_over_http_sees_every_fact() -> None:
    metrics = listened(FACTS)
    server = metrics.serve(0, "127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
            seen = samples(answer.read().decode())
        assert seen == EXPECTED
        metrics(CheckpointMoved("accounts", 100, 100))
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
            assert samples(answer.read().decode())["runner_lag_events", ("accounts",)] == 0
    finally:
        server.close()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=1)


def test_every_metric_is_fed_by_some_fact() -> None:
    disk = {names.DISK_FREE.name, names.DISK_SIZE.name}
    assert {name for name, _ in EXPECTED} == {metric.name for metric in names.METRICS} - disk


def test_disks_are_looked_at_when_metrics_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = shutil.disk_usage(tmp_path)
    seen: list[Path] = []

    def disk_usage(path: Path) -> object:
        seen.append(path)
        if len(seen) > 4:
            raise PermissionError(path)
        return room

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    metrics = Metrics(directories={"log": tmp_path / "to" / "be made", "state": tmp_path})
    text = generate_latest(metrics.registry).decode()
    assert samples(text)["runner_disk_free_bytes", ("log",)] == room.free
    assert samples(text)["runner_disk_size_bytes", ("state",)] == room.total
    assert set(seen) == {tmp_path}, "a directory that is not there yet is on the disk of the one above it"
    assert math.isnan(samples(generate_latest(metrics.registry).decode())["runner_disk_free_bytes", ("log",)])


def test_all_interfaces_by_default_and_a_taken_port_is_named() -> None:
    server = Metrics().serve(0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
            assert answer.status == 200
        with pytest.raises(ConfigError, match=f"port {server.port}"):
            Metrics().serve(server.port)
    finally:
        server.close()


def test_two_runs_in_one_process_do_not_mix() -> None:
    first, second = listened(FACTS), listened([])
    assert first.registry.get_sample_value("runner_log_position") == 100
    assert second.registry.get_sample_value("runner_log_position") == 0


def test_textfile_is_whole_and_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "runner.prom"
    listened(FACTS).write_textfile(path)
    assert samples(path.read_text()) == EXPECTED
    assert [entry.name for entry in tmp_path.iterdir()] == ["runner.prom"], "nothing half-written is left"


def test_a_failed_run_keeps_the_time_of_the_last_success(tmp_path: Path) -> None:
    path = tmp_path / "runner.prom"
    listened(FACTS).write_textfile(path)
    listened([JobStarted("j-2", "rebuild"), JobFinished("j-2", "rebuild", "failed", 1.0)]).write_textfile(path)
    seen = samples(path.read_text())
    assert seen["runner_last_success_timestamp_seconds", ("rebuild",)] == 1_800_000_000
    assert seen["runner_jobs_total", ("failed", "rebuild")] == 1


def test_a_textfile_that_is_something_else_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "runner.prom"
    path.write_text("this { is not = metrics\n")
    listened(FACTS).write_textfile(path)
    assert samples(path.read_text()) == EXPECTED


def test_a_textfile_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="missing"):
        Metrics().write_textfile(tmp_path / "missing" / "runner.prom")


class _Gateway(http.server.BaseHTTPRequestHandler):
    received: list[tuple[str, str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.received.append((self.command, self.path, body))
        self.send_response(500 if "refused" in self.path else 200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


def test_push_sends_all_to_a_gateway() -> None:
    _Gateway.received = []
    server = http.server.HTTPServer(("127.0.0.1", 0), _Gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        listened(FACTS).push(url, "nightly")
        ((command, path, body),) = _Gateway.received
        assert (command, path) == ("POST", "/metrics/job/nightly"), "added to what is there, not put in its place"
        assert samples(body) == EXPECTED
        with pytest.raises(RunnerError, match="cannot be pushed"):
            listened(FACTS).push(url, "refused")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    with pytest.raises(RunnerError, match="cannot be pushed"):
        listened(FACTS).push(url, "nightly", timeout=1)
