"""From timed runs to what the report says: points, stages, skew, bytes, the model and its estimates, figures."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from runner.jobs.benching.model import Timing, fitted, held_out_error
from runner.jobs.benching.report import (
    Bytes,
    Estimate,
    Figure,
    Machine,
    Point,
    Skew,
    Spread,
    StageShare,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.jobs.benching.measuring import Fold, Run
    from runner.jobs.benching.model import Model
    from runner.jobs.benching.report import Memory, SourceSample
    from runner.log.manifest import Manifest

__all__ = [
    "Modelled",
    "busy",
    "bytes_of",
    "estimates",
    "figures",
    "machine",
    "modelled",
    "partition_events",
    "point",
    "skew_of",
    "stage_shares",
    "start_of",
]

MEMORY_SLACK = 32 << 20
"""Allocators keep and give back so much as it pleases them."""
_ORDER = ("scan", "fold", "write", "merge")


def machine() -> Machine:
    """This one."""
    named = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = named[0].partition(":")[2].strip() if named else platform.processor() or platform.machine()
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=processor,
        memory=int(psutil.virtual_memory().total),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        runner=version("projection-runner"),
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


# Points and stages -------------------------------------------------------------------------------------------------


def point(fold: Fold, runs: Sequence[Run], scan_cost: float) -> Point:
    """One point of its runs. scan_cost: seconds an event of a scan that cuts no segment.

    A position inside a segment makes the scan copy what is before it, which the fold of a log that ends there would not
    do: it is taken out of the scan's seconds and, shared by the workers, of the whole.
    """
    cut = [0.0 if fold.size >= 1 else max(0.0, r.stages.get("scan", 0.0) - r.events * scan_cost) for r in runs]
    seconds = [max(r.seconds - c / fold.workers, r.seconds / 100) for r, c in zip(runs, cut, strict=True)]
    stages = {
        name: spread([r.stages.get(name, 0.0) - (c if name == "scan" else 0.0) for r, c in zip(runs, cut, strict=True)])
        for name in _ORDER
        if any(name in r.stages for r in runs)
    }
    return Point(
        size=fold.size,
        position=int(fold.position),
        events=runs[-1].events,
        rows=runs[-1].rows,
        workers=fold.workers,
        cache=fold.cache,
        seconds=spread(seconds),
        rate=spread([r.events / s for r, s in zip(runs, seconds, strict=True)]),
        stages=stages,
        cut_seconds=float(np.median(cut)),
    )


def stage_shares(largest: Point) -> tuple[StageShare, ...]:
    """The stages of a point, in their order."""
    total = sum(seconds.median for seconds in largest.stages.values()) or 1.0
    found = []
    for name, seconds in largest.stages.items():
        # A rate's quartiles are those of the seconds, the other way round.
        rate = _rate_of(largest.events, seconds)
        found.append(StageShare(name, largest.events, seconds, rate, seconds.median / total))
    return tuple(found)


def _rate_of(events: int, seconds: Spread) -> Spread:
    """Events a second: the quick runs are the high rates."""
    s = seconds

    def rate(spent: float) -> float:
        return events / spent if spent > 0 else 0.0

    return Spread(rate(s.median), rate(s.high), rate(s.low), rate(s.most), rate(s.least), s.runs)


# The log -----------------------------------------------------------------------------------------------------------


def partition_events(manifest: Manifest) -> tuple[list[int], int]:
    """(events of each partition, events of segments that are not partitioned)."""
    events, tail = [0] * manifest.partitions, 0
    for segment in manifest.segments:
        for chunk in segment.events_file.chunks:
            if segment.tail:
                tail += chunk.rows
            else:
                events[chunk.partition] += chunk.rows
    return events, tail


def busy(events: Sequence[float], workers: int) -> float:
    """So many workers can have something to do at most: a partition is folded by one."""
    return min(float(workers), sum(events) / max(events)) if any(events) else float(workers)


def skew_of(events: Sequence[int], tail: int, workers: int) -> Skew:
    """How evenly the log's events lie."""
    return Skew(tuple(events), tail, min(events), float(np.median(events)), max(events), workers, busy(events, workers))


def bytes_of(manifest: Manifest, digests: frozenset[str], octets: int, rows: int) -> Bytes:
    """digests: of the columns that the fold reads. octets, rows: of the files that it wrote."""
    events = max(1, sum(s.events for s in manifest.segments))
    header, raw, read, other = 0, 0, 0, 0
    for segment in manifest.segments:
        header += segment.events_file.size
        raw += segment.raw_file.size
        for digest, column in segment.columns.items():
            if digest in digests:
                read += column.file.size
            else:
                other += column.file.size
    return Bytes(header / events, read / events, raw / events, other / events, octets / rows if rows else 0.0)


# The model ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Modelled:
    """The model of the points, how far it misses the one held out, and the error that its estimates are given with."""

    model: Model | None
    held_out: float | None
    error: float


def modelled(points: Sequence[Point], events: Sequence[float]) -> Modelled:
    """events: of each of the partitions that were folded; workers without a partition are no workers."""
    timings = [
        Timing(
            p.events,
            p.rows,
            busy(events, p.workers),
            p.seconds.median,
            folding=sum(p.stages[name].median for name in ("scan", "fold") if name in p.stages),
            writing=sum(p.stages[name].median for name in ("write", "merge") if name in p.stages),
        )
        for p in points
        if p.cache == "warm"
    ]
    model, held_out = fitted(timings), held_out_error(timings)
    widths = [p.seconds.width / 2 for p in points if p.cache == "warm"]
    error = max([0.0 if model is None else model.error, abs(held_out or 0.0), *widths])
    return Modelled(model, held_out, error)


def start_of(model: Model, log: Sequence[float], sampled: Sequence[float]) -> float:
    """The start of a fold of all partitions: its seconds go into files, of which each partition has its own."""
    return model.start * len(log) / len(sampled)


def estimates(
    found: Modelled, largest: Point, times: Sequence[float], log: Sequence[float], sampled: Sequence[float]
) -> tuple[Estimate, ...]:
    """The whole log, and so many times as many events, by all workers and by as many times more.

    largest: the point that reaches furthest. log: events of each partition; sampled: of those that were folded, up to
    the log's end.
    """
    model = found.model
    if model is None:
        return ()
    whole = sum(log)
    rows = largest.rows * (whole / sum(sampled)) * (1 / largest.size) ** model.growth
    further = start_of(model, log, sampled) - model.start
    made = []
    for n in (1.0, *sorted(set(times) - {1.0})):
        counts = [largest.workers]
        if n > 1 and model.serial is not None:
            counts.append(round(largest.workers * n))
        for workers in counts:
            events = round(whole * n)
            seconds = further + model.seconds(events, model.rows(rows, n), busy(log, workers))
            measured = largest.seconds.median if n == 1 and largest.size >= 1 and sum(sampled) == whole else None
            made.append(
                Estimate(
                    n,
                    events,
                    round(model.rows(rows, n)),
                    workers,
                    seconds,
                    seconds / (1 + found.error),
                    seconds * (1 + found.error),
                    measured,
                )
            )
    return tuple(made)


# What is compared --------------------------------------------------------------------------------------------------


def figures(
    points: Sequence[Point],
    stages: Sequence[StageShare],
    sources: Sequence[SourceSample],
    octets: Bytes,
    memory: Memory | None,
) -> tuple[Figure, ...]:
    """The quantities that two reports are compared by; their names are part of the schema."""
    most = max((p.size for p in points), default=0.0)
    found = [
        Figure(f"rebuild, {p.workers} worker{'s' if p.workers > 1 else ''}, {p.cache}", "events/s", "higher", p.rate)
        for p in sorted(points, key=lambda p: (p.cache == "cold", -p.workers))
        if p.size == most
    ]
    # The scan of a warm cache is next to nothing, and as restless as that.
    found += [
        Figure(f"{s.stage} of a worker", "events/s", "higher", s.rate) for s in stages if s.stage in ("fold", "write")
    ]
    rates: Mapping[str, str] = {"sync": "sync", "columns": "columns"}
    found += [
        Figure(f"{what} of {source.source}", "events/s", "higher", rate)
        for source in sources
        for what in rates
        if (rate := getattr(source, what)) is not None
    ]
    if memory is not None:
        found.append(Figure("memory of a worker", "bytes", "lower", spread([float(memory.worker)]), MEMORY_SLACK))
    found.append(Figure("read for an event", "bytes", "lower", spread([octets.read])))
    return tuple(found)
