"""``runner rollback``: back to the version before the live one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_text
from runner.cli.running import writer_options

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.cli.running import WriterOptions

__all__ = ["command"]


@session_command("rollback", exits=(8, 10))
@click.argument("name")
@click.option(
    "--version", "--to", "version", type=int, default=None, metavar="N", help="This one of the kept (`runner status`)."
)
@writer_options
def command(session: Session, name: str, version: int | None, writers: WriterOptions) -> None:
    """Make the previous version of the read model NAME live again, or version N, with checkpoint and saved states."""
    from runner.jobs.publishing.rollback import rollback

    report = rollback(session.config, name, to=version, writers=writers.wish)
    if session.as_json:
        emit_json(report)
        return
    print_text(
        f"{report.projection}: version {report.version} is live (was {report.former_version}), "
        f"at position {count(report.checkpoint)}" + (f", in {report.table} too" if report.table else "")
    )
    for note in report.notes:
        print_text(f"note: {note}")
