"""A bench as a page of HTML with charts: sizes, workers, stages, partitions, estimates and the comparison."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from runner.cli import bench_report as text
from runner.cli.charts import STYLE, Series, bars, stacked, xy
from runner.cli.html import page_of
from runner.cli.output import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.jobs.benching.report import BenchReport, Point

__all__ = ["bench_page"]

_STYLE = ".limit { font-size: 1.15rem } .worse { color: #b42318; font-weight: 600 } .better { color: #1a7f37 }"
LINE_POINTS = 40


def bench_page(report: BenchReport) -> str:
    """The document, without anything from elsewhere. Every text is escaped."""
    facts = "".join(f"<li>{escape(line)}" for line in text.fact_lines(report))
    parts = [
        f"<p class=limit>{escape(report.bottleneck)}</p><ul class=facts>{facts}</ul>",
        _section("Stages", _stages(report), _table(text.STAGE_COLUMNS, text.stage_rows(report), 1)),
        _section(
            "Sizes and workers",
            _sizes(report),
            _workers(report),
            _table(text.POINT_COLUMNS, text.point_rows(report), 0),
        ),
        _section("Partitions", _partitions(report)),
    ]
    if report.sources:
        skipped = [f"{s.source} is not measured: {s.skipped}" for s in report.sources if s.skipped]
        rows = text.source_rows(report.sources)
        table = _table(text.SOURCE_COLUMNS, rows, 1) if rows else ""
        parts.append(_section("Sync, on the beginning of each source", table, *map(_paragraph, skipped)))
    table = _table(text.ESTIMATE_COLUMNS, text.estimate_rows(report), 0) if report.estimates else ""
    parts.append(_section("Estimates", table, *map(_paragraph, text.model_lines(report))))
    if report.comparison is not None:
        parts.append(_comparison(report))
    if report.notes:
        parts.append(_section("Notes", "<ul>", *(f"<li>{escape(note)}" for note in report.notes), "</ul>"))
    facts = f"job {report.job_id}, {report.measured_at.replace('T', ' ').replace('+00:00', 'Z')}"
    return page_of("runner bench", facts, "".join(parts), style=STYLE + _STYLE)


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _paragraph(line: str) -> str:
    return f"<p class=facts>{escape(line)}</p>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]], words: int) -> str:
    """words: so many first columns stand to the left."""
    kinds = ["" if n < words else " class=number" for n in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(name)}" for kind, name in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(str(cell))}" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _comparison(report: BenchReport) -> str:
    comparison = report.comparison
    assert comparison is not None
    rows = "".join(
        f"<tr><td>{escape(str(name))}<td class=number>{escape(str(then))}<td class=number>{escape(str(now))}"
        f"<td class=number>{escape(str(change))}<td class={verdict or 'same-figure'}>{verdict or 'same'}</tr>"
        for name, then, now, change, verdict in text.compared_rows(comparison)
    )
    head = "<thead><tr><th>figure<th class=number>then<th class=number>now<th class=number>change<th></tr></thead>"
    said = (
        f"With {comparison.file} of {comparison.measured_at}. Worse or better is what moved by more than "
        f"{comparison.threshold:.0%} and further than the middle halves of its runs reach."
    )
    notes = "".join(_paragraph(f"Note: {note}") for note in comparison.notes)
    return _section("Compared", _paragraph(said), f"<table>{head}<tbody>{rows}</tbody></table>", notes)


# Charts -----------------------------------------------------------------------------------------------------------


def _stages(report: BenchReport) -> str:
    """What the workers' time goes into, at the largest size."""
    shown = [p for p in (report.at("warm"), report.at("cold"), report.at("warm", 1)) if p is not None]
    rows = [(_name(p), [(name, s.median) for name, s in p.stages.items()]) for p in _once(shown)]
    return stacked("Seconds of all workers, at the largest size", "seconds", rows)


def _once(points: Sequence[Point]) -> list[Point]:
    return [p for n, p in enumerate(points) if p not in points[:n]]


def _name(point: Point) -> str:
    return f"{point.workers} worker{'s' if point.workers > 1 else ''}, {point.cache}"


def _sizes(report: BenchReport) -> str:
    """Time over events, as measured and as the model has it."""
    points = [p for p in report.points if p.workers == report.workers and p.cache == "warm"]
    measured = Series(
        "measured, with the middle half of the runs",
        tuple((p.events / 1e6, p.seconds.median) for p in points),
        "dots",
        tuple((p.seconds.low, p.seconds.high) for p in points),
    )
    series = [measured]
    cold = report.at("cold")
    if cold is not None:
        series.append(
            Series(
                "cold cache",
                ((cold.events / 1e6, cold.seconds.median),),
                "dots",
                ((cold.seconds.low, cold.seconds.high),),
            )
        )
    model = report.model
    if model is not None:
        largest = points[-1]
        steps = [largest.events * n / LINE_POINTS for n in range(LINE_POINTS + 1)]
        rows = [model.rows(largest.rows, n / largest.events) if n else 0.0 for n in steps]
        workers = min(float(report.workers), report.skew.busy)
        line = tuple((n / 1e6, model.seconds(n, m, workers)) for n, m in zip(steps, rows, strict=True))
        series.append(Series("model", line, "dashed"))
    title = f"Time of a fold with {report.workers} workers, by events"
    return xy(title, "events, millions", "seconds", series)


def _workers(report: BenchReport) -> str:
    """Events a second over workers."""
    most = max(p.size for p in report.points)
    points = sorted((p for p in report.points if p.size == most and p.cache == "warm"), key=lambda p: p.workers)
    if len(points) < 2:
        return ""
    measured = Series(
        "measured, with the middle half of the runs",
        tuple((p.workers, p.rate.median / 1e6) for p in points),
        "dots",
        tuple((p.rate.low / 1e6, p.rate.high / 1e6) for p in points),
    )
    first = points[0]
    each = first.rate.median / first.workers / 1e6
    even = Series("each worker like the first", ((0.0, 0.0), (points[-1].workers, each * points[-1].workers)), "dashed")
    return xy(
        "Events a second, by workers",
        "workers",
        "events/s, millions",
        [measured, even],
        ticks=[float(p.workers) for p in points],
    )


def _partitions(report: BenchReport) -> str:
    """Events of all partitions, the largest first."""
    events = sorted(report.skew.events, reverse=True)
    mean = sum(events) / len(events)
    chart = bars(
        f"Events of each of {len(events)} partitions, the largest first",
        "partitions",
        "events, thousands",
        [n / 1e3 for n in events],
        mark=(f"mean {count(round(mean))}", mean / 1e3),
    )
    tail = f"{count(report.skew.tail)} events are not partitioned yet." if report.skew.tail else ""
    return chart + (_paragraph(tail) if tail else "")
