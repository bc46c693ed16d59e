"""``runner prove``: live rows against the plain twin."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import session_command
from runner.cli.output import emit_json, print_text
from runner.cli.rebuild import Amount
from runner.cli.running import MetricsOptions, chosen_names, engine_options, running

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.cli.running import EngineOptions

__all__ = ["command"]


@session_command("prove", exits=(3, 4, 6, 7, 8, 9))
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All projections that runner.toml names.")
@click.option("--amount", type=Amount(), default=1_000, show_default=True, metavar="N|all", help="Aggregates of each.")
@engine_options
def command(session: Session, names: tuple[str, ...], everything: bool, amount: Any, engine: EngineOptions) -> None:
    """Fold a sample of aggregates again in plain Python and compare with the live rows; nothing is changed."""
    from runner.jobs.proving.prove import prove

    chosen = chosen_names(names, everything)
    with running(session, MetricsOptions(None, None, ""), "prove") as (_, listener):
        report = prove(session.config, chosen, amount=amount, listener=listener, **engine.arguments)
    if session.as_json:
        emit_json(asdict(report))
        return
    for p in report.projections:
        print_text(f"{p.name} v{p.version}: {p.proof}")
