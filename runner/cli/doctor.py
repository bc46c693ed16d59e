"""``runner doctor``: every place that runner.toml names, looked at before a run depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.options import session_command
from runner.cli.output import emit_json, print_table, print_text

if TYPE_CHECKING:
    from runner.cli.options import Session

__all__ = ["command"]


@session_command("doctor", exits=(10,))
def command(session: Session) -> int:
    """Look at servers, roles, tables and disks; print the GRANTs that are lacking. Nothing is changed.

    \b
    Each finding is  ok
                     note      good to know
                     warning   a run goes on, with less than it could have
                     problem   a run would stop at it
    Ends with 0 where there is no problem, with 10 where a Postgres place has one, with 1 where only a directory has.
    """
    from runner.jobs.doctoring.doctor import diagnose

    found = diagnose(session.config)
    if session.as_json:
        emit_json(
            {
                "ok": not found.problems,
                "env": session.config.env,
                "findings": found.findings,
                "statements": found.statements,
                "servers": found.facts,
            }
        )
        return found.exit_code
    rows = [(f.place, f.check, f.level, f.said) for f in found.findings]
    print_table("", ("place", "check", "", "what was found"), rows)
    for place, statements in found.statements.items():
        print_text(f"-- {place}: to be run by a role that may")
        for statement in statements:
            print_text(statement)
        print_text()
    problems = len(found.problems)
    print_text(f"{problems} problem{'s' if problems > 1 else ''}" if problems else "no problems")
    return found.exit_code
