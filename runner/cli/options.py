"""What every command takes (--config, --env, --json, --debug), and the session that a command works in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runner.cli.exit_codes import described

if TYPE_CHECKING:
    from runner.config import Config

__all__ = ["Session", "session_command", "session_options"]

DEFAULT_CONFIG = Path("runner.toml")
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Session:
    """One command's surroundings."""

    config_path: Path
    as_json: bool
    debug: bool
    env: str = ""
    """Which [env.NAME] of the configuration is laid over it."""

    @functools.cached_property
    def config(self) -> Config:
        """runner.toml, read when first asked for."""
        from runner.config import load_config

        return load_config(self.config_path, self.env)


def session_command(name: str, *, exits: tuple[int, ...] = ()) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command whose function takes a ``Session`` first; ``exits``: codes beyond the common ones."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = click.command(name=name, epilog=described(*exits))(session_options(function))
        assert isinstance(made, click.Command)
        return made

    return decorate


def session_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --config, --env, --json and --debug and hands them to ``function`` as a Session."""

    @click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=DEFAULT_CONFIG,
        envvar="RUNNER_CONFIG",
        show_default=True,
        help="The configuration (also: RUNNER_CONFIG).",
    )
    @click.option(
        "--env", envvar="RUNNER_ENV", default="", metavar="NAME", help="Lay [env.NAME] over it (also: RUNNER_ENV)."
    )
    @click.option("--json", "as_json", is_flag=True, help="Result as JSON on stdout; everything else on stderr.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @functools.wraps(function)
    def wrapped(config_path: Path, env: str, as_json: bool, debug: bool, **arguments: Any) -> Any:
        return function(Session(config_path, as_json, debug, env), **arguments)

    return wrapped
