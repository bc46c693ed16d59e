"""The steps of [[schedule]] entries as command lines of ``runner``: looked at before anything runs, and done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runner.cli.exit_codes import MEANINGS
from runner.cli.output import described_error, report_error
from runner.errors import ConfigError
from runner.jobs.scheduling.carry_out import StepEnd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.cli.options import Session
    from runner.config import Config

__all__ = ["check_steps", "step_done"]

_NAMED = ("rebuild", "verify", "prove")
"""Commands that want names, or --all."""
_METRICS = ("sync", "update", "rebuild")
"""Commands that serve metrics at a port: here the scheduler does."""


def check_steps(config: Config) -> None:
    """Refuse entries whose steps are no command lines, and such as would take each other's read models to another time.

    Raises ConfigError.
    """
    written: dict[str, set[str]] = {}
    for entry in config.schedule:
        written[entry.name] = set()
        for words in entry.run:
            where = f"{config.file}: schedule.{entry.name}.run has {' '.join(words)!r}"
            try:
                context = _command(words[0]).make_context(words[0], list(words[1:]))
            except click.UsageError as error:
                raise ConfigError(
                    f"{where}: {error.format_message()}", hint=f"see `runner {words[0]} --help`"
                ) from None
            names, everything = context.params.get("names", ()), context.params.get("everything", False)
            if words[0] in _NAMED and bool(names) == bool(everything):
                raise ConfigError(f"{where}: give the names of projections, or --all")
            if words[0] in ("update", "rebuild"):
                written[entry.name].update(names or {"*"})
    for one in config.schedule:
        for other in config.schedule:
            if one.as_of and one is not other and (both := _both(written[one.name], written[other.name])):
                raise ConfigError(
                    f"{config.file}: schedule.{one.name} keeps {both} as of the {one.as_of}, and schedule.{other.name} "
                    "writes it too",
                    hint="give the projection a second class with another name for it",
                )


def _both(some: set[str], others: set[str]) -> str:
    """A read model that both write, "" where there is none; "*" is all."""
    if "*" in some and others:
        return next(iter(sorted(others))).replace("*", "each read model")
    if "*" in others and some:
        return next(iter(sorted(some)))
    return next(iter(sorted(some & others)), "")


def step_done(session: Session, line: Sequence[str]) -> StepEnd:
    """Do one command line in this process. KeyboardInterrupt goes on."""
    name, *rest = line
    common = ["--config", str(session.config_path), *(["--env", session.env] if session.env else [])]
    common += ["--metrics-port", "none"] if name in _METRICS else []
    try:
        code = _command(name).main([*common, *rest], prog_name=f"runner {name}", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if session.debug:
            raise
        code = report_error(error, as_json=False)
        return StepEnd(code, f"{name}: {described_error(error)}", type(error).__name__)
    if isinstance(code, int) and code:
        return StepEnd(code, f"{name}: {MEANINGS.get(code, 'it failed')}")
    return StepEnd()


def _command(name: str) -> click.Command:
    from runner.cli.app import application

    found = application.get_command(click.Context(application), name)
    assert found is not None  # the configuration knows these names alone
    return found
