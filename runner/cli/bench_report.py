"""A bench as a person reads it on a terminal: what limits it first, then stages, sizes, estimates, the comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.output import count, print_table, print_text, rate, seconds, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.jobs.benching.report import (
        BenchReport,
        Compared,
        Comparison,
        Memory,
        SourceSample,
        Spread,
    )

__all__ = [
    "compared_rows",
    "estimate_rows",
    "fact_lines",
    "model_lines",
    "point_rows",
    "show_bench",
    "source_rows",
    "stage_rows",
]

STAGE_COLUMNS = ("stage", "share", "workers' time", "events/s a worker", "middle half")
POINT_COLUMNS = ("events", "workers", "cache", "time", "events/s", "middle half", "runs")
SOURCE_COLUMNS = ("source", "events", "sync", "middle half", "columns")
ESTIMATE_COLUMNS = ("events", "workers", "time", "from", "to", "measured")
COMPARED_COLUMNS = ("figure", "then", "now", "change", "")


def show_bench(report: BenchReport) -> None:
    """All of it, on stdout."""
    for line in fact_lines(report):
        print_text(line)
    print_text()
    print_text(report.bottleneck)
    print_text()
    _table("stages of a fold", STAGE_COLUMNS, stage_rows(report), words=1)
    _table("folds, from the log to rows on the disk", POINT_COLUMNS, point_rows(report), words=0)
    if rows := source_rows(report.sources):
        _table("sync, on the beginning of each source", SOURCE_COLUMNS, rows, words=1)
    for source in report.sources:
        if source.skipped:
            print_text(f"sync of {source.source} is not measured: {source.skipped}")
    if report.estimates:
        _table("estimates", ESTIMATE_COLUMNS, estimate_rows(report), words=0)
    for line in model_lines(report):
        print_text(line)
    if report.comparison is not None:
        _show_comparison(report.comparison)
    for note in report.notes:
        print_text(f"note: {note}")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, words: int) -> None:
    """words: so many first columns stand to the left."""
    print_table(title, columns, rows, numeric=frozenset(columns[words:]))


def _show_comparison(comparison: Comparison) -> None:
    columns = COMPARED_COLUMNS
    title = (
        f"compared with {comparison.file} of {comparison.measured_at}, beyond {comparison.threshold:.0%} and the spread"
    )
    print_table(title, columns, compared_rows(comparison), numeric=frozenset(columns[1:4]))
    for note in comparison.notes:
        print_text(f"note: {note}")
    worse = comparison.worse
    print_text(f"{len(worse)} of {len(comparison.figures)} figures are worse" if worse else "no figure is worse")


# Lines and rows, which the page shows too ---------------------------------------------------------------------------


def fact_lines(report: BenchReport) -> list[str]:
    """What was measured, and where."""
    sample, machine, skew, octets = report.sample, report.machine, report.skew, report.octets
    what = f"{count(sample.events)} of the log's {count(sample.log_events)} events"
    if sample.whole:
        what = f"all {count(sample.log_events)} events of the log"
    partitions = f"{len(sample.partitions)} of {sample.of_partitions} partitions"
    lines = [
        f"measured: {what}, {partitions}; {', '.join(report.projections)} in one pass",
        f"engine: {report.engine}, {report.workers} workers ({report.why})",
        f"machine: {machine.processor}, {machine.cores} cores, {size(machine.memory)}",
        f"  {machine.system}, Python {machine.python}, runner {machine.runner}",
        f"bytes an event: {octets.read:.1f} are read, header {octets.header:.1f} and columns {octets.columns:.1f}",
        f"  {octets.raw:.1f} of raw payload (compressed) are not; a row has {octets.row:.1f}",
        f"partitions: {count(skew.least)} to {count(skew.most)} events, the largest {skew.factor:.2f} times the mean",
        f"  {skew.busy:.3g} of {skew.workers} workers can be busy",
    ]
    if report.memory is not None:
        lines.append(_memory_line(report.memory))
    if report.cold:
        lines.append(f"no cold run: {report.cold}")
    return lines


def _memory_line(memory: Memory) -> str:
    where = "one process" if memory.processes == 1 else f"{memory.processes} processes"
    return (
        f"memory, anonymous: {size(memory.worker)} a worker beyond the {size(memory.base)} that were there; "
        f"{size(memory.peak)} at most in {where}"
    )


def stage_rows(report: BenchReport) -> list[tuple[object, ...]]:
    """One for each stage of the largest size."""
    return [
        (s.stage, f"{s.share:.0%}", seconds(s.seconds.median), _rate(s.rate.median), _half(s.rate))
        for s in report.stages
    ]


def point_rows(report: BenchReport) -> list[tuple[object, ...]]:
    """One for each point."""
    return [
        (
            count(p.events),
            p.workers,
            p.cache,
            seconds(p.seconds.median),
            _rate(p.rate.median),
            _half(p.rate),
            p.rate.runs,
        )
        for p in report.points
    ]


def source_rows(sources: Sequence[SourceSample]) -> list[tuple[object, ...]]:
    """One for each source that was read."""
    return [
        (
            s.source,
            count(s.events),
            _rate(s.sync.median),
            _half(s.sync),
            "" if s.columns is None else _rate(s.columns.median),
        )
        for s in sources
        if s.sync is not None
    ]


def estimate_rows(report: BenchReport) -> list[tuple[object, ...]]:
    """One for each estimate."""
    return [
        (
            count(e.events),
            e.workers,
            seconds(e.seconds),
            seconds(e.low),
            seconds(e.high),
            "" if e.measured is None else seconds(e.measured),
        )
        for e in report.estimates
    ]


def model_lines(report: BenchReport) -> list[str]:
    """The model, what it was fitted to be, and how far it misses."""
    model = report.model
    if model is None:
        return ["no estimate: the log is too small to tell apart what a run and what an event costs"]
    serial = "not known (one number of workers)" if model.serial is None else f"{model.serial:.2f}"
    costs = f"event_cost {model.event_cost * 1e9:.1f} ns, row_cost {model.row_cost * 1e9:.0f} ns"
    lines = [
        f"model: {report.formula}",
        f"  start {seconds(model.start)}, {costs}, serial {serial}; rows grow as events^{model.growth:.2f}",
    ]
    if report.held_out is not None:
        missed = f"{abs(report.held_out):.0%} too {'long' if report.held_out > 0 else 'short'}"
        lines.append(
            f"  told from the smaller sizes, the largest one comes out {missed}; from and to: {report.error:.0%}"
        )
    return [*lines, "  a rebuild also proves a sample and switches, which is not in it; further workers need cores"]


def compared_rows(comparison: Comparison) -> list[tuple[object, ...]]:
    """One for each figure that both reports have."""
    return [
        (c.name, _figure(c, c.then), _figure(c, c.now), f"{c.change:+.1%}", "" if c.verdict == "same" else c.verdict)
        for c in comparison.figures
    ]


def _figure(compared: Compared, value: Spread) -> str:
    return _rate(value.median) if compared.unit == "events/s" else size(value.median)


def _rate(events: float) -> str:
    return rate(events, 1.0)


def _half(value: Spread) -> str:
    """The quartiles of a rate."""
    return f"{_rate(value.low)} - {_rate(value.high)}"
