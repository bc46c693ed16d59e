"""``runner compare``: read models beside the tables that the application wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runner.cli.differences import check_page, report_options, shown
from runner.cli.options import session_command
from runner.cli.running import MetricsOptions, engine_options, running

if TYPE_CHECKING:
    from pathlib import Path

    from runner.cli.options import Session
    from runner.cli.running import EngineOptions

__all__ = ["command"]


@session_command("compare", exits=(3, 4, 5, 6, 7, 8, 9, 10))
@click.argument("names", nargs=-1)
@click.option(
    "--wait", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds for the store to be settled."
)
@report_options
@engine_options
def command(
    session: Session, names: tuple[str, ...], wait: float, html: Path | None, samples: int, engine: EngineOptions
) -> int:
    """Compare read models with the application's own tables; without NAMES all that have a [compare.NAME].

    The table and its progress are read in one snapshot, the log is synced and folded to exactly that place, nothing is
    published. Differences are grouped by column and pattern, with sample keys and `runner explain` commands. The
    application's database is only read: SELECT on the table and on its progress is enough.
    """
    from runner.jobs.comparing.compare import compare

    check_page(html)
    with running(session, MetricsOptions(None, None, ""), "compare") as (_, listener):
        report = compare(
            session.config, names or "all", samples=samples, wait=wait, listener=listener, **engine.arguments
        )
    return shown(report, html, as_json=session.as_json)
