"""Which format of event files a file's name means, where nobody says it."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

__all__ = ["FORMATS", "Format", "format_of"]

Format = Literal["ndjson", "csv", "parquet", "arrow"]
FORMATS: tuple[Format, ...] = ("ndjson", "csv", "parquet", "arrow")

_BY_SUFFIX: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
    ".asc": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
_COMPRESSED = (".gz", ".zst", ".zstd")


def format_of(file: PurePath | str) -> Format | None:
    """The format by the last suffix that names no compression; None where it names none."""
    suffixes = [s.lower() for s in PurePath(file).suffixes]
    while suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return _BY_SUFFIX.get(suffixes[-1]) if suffixes else None
