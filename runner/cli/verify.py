"""``runner verify``: live rows beside another fold of the whole log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runner.cli.differences import check_page, report_options, shown
from runner.cli.options import session_command
from runner.cli.running import MetricsOptions, chosen_names, engine_options, running

if TYPE_CHECKING:
    from pathlib import Path

    from runner.cli.options import Session
    from runner.cli.running import EngineOptions

__all__ = ["command"]


@session_command("verify", exits=(3, 4, 6, 7, 8, 9, 10))
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All projections that runner.toml names.")
@click.option(
    "--in",
    "where",
    type=click.Choice(["files", "postgres", "all"]),
    default="all",
    show_default=True,
    help="Which rows.",
)
@report_options
@engine_options
def command(
    session: Session,
    names: tuple[str, ...],
    everything: bool,
    where: Any,
    html: Path | None,
    samples: int,
    engine: EngineOptions,
) -> int:
    """Fold again, from the first event to each read model's checkpoint, and compare with all rows that users see.

    Those in files and those of the tables in Postgres; nothing is changed. `runner prove` folds a sample in plain
    Python instead, `runner compare` looks at tables that the application wrote.
    """
    from runner.jobs.proving.verify import verify

    chosen = chosen_names(names, everything)
    check_page(html)
    with running(session, MetricsOptions(None, None, ""), "verify") as (_, listener):
        report = verify(session.config, chosen, where=where, samples=samples, listener=listener, **engine.arguments)
    return shown(report, html, as_json=session.as_json)
