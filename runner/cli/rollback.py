"""``runner rollback``: back to the version before the live one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_text

if TYPE_CHECKING:
    from runner.cli.options import Session

__all__ = ["command"]


@session_command("rollback", exits=(8,))
@click.argument("name")
@click.option(
    "--version", "--to", "version", type=int, default=None, metavar="N", help="This one of the kept (`runner status`)."
)
def command(session: Session, name: str, version: int | None) -> None:
    """Make the previous version of the read model NAME live again, or version N, with checkpoint and saved states."""
    from runner.jobs.rollback import rollback

    report = rollback(session.config, name, to=version)
    if session.as_json:
        emit_json(report)
        return
    print_text(
        f"{report.projection}: version {report.version} is live (was {report.former_version}), "
        f"at position {count(report.checkpoint)}"
    )
