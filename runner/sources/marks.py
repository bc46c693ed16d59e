"""How far a source's files are read, and whether what was read is still there.

A mark is a JSON value: for every file, in the order in which the files were first seen (that index is the first source
position of its events), its path, how much of it is read, a digest of that, and what the file system says of it.

A file whose size, times and inode are as they were is not looked at. Of any other, what was read is compared first:

- ``verify = "full"`` (the default): the XXH3-128 digest of all that was read, of its text where it is compressed, so
that a
  compressed file may be replaced by a longer one. The file is read from its beginning, without parsing.
- ``verify = "ends"``: only of the first and last 64 KiB of what was read, for large files that grow all the time. An
edit
  between them that keeps the length goes unseen. Compressed and transcoded text is always compared in full.
"""

from __future__ import annotations

import glob
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from runner.errors import SourceChanged, SourceError

if TYPE_CHECKING:
    from runner.config.model import SourceConfig

__all__ = [
    "FileMark",
    "SourceMark",
    "Stat",
    "described",
    "ends_digest",
    "head_digest",
    "listed_files",
    "matching_files",
    "read_mark",
]

END = 64 << 10
HEAD = 4 << 10
"""So much of a file's beginning is compared with files that come later."""
FORMAT = 1

Stat = tuple[int, int, int, int]
"""Size, mtime_ns, ctime_ns, inode."""


@dataclass(frozen=True)
class FileMark:
    """How far one file is read. path: relative to runner.toml where it lies below it.

    offset: of the text (of Parquet and Arrow: rows). lines: line ends (rows) before it. digest: "full:..." or
    "ends:...". octets: of the file itself, at the time. waiting: an unfinished last line was left. head: a digest of
    the text's first 4 KiB, or of all that was read where that is less ("": a mark of Parquet, Arrow or older runners).
    """

    path: str
    offset: int = 0
    lines: int = 0
    digest: str = ""
    stat: Stat | None = None
    waiting: int = 0
    head: str = ""


@dataclass(frozen=True)
class SourceMark:
    """How far a source is read. mapping: how records become events; it may not change. last: highest position."""

    files: tuple[FileMark, ...] = ()
    mapping: dict[str, str] | None = None
    last: int | None = None

    def to_json(self) -> Any:
        """As it stands in the log's manifest."""
        files = [asdict(f) | {"stat": None if f.stat is None else list(f.stat)} for f in self.files]
        return {"format": FORMAT, "files": files, "mapping": self.mapping, "last": self.last}


def read_mark(source: SourceConfig, value: Any) -> SourceMark:
    """A mark from its JSON. Raises SourceError: another version's, or the source's records are now read otherwise."""
    if value is None:
        return SourceMark(mapping=described(source))
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise SourceError(f"source {source.name}: its mark in the log is of another version of the runner")
    files = tuple(FileMark(**f | {"stat": None if f["stat"] is None else tuple(f["stat"])}) for f in value["files"])
    mapping = described(source)
    for key, text in mapping.items():
        former = value["mapping"].get(key)
        if former != text and any(f.lines for f in files):
            raise SourceError(
                f"source {source.name}: {key} is {text or 'not set'}, but the events in the log were read "
                f"with {former or 'none'}",
                hint="set it back, or sync into a new log directory",
            )
    return SourceMark(files, mapping, value["last"])


def described(source: SourceConfig) -> dict[str, str]:
    """What decides how a record becomes an event, as texts."""
    fields = {name: getattr(source, name) for name in ("aggregate_id", "type", "version", "position", "tenant")}
    found = {name: "" if mapping is None else str(mapping) for name, mapping in fields.items()}
    time, payload, csv = source.recorded_at, source.payload, source.csv
    found["recorded_at"] = "" if time is None else f"{time.field} as {time.coerce or 'iso'}"
    found["payload"] = str(payload)
    found["format"] = source.format
    if source.format in ("ndjson", "csv"):
        found["encoding"] = source.encoding
    if source.format == "csv":
        signs = f"delimiter {csv.delimiter!r}, quote {csv.quote!r}, escape {csv.escape!r}"
        found["csv"] = f"{signs}, {'with header' if csv.header else 'columns ' + ', '.join(csv.columns)}"
    return found


def stat_of(path: Path) -> Stat:
    """Raises SourceError."""
    try:
        found = path.stat()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def relative(source: SourceConfig, path: Path) -> str:
    """How a mark names a file."""
    try:
        return path.relative_to(source.root).as_posix()
    except ValueError:
        return path.as_posix()


def listed_files(source: SourceConfig, mark: SourceMark) -> list[Path]:
    """The files of the mark, then new ones: each once, in the order of the config, a glob's matches sorted.

    Raises SourceChanged where a file of the mark is gone or renamed, SourceError where a named file is not there.
    """
    found = matching_files(source)
    known = {source.root / f.path: None for f in mark.files}
    gone = [path for path in known if not path.is_file()]
    fresh = [path for path in found if path not in known]
    new = [path for path in fresh if path.is_file()]
    missing = [path for path in fresh if not path.is_file()]
    _check_gone(source, mark, gone, new)
    if missing:
        raise SourceError(f"source {source.name}: {missing[0]} is not a file", hint="see files in runner.toml")
    if not found and not known:
        raise SourceError(f"source {source.name}: no file matches {', '.join(source.files)}")
    return [*known, *new]


def matching_files(source: SourceConfig) -> dict[Path, None]:
    """What ``files`` names, in order, each once; a name without glob characters whether it is there or not."""
    found: dict[Path, None] = {}
    for pattern in source.files:
        # A file whose very name this is comes first: names may hold brackets.
        if glob.has_magic(pattern) and not Path(pattern).is_file():
            # pathlib globs no absolute patterns.
            matches = [m for m in sorted(glob.glob(pattern, recursive=True)) if Path(m).is_file()]  # noqa: PTH207
        else:
            matches = [pattern]
        found |= dict.fromkeys(Path(os.path.normpath(m)) for m in matches)
    return found


def _check_gone(source: SourceConfig, mark: SourceMark, gone: list[Path], new: list[Path]) -> None:
    inodes = {stat_of(path)[3]: path for path in new}
    for path in gone:
        entry = next(f for f in mark.files if source.root / f.path == path)
        moved = inodes.get(entry.stat[3]) if entry.stat is not None else None
        if moved is not None:
            raise SourceChanged(
                f"source {source.name}: {path} was renamed to {moved} after it was read",
                hint="give it its name back, or its events would be read twice",
            )
        if source.gone_files == "stop":
            raise SourceChanged(
                f"source {source.name}: {path} is gone, but its events are in the log",
                hint='put it back, or set gone_files = "allow"',
            )


def changed(path: Path, what: str) -> SourceChanged:
    """The error of a file that is no longer what was read."""
    return SourceChanged(
        f"{path} changed behind its mark: {what}",
        hint="a file may only grow; put it back as it was, or sync into a new log directory",
    )


def head_digest(head: bytes) -> str:
    """Of a text's first bytes, at most HEAD."""
    return xxhash.xxh3_128_hexdigest(head[:HEAD])


def ends_digest(path: Path, offset: int) -> str:
    """Of the first and last 64 KiB of a plain file's first ``offset`` bytes (behind a byte order mark)."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        bom = 3 if file.read(3) == b"\xef\xbb\xbf" else 0
        for start in (0, max(0, offset - END)):
            file.seek(bom + start)
            digest.update(file.read(min(END, offset - start)))
    return f"ends:{digest.hexdigest()}"
