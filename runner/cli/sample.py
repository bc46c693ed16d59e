"""A sample of a file's records, as Python values, before anything is known of their meaning: for ``init``.

Reads the head of the file, and of a plain NDJSON file also places further in, since rare types tend to come late.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runner.config.file_formats import Format, format_of
from runner.errors import ConfigError, LineError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Sample", "sample_files"]

RECORDS = 20_000
PLACES = 40
OCTETS = 24 << 20
"""So much text is read at most, however long its lines are."""


@dataclass(frozen=True)
class Sample:
    """Records of a source, and how its files are written."""

    files: tuple[Path, ...]
    format: Format
    records: tuple[dict[str, Any], ...]
    whole: bool
    """All records are in the sample."""
    delimiter: str = ","
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    """Of Parquet and Arrow, those that JSON can hold; of the others (bytes) nothing is in the records."""
    bytes_columns: tuple[str, ...] = ()


def sample_files(pattern: str, file_format: Format | None = None) -> Sample:
    """Sample the files that a path or glob names; raises ConfigError or SourceError with what to do."""
    # A file whose very name this is comes first: names may hold brackets.
    names = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)  # noqa: PTH207 - absolute patterns too
    files = tuple(sorted(Path(name) for name in names if Path(name).is_file()))
    if not files:
        raise ConfigError(f"no file matches {pattern!r}", hint="give the path of an event file, or a glob in quotes")
    chosen = file_format or _format_of(files[0])
    if chosen == "ndjson":
        records, whole = _ndjson(files)
        sample = Sample(files, chosen, records, whole)
    elif chosen == "csv":
        sample = _csv(files)
    else:
        sample = _columnar(files, chosen)
    if not sample.records:
        raise SourceError(f"{files[0]} has no records to learn from")
    return sample


def _format_of(file: Path) -> Format:
    found = format_of(file)
    if found is not None:
        return found
    raise ConfigError(
        f"cannot tell the format of {file} by its name", hint="say it: --format ndjson, csv, parquet or arrow"
    )


def _open(file: Path) -> IO[bytes]:
    with file.open("rb") as raw:
        magic = raw.read(4)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(file, "rb")  # type: ignore[return-value] # GzipFile reads bytes as IO[bytes] does
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        return io.BufferedReader(
            zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(file.open("rb"), closefd=True)
        )
    return file.open("rb")


def _is_plain(file: Path) -> bool:
    with file.open("rb") as raw:
        magic = raw.read(4)
    return magic[:2] != b"\x1f\x8b" and magic != b"\x28\xb5\x2f\xfd"


def _ndjson(files: tuple[Path, ...]) -> tuple[tuple[dict[str, Any], ...], bool]:
    records: list[dict[str, Any]] = []
    share, room = max(1, RECORDS // len(files)), OCTETS // len(files)
    whole = True
    for file in files:
        with _open(file) as stream:
            head, more = _head(_complete(stream), share, room)
        records.extend(_parsed(file, enumerate(head, 1)))
        whole &= not more
        if more and _is_plain(file):
            records.extend(_further_in(file, share, room))
    return tuple(records), whole


def _head(lines: Iterator[bytes], most: int, room: int) -> tuple[list[bytes], bool]:
    """The first lines, and whether there are more."""
    head: list[bytes] = []
    for line in lines:
        if len(head) >= most or (head and room <= 0):
            return head, True
        head.append(line)
        room -= len(line)
    return head, False


def _complete(stream: IO[bytes]) -> Iterator[bytes]:
    """The stream's lines; a torn last one, and one that the compression cuts off, is left out."""
    try:
        for line in stream:
            if line.endswith(b"\n") or _is_json(line):
                yield line
    except EOFError:
        return


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _parsed(file: Path, lines: Iterable[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise LineError(str(file), number, f"not JSON: {error}", hint="is it NDJSON, one object a line?") from error
        if not isinstance(record, dict):
            raise LineError(str(file), number, f"a {type(record).__name__}, not an object")
        yield record


def _further_in(file: Path, records: int, room: int) -> Iterator[dict[str, Any]]:
    """Some records at each of PLACES places behind the head; lines that do not parse there are no matter."""
    total = file.stat().st_size
    with file.open("rb") as stream:
        for place in range(1, PLACES):
            stream.seek(total * place // PLACES)
            stream.readline()
            lines, _ = _head(iter(stream), max(1, records // PLACES), room // PLACES)
            for line in lines:
                if _is_json(line) and isinstance(record := json.loads(line), dict):
                    yield record


def _csv(files: tuple[Path, ...]) -> Sample:
    with _open(files[0]) as stream:
        head, cut_off = _first_megabyte(stream)
    encoding = "utf-8"
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A character cut at the end of what was read is no reason to doubt the encoding.
        cut = (cut_off or len(head) == 1 << 20) and error.start > len(head) - 4
        encoding, text = ("utf-8", head[: error.start].decode()) if cut else ("latin-1", head.decode("latin-1"))
    lines = text.splitlines()
    if len(head) == 1 << 20 or not text.endswith("\n"):
        lines = lines[:-1] or lines
    delimiter = max(",;\t|", key=lambda c: lines[0].count(c)) if lines else ","
    rows = list(csv.DictReader(lines, delimiter=delimiter))
    records = tuple({k: v or None for k, v in row.items() if k is not None} for row in rows if None not in row.values())
    whole = len(head) < 1 << 20 and len(files) == 1 and not cut_off
    return Sample(files, "csv", records, whole, delimiter, encoding)


def _first_megabyte(stream: IO[bytes]) -> tuple[bytes, bool]:
    """What can be read of it, and whether the compression is cut off inside."""
    head = b""
    try:
        while len(head) < 1 << 20 and (block := stream.read1(min(1 << 13, (1 << 20) - len(head)))):  # type: ignore[attr-defined] # all that _open gives have it
            head += block
    except EOFError:
        return head, True
    return head, False


def _columnar(files: tuple[Path, ...], file_format: Format) -> Sample:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = files[0]
    try:
        if file_format == "parquet":
            with pq.ParquetFile(file) as parquet:
                total = parquet.metadata.num_rows
                table = pa.Table.from_batches(itertools.islice(parquet.iter_batches(RECORDS), 1), parquet.schema_arrow)
        else:
            with pa.memory_map(str(file)) as source:
                table, total = _ipc_head(source)
    except pa.ArrowException as error:
        raise SourceError(f"{file}: {error}", hint=f"is it a {file_format} file?") from error
    raw = tuple(field.name for field in table.schema if _holds_bytes(field.type))
    records = tuple(_jsonable(row) for row in table.drop_columns(list(raw)).to_pylist())
    columns = tuple(name for name in table.column_names if name not in raw)
    whole = total <= table.num_rows and len(files) == 1
    return Sample(files, file_format, records, whole, columns=columns, bytes_columns=raw)


def _holds_bytes(kind: Any) -> bool:
    """Bytes are no JSON, wherever in a column they are."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if any(is_(kind) for is_ in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)):
        return True
    return any(_holds_bytes(kind.field(k).type) for k in range(kind.num_fields))


def _ipc_head(source: Any) -> tuple[Any, int]:
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(source)
        batches = [reader.get_batch(0)] if reader.num_record_batches else []
        more = reader.num_record_batches > 1
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_stream(source)
        batches = list(itertools.islice(reader, 1))
        more = True
    table = pa.Table.from_batches(batches, reader.schema)
    head = table.slice(0, RECORDS)
    return head, head.num_rows + int(more or table.num_rows > RECORDS)


def _jsonable(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it stands in a payload: times as ISO texts, numbers of exact scale as texts, JSON texts parsed."""
    return {name: _json_value(value) for name, value in row.items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return _jsonable(value)
    if isinstance(value, list):
        return [_json_value(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)
