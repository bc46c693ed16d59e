"""``runner bench``: how fast your own log can be replayed by your own projections, and what limits it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.differences import check_page
from runner.cli.exit_codes import SLOWER
from runner.cli.options import session_command
from runner.cli.output import emit_json, print_text, rate, say
from runner.cli.running import MetricsOptions, engine_options, running
from runner.stats import Measured

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.cli.running import EngineOptions
    from runner.stats import Fact, Listener

__all__ = ["command"]


@session_command("bench", exits=(4, 6, 7, 9, SLOWER))
@click.argument("names", nargs=-1)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="About how long it may take; of a large log it then takes a sample. Small logs take less.",
)
@click.option("--runs", type=click.IntRange(1, 1000), default=5, show_default=True, help="Of each point.")
@click.option(
    "--times",
    type=click.FloatRange(min=1),
    multiple=True,
    default=(10.0,),
    show_default=True,
    metavar="N",
    help="Estimate N times as many events too, by as many workers and by N times more. May be given again.",
)
@click.option("--no-cold", is_flag=True, help="No runs with an empty page cache.")
@click.option("--no-sync", is_flag=True, help="Read no source.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write the report as a page too."
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="With an earlier report (its --json): the same is measured, and what is slower ends with 12.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(min=0),
    default=0.1,
    show_default=True,
    help="So much may a figure get worse in a comparison, 0.1 is a tenth; and no less than its runs differ by.",
)
@engine_options
def command(
    session: Session,
    names: tuple[str, ...],
    seconds: float,
    runs: int,
    times: tuple[float, ...],
    no_cold: bool,
    no_sync: bool,
    html: Path | None,
    compare: Path | None,
    threshold: float,
    engine: EngineOptions,
) -> int:
    """Measure how fast this log is folded by these projections; without NAMES all that runner.toml names.

    Stages, sizes, numbers of workers, a cold cache, memory, bytes, the skew of partitions; what limits it, and what
    more events or workers would take. Nothing is published, nothing goes into the log: rows are written beside the read
    models and removed, and of each source only the beginning is read.
    """
    from runner.jobs.benching.bench import Wanted, bench
    from runner.jobs.benching.comparing import read_earlier

    check_page(html)
    wanted = Wanted(
        seconds=seconds,
        runs=runs,
        times=times,
        cold=not no_cold,
        sync=not no_sync,
        earlier=None if compare is None else read_earlier(compare),
        threshold=threshold,
    )
    measured: dict[str, list[float]] = defaultdict(list)
    try:
        with running(session, MetricsOptions(None, None, ""), "bench") as (_, listener):
            report = bench(
                session.config, names or "all", wanted, listener=_kept(measured, listener), **engine.arguments
            )
    except KeyboardInterrupt:
        if not session.as_json:
            _show_so_far(measured)
        raise
    if html is not None:
        from runner.cli.bench_page import bench_page

        html.write_text(bench_page(report), encoding="utf-8")
    if session.as_json:
        emit_json(asdict(report))
    else:
        from runner.cli.bench_report import show_bench

        show_bench(report)
    if html is not None:
        say(f"written: {html}")
    return SLOWER if report.comparison is not None and report.comparison.worse else 0


def _kept(measured: dict[str, list[float]], listener: Listener) -> Listener:
    """Keeps events a second of each run, for a bench that is interrupted."""

    def told(fact: Fact) -> None:
        if isinstance(fact, Measured):
            measured[fact.what].append(fact.events / fact.seconds if fact.seconds else 0.0)
        listener(fact)

    return told


def _show_so_far(measured: dict[str, list[float]]) -> None:
    if not measured:
        say("nothing was measured yet")
        return
    print_text("measured so far, medians:")
    for what, rates in measured.items():
        print_text(f"  {what}: {rate(statistics.median(rates), 1.0)} ({len(rates)} run{'s' if len(rates) > 1 else ''})")
