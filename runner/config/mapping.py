"""Where in a source's records the parts of an event are: the mapping of ``[sources.NAME]``, and its paths.

A path is written with dots, ``repo.name``; a key that holds a dot or a quote stands in double quotes: ``data."a.b"``.
Of CSV, Parquet and Arrow a name that is a column's whole name is that column, dots or not. A field is written as

- a path: ``type = "kind"``
- a list of parts, joined by a separator (``/``): ``aggregate_id = ["repo.name", "issue.number"]``
- a table: ``{path = "a"}``, ``{paths = ["a", "b"]}`` (the first that is present), ``{constant = "x"}``, each with
  ``optional = true`` where a record may lack it; ``{parts = [...], separator = ":"}``; times also take ``format``
  ("iso", "epoch", "epoch_ms", "epoch_us", "epoch_ns" or a strptime format) and ``zone`` (for times written without
  one).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.values import Path

__all__ = ["FieldMapping", "Part", "PayloadMapping", "TimeMapping", "parse_path", "path_text"]


@dataclass(frozen=True)
class Part:
    """One part of a field: the first present of some paths, or a constant. optional: a record without it leaves it
    out.
    """

    paths: tuple[Path, ...] = ()
    constant: str | None = None
    optional: bool = False

    def __str__(self) -> str:
        return repr(self.constant) if self.constant is not None else " or ".join(map(path_text, self.paths))


@dataclass(frozen=True)
class FieldMapping:
    """A field made of parts, joined by ``separator``."""

    parts: tuple[Part, ...]
    separator: str = "/"

    def __str__(self) -> str:
        return f" {self.separator} ".join(map(str, self.parts))

    @property
    def constant(self) -> str | None:
        """The text that every record gets, where no part comes from the record."""
        texts = [part.constant for part in self.parts]
        return None if None in texts else self.separator.join(t for t in texts if t is not None)


@dataclass(frozen=True)
class TimeMapping:
    """A field that is a time. coerce: how it is written, as ``runner.payload.coercion`` has it."""

    field: FieldMapping
    coerce: str = ""


@dataclass(frozen=True)
class PayloadMapping:
    """What of a record is the payload: the value at a path (an object, or a string with JSON in it), some columns, or
    all.

    paths: alternatives; () for the whole record. columns: of a table, the columns to make an object of; () for all.
    optional: a record without it has the payload {}.
    """

    paths: tuple[Path, ...] = ()
    columns: tuple[str, ...] = ()
    optional: bool = False


def parse_path(text: str) -> Path:
    """The keys of a dotted path. Raises ValueError."""
    keys: list[str] = []
    i = 0
    while True:
        if text[i : i + 1] == '"':
            key, i = json.JSONDecoder().raw_decode(text, i)
        else:
            end = text.find(".", i)
            end = len(text) if end < 0 else end
            key, i = text[i:end], end
        if not key:
            raise ValueError(f"{text!r} has an empty key")
        keys.append(key)
        if i == len(text):
            return tuple(keys)
        if text[i] != ".":
            raise ValueError(f"{text!r} has something behind a quoted key that is no dot")
        i += 1


def path_text(path: Path) -> str:
    """A path as ``parse_path`` reads it."""
    return ".".join(json.dumps(k, ensure_ascii=False) if "." in k or '"' in k or not k else k for k in path)
