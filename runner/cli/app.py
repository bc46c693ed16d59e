"""The table of commands, and the one place where errors become a line and an exit code.

A command's module is imported when the command is asked for, so that ``runner --help`` answers at once.
"""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from runner.cli.exit_codes import INTERRUPTED, MEANINGS, described
from runner.cli.output import emit_json, report_error, say
from runner.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "application", "run"]


class Entry(NamedTuple):
    """Where a command is, and its line in ``runner --help``."""

    module: str
    summary: str


COMMANDS = {
    "init": Entry("runner.cli.init", "Look at event files or a store; write a runner.toml and a first projection."),
    "inspect": Entry("runner.cli.inspect", "What is in a source or in the log: types, fields, skew, times."),
    "sync": Entry("runner.cli.sync", "Copy new events from the sources into the log."),
    "rebuild": Entry("runner.cli.rebuild", "Fold from the first event into a new version, prove it, switch."),
    "update": Entry("runner.cli.update", "Fold only what is new into the live read models."),
    "prove": Entry("runner.cli.prove", "Fold live rows again in plain Python and compare."),
    "verify": Entry("runner.cli.verify", "Fold again and compare with all live rows, in files and in Postgres."),
    "compare": Entry("runner.cli.compare", "Compare with the table that the application itself wrote."),
    "status": Entry("runner.cli.status", "Sources, log, read models: marks, checkpoints, lag, fingerprints."),
    "jobs": Entry("runner.cli.jobs", "The ledger of runs: list them, show one."),
    "schedule": Entry("runner.cli.schedule", "Run the entries of [[schedule]] at their times; list, next, run-now."),
    "rollback": Entry("runner.cli.rollback", "Make the previous version of a read model live again."),
    "query": Entry("runner.cli.query", "SQL over read models and log."),
    "explain": Entry("runner.cli.explain", "The life of one row, event by event."),
    "doctor": Entry("runner.cli.doctor", "Look at servers, roles and disks; print the GRANTs that are lacking."),
    "bench": Entry("runner.cli.bench", "How fast this log is folded, what limits it, what more would take."),
    "compact": Entry("runner.cli.compact", "Join the log's small segments into large ones."),
    "audit": Entry("runner.cli.audit", "Check every byte of the log against its digests."),
    "demo": Entry("runner.cli.demo", "A ledger of 10 M events, three read models, figures at the end."),
}

GROUPS = ("jobs", "schedule")
"""Commands that have commands of their own."""


class _Commands(click.Group):
    """A group that imports a command's module only when that command is run or its own help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name].module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            # click would take it for Ctrl-D at a prompt; the runner asks nothing.
            said = str(error) or "a file ends too early"
            raise SourceError(said, hint="a compressed file may be cut off; --debug shows where it was read") from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}; there are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"runner {version('projection-runner')}")
        ctx.exit()


@click.group(
    name="runner",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=described(*MEANINGS),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def application() -> None:
    """Rebuild, keep current and prove the read models of event-sourced systems.

    \b
    First steps:
      runner demo                 see it run on a made-up ledger
      runner init events.ndjson   look at your own events, write runner.toml
      runner sync && runner rebuild --all
      runner query "SELECT * FROM summary LIMIT 5"
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code; every error ends here as one line on stderr."""
    debug = "--debug" in arguments
    as_json = "--json" in arguments
    try:
        result = application.main(args=_common_behind(arguments), prog_name="runner", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        return _interrupted(as_json)
    except click.Abort:
        return _interrupted(as_json)
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # An author's or a user's mistake needs no traceback; who wants one says so.
        if debug and not isinstance(error, click.ClickException):
            raise
        return report_error(error, as_json=as_json)


def _common_behind(arguments: Sequence[str]) -> list[str]:
    """--config, --env, --json, --debug from before the command, or between a group and its own, moved behind it."""
    common, rest = _split_common(arguments)
    command = rest[:1]
    if command and command[0] in GROUPS:
        more, behind = _split_common(rest[1:])
        common += more
        command += behind[:1] if behind[:1] and not behind[0].startswith("-") else []
        rest = [command[0], *behind]
    # At once behind the command: the same option given there once more comes later and counts.
    return [*command, *common, *rest[len(command) :]] if command and command[0] in COMMANDS else [*rest, *common]


def _split_common(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    common, rest = list[str](), list(arguments)
    while rest and rest[0].partition("=")[0] in ("--config", "--env", "--json", "--debug"):
        taken = 2 if rest[0] in ("--config", "--env") else 1
        common += rest[:taken]
        rest = rest[taken:]
    return common, rest


def _interrupted(as_json: bool) -> int:
    # What runs at exit may take a moment (Ray stops, threads end); another Ctrl-C ends it at once, and quietly. The
    # interpreter's own last steps put Python's handlers away, so for them it is ignored.
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    say("interrupted: nothing half-published; `runner status` shows what is live, `runner jobs` what can be resumed")
    if as_json:
        emit_json({"error": {"kind": "Interrupted", "message": "interrupted", "hint": "", "exit_code": INTERRUPTED}})
    return INTERRUPTED
