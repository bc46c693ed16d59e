"""What is written where: results on stdout (tables, or one JSON object with ``--json``), all else on stderr."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import click

from runner.errors import RunnerError
from runner.secrets import cleared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

__all__ = [
    "count",
    "described_error",
    "emit_json",
    "numeric_columns",
    "plain_value",
    "print_table",
    "print_text",
    "rate",
    "report_error",
    "say",
    "seconds",
    "size",
    "stdout_console",
]

LONGEST = 300
"""Characters of an unforeseen error's message."""

PRINTED_WIDTH = 160
"""Columns of a table that goes to a file or pipe, where no terminal says how wide it is."""

MAY_BREAK = 8
"""Columns of the console that a column of long words keeps where there is no room for all."""


def say(text: str) -> None:
    """A line for the person: stderr."""
    click.echo(text, err=True)


def print_text(text: str = "") -> None:
    """A line of the result: stdout."""
    click.echo(text)


def emit_json(result: object) -> None:
    """The result for a machine: one JSON object on stdout. Floats that JSON has no number for are "NaN", "Infinity"."""
    try:
        text = json.dumps(result, default=plain_value, ensure_ascii=False, indent=2, allow_nan=False)
    except ValueError:
        named = json.loads(json.dumps(result, default=plain_value), parse_constant=str)
        text = json.dumps(named, ensure_ascii=False, indent=2)
    click.echo(text)


def plain_value(value: object) -> object:
    """How JSON writes what it has no type for: times as ISO 8601, Decimals and UUIDs as text, spans as seconds."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, (Decimal, UUID, Path)):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    return str(value)


def stdout_console() -> Console:
    """A console on stdout that does not cut tables to 80 columns where nothing is known of the width."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else PRINTED_WIDTH, highlight=False)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, numeric: frozenset[str] = frozenset()
) -> None:
    """A table on stdout; columns named in ``numeric`` stand to the right. Nothing in it is read as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = stdout_console()
    cells = [[_cell(value) for value in row] for row in rows]
    widths = _widths(columns, cells, console.width)
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, width in zip(columns, widths, strict=True):
        right = name in numeric
        justify: Literal["left", "right"] = "right" if right else "left"
        table.add_column(Text(name), justify=justify, no_wrap=right, overflow="fold", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """The width of each column. Where not all fit, none is narrower than its longest word, so that an id or a time can
    be copied, and the rest goes to those that lack least; where that is too much too, the longest words break."""
    from rich.cells import cell_len

    texts = [[name, *(row[n] for row in cells)] for n, name in enumerate(columns)]
    wanted = [max(cell_len(line) for text in column for line in text.split("\n")) for column in texts]
    found = [max((cell_len(word) for text in column for word in text.split()), default=1) for column in texts]
    room = width - 3 * len(columns)  # two between columns, one at each end and for the rule
    for n in sorted(range(len(columns)), key=lambda n: -found[n]):
        if sum(found) > room:
            found[n] = min(found[n], max(MAY_BREAK, room - (sum(found) - found[n])))
    left = max(0, room - sum(found))
    for n in sorted(range(len(columns)), key=lambda n: wanted[n] - found[n]):
        more = min(left, max(0, wanted[n] - found[n]))
        found[n] += more
        left -= more
    return found


def numeric_columns(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> frozenset[str]:
    """Columns whose first value is a number: they stand to the right."""
    first = rows[0] if rows else ()
    return frozenset(
        name for name, value in zip(columns, first, strict=False) if isinstance(value, (int, float, Decimal))
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds" if value.microsecond else "seconds").replace(
            "+00:00", "Z"
        )
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)


def count(number: int) -> str:
    """12,345"""
    return f"{number:,}"


def rate(events: float, elapsed: float) -> str:
    """Events a second, as a person reads them: 1.2 M/s."""
    if elapsed <= 0:
        return "-"
    each = events / elapsed
    for unit, name in ((1e9, " G/s"), (1e6, " M/s"), (1e3, " k/s")):
        if each >= unit:
            return f"{each / unit:.1f}{name}"
    return f"{each:.0f} /s"


def seconds(elapsed: float) -> str:
    """0.03 s, 12.4 s, 3 min 5 s."""
    if elapsed < 10:
        return f"{elapsed:.2f} s"
    if elapsed < 100:
        return f"{elapsed:.1f} s"
    minutes, rest = divmod(round(elapsed), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(octets: float) -> str:
    """Bytes in powers of 1,000: 1.5 GB."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if octets >= unit:
            return f"{octets / unit:.1f} {name}"
    return f"{octets:.0f} B"


def described_error(error: Exception) -> str:
    """The error's line, without what it may not repeat."""
    return cleared(_described(error)[0])


def report_error(error: Exception, *, as_json: bool) -> int:
    """One clear line on stderr, the same as JSON on stdout if asked; gives the exit code."""
    message, hint, code = _described(error)
    message, hint = cleared(message), cleared(hint)
    say(f"error: {message}" + (f"\n  {hint}" if hint else ""))
    if as_json:
        data = {"kind": type(error).__name__, "message": message, "hint": hint, "exit_code": code, **_details(error)}
        emit_json({"error": data})
    return code


def _described(error: Exception) -> tuple[str, str, int]:
    if isinstance(error, RunnerError):
        text = str(error)
        hint = error.hint
        return (text.removesuffix(f" ({hint})") if hint else text), hint, error.exit_code
    if isinstance(error, click.UsageError):
        where = f"see `{error.ctx.command_path} --help`" if error.ctx else "see `runner --help`"
        return error.format_message(), where, 2
    if isinstance(error, click.ClickException):
        return error.format_message(), "", 1
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{name}", _OS_HINTS.get(error.errno or 0, ""), 1
    if isinstance(error, MemoryError):
        return "out of memory", "fewer workers need less: --workers 1", 1
    first = (str(error).strip().splitlines() or ["no message"])[0]
    text = first if len(first) <= LONGEST else f"{first[:LONGEST]} ..."
    return f"{type(error).__name__}: {text}", "this should not happen: --debug shows where it came from", 1


_OS_HINTS = {
    13: "check the owner and the mode of that path",
    28: "free some space and run the same command again; nothing was half-published",
    30: "the file system is read-only; point runner.toml at a directory that can be written",
    122: "the disk quota is used up; free some space and run the same command again",
}


def _details(error: Exception) -> Mapping[str, object]:
    """What an error carries besides its words: file, line, failures and the like."""
    if not isinstance(error, RunnerError):
        return {}
    hidden = {"message", "hint"}
    shown = {name: value for name, value in vars(error).items() if name not in hidden and not name.startswith("_")}
    return {name: cleared(value) if isinstance(value, str) else value for name, value in shown.items()}
