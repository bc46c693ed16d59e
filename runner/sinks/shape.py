"""What a version of a read model is, as data, and its version.json.

A *version* is one rebuild's table; an update or a compaction gives it a new *revision*: another list of files and
another checkpoint. ``version-<revision>.json`` is written once and never changed, so what is live is decided by
current.json alone.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runner.errors import ReadModelError
from runner.positions import Position

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DELETED", "DELTA", "EVERY", "HASH", "FileInfo", "Shape", "Version", "directory_name", "stored_schema"]

HASH = ("_hash_hi", "_hash_lo")
"""uint64 columns: the identity hash of the row's aggregate. Not for merged keys, never shown to users."""
DELETED, DELTA = "_deleted", "_delta"
"""Columns of delta files alone: bool, the row is gone; int32, the revision that wrote it."""
EVERY = -1
"""In the place of a partition's number: the file of a small update, which has rows of all partitions."""
FORMAT = 1


def directory_name(projection: str) -> str:
    """A projection's name as a directory: letters, digits, ``_`` and ``-`` stay, other bytes become %XX.

    So no name leaves the root, and none meets a file of the root (all of those have a dot).
    """
    kept = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    return "".join(chr(b) if b in kept else f"%{b:02X}" for b in projection.encode())


def stored_type(given: pa.DataType) -> pa.DataType:
    """The plain type that a column has in the files: no dictionaries, no view or large layouts."""
    if pa.types.is_dictionary(given):
        return stored_type(given.value_type)
    if pa.types.is_large_string(given) or pa.types.is_string_view(given):
        return pa.string()
    if pa.types.is_large_binary(given) or pa.types.is_binary_view(given):
        return pa.binary()
    if pa.types.is_list(given) or pa.types.is_large_list(given):
        return pa.list_(stored_type(given.value_type))
    return given


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of the files for rows of this schema: plain types, everything nullable, no metadata."""
    return pa.schema([pa.field(f.name, stored_type(f.type)) for f in schema])


@dataclass(frozen=True)
class Shape:
    """What a read model holds and what made it; known before the run starts.

    schema: of the rows: identity columns, key columns, state fields, and ``_hash_hi``, ``_hash_lo`` unless merged.
    """

    name: str
    fingerprint: str
    schema: pa.Schema
    key: tuple[str, ...]
    identity: tuple[str, ...] = ()
    merged: bool = False
    indexes: tuple[tuple[str, ...], ...] = ()
    log_id: str = ""
    partitions: int = 1
    """P of the log: a power of two. An update needs the same."""
    types: tuple[str, ...] = ()
    """The log's stored type names when the rows were folded."""
    scopes: tuple[tuple[str, str], ...] = ()
    """The log's (source, tenant) pairs when the rows were folded."""
    required: tuple[str, ...] = ()
    """The columns that are never None; tables in databases say so too."""

    def __post_init__(self) -> None:
        # One form only, so that equal shapes compare equal also after a way through JSON.
        object.__setattr__(self, "schema", stored_schema(self.schema))

    @property
    def columns(self) -> tuple[str, ...]:
        """What users see: all columns but the hashes."""
        return tuple(n for n in self.schema.names if n not in HASH)

    @property
    def fields(self) -> tuple[str, ...]:
        """The state fields."""
        return tuple(n for n in self.columns if n not in self.full_key)

    @property
    def full_key(self) -> tuple[str, ...]:
        """The columns that know a row: identity and key."""
        return (*self.identity, *self.key)

    def check(self) -> None:
        """Raise ReadModelError where a read model of this shape cannot be made."""
        names = self.schema.names
        where = f"read model {self.name!r}"
        if not self.name or "\x00" in self.name or len(directory_name(self.name)) > 200:
            raise ReadModelError(f"{where}: the name must have 1 to 200 bytes and no NUL", hint="give it another name")
        for name in self.columns:
            if name.startswith(("_hash_", DELETED, DELTA)) or not name:
                raise ReadModelError(f"{where}: the column name {name!r} is taken", hint="rename the field")
        folded: dict[str, str] = {}
        for name in names:
            other = folded.setdefault(name.casefold(), name)
            if other != name or names.count(name) > 1:
                raise ReadModelError(
                    f"{where}: columns {other!r} and {name!r} are one to SQL, which does not tell case apart",
                    hint="rename one of them",
                )
        if missing := [n for n in self.full_key if n not in names]:
            raise ReadModelError(f"{where}: the key columns {missing} are not in the rows")
        if not self.merged and (missing := [n for n in HASH if n not in names]):
            raise ReadModelError(f"{where}: the columns {missing} are not in the rows")
        if self.partitions < 1 or self.partitions & (self.partitions - 1):
            raise ReadModelError(f"{where}: {self.partitions} partitions; it must be a power of two")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "columns": [{"name": f.name, "type": str(f.type), "role": self._role(f.name)} for f in self.schema],
            "arrow_schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "key": list(self.key),
            "identity": list(self.identity),
            "merged": self.merged,
            "indexes": [list(i) for i in self.indexes],
            "required": list(self.required),
            "log": {
                "id": self.log_id,
                "partitions": self.partitions,
                "types": list(self.types),
                "scopes": [list(s) for s in self.scopes],
            },
        }

    def _role(self, name: str) -> str:
        if name in HASH:
            return "hash"
        return "identity" if name in self.identity else "key" if name in self.key else "field"

    @staticmethod
    def from_json(data: dict[str, Any]) -> Shape:
        log = data["log"]
        return Shape(
            name=data["name"],
            fingerprint=data["fingerprint"],
            schema=pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data["arrow_schema"]))),
            key=tuple(data["key"]),
            identity=tuple(data["identity"]),
            merged=data["merged"],
            indexes=tuple(tuple(i) for i in data["indexes"]),
            log_id=log["id"],
            partitions=log["partitions"],
            types=tuple(log["types"]),
            scopes=tuple((s[0], s[1]) for s in log["scopes"]),
            required=tuple(data["required"]),
        )


@dataclass(frozen=True)
class FileInfo:
    """One Parquet file of a version. revision 0: the rebuild's. rows: all rows, ``deleted`` of them are deletions."""

    name: str
    delta: bool
    partition: int
    revision: int
    rows: int
    deleted: int
    bytes: int
    digest: str
    """xxh3-128 of the whole file, hex."""
    footer: str
    """xxh3-128 of the Parquet footer alone. With the page checksums it stands in for ``digest`` where only some row
    groups of a large file are read."""

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)

    @staticmethod
    def from_json(data: dict[str, Any]) -> FileInfo:
        return FileInfo(**data)


@dataclass(frozen=True)
class Version:
    """A published version of a read model, at one revision."""

    shape: Shape
    number: int
    revision: int
    position: Position
    """The checkpoint: the rows reflect every event up to it and none behind."""
    directory: Path
    created: str
    """When the rebuild was published; ISO 8601, UTC."""
    updated: str
    """When this revision was published."""
    job_id: str
    files: tuple[FileInfo, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.shape.name

    @property
    def fingerprint(self) -> str:
        return self.shape.fingerprint

    @property
    def bases(self) -> tuple[FileInfo, ...]:
        return tuple(f for f in self.files if not f.delta)

    @property
    def deltas(self) -> tuple[FileInfo, ...]:
        """Oldest first."""
        return tuple(sorted((f for f in self.files if f.delta), key=lambda f: (f.revision, f.partition)))

    @property
    def partitions(self) -> tuple[int, ...]:
        """Those that may have rows, ascending."""
        found = {f.partition for f in self.files}
        if EVERY in found:
            return tuple(range(self.shape.partitions))
        return tuple(sorted(found))

    def files_of(self, partition: int) -> tuple[FileInfo, ...]:
        """The files that may have rows of a partition; those of small updates have some of others too."""
        return tuple(f for f in self.files if f.partition in (partition, EVERY))

    @property
    def total_bytes(self) -> int:
        return sum(f.bytes for f in self.files)

    @property
    def document(self) -> Path:
        """Where this revision is written down."""
        return self.directory / f"version-{self.revision}.json"

    @property
    def template(self) -> Path:
        """A Parquet file of the version's columns without rows, so that a version without rows has its columns too."""
        return self.directory / "columns.parquet"

    def to_bytes(self) -> bytes:
        data = {
            "format": FORMAT,
            "shape": self.shape.to_json(),
            "version": self.number,
            "revision": self.revision,
            "checkpoint": int(self.position),
            "created": self.created,
            "updated": self.updated,
            "job_id": self.job_id,
            "files": [f.to_json() for f in self.files],
        }
        return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()

    @staticmethod
    def read(directory: Path, revision: int) -> Version:
        """Read a revision's document; ReadModelError where it is missing or damaged."""
        path = directory / f"version-{revision}.json"
        try:
            data = json.loads(path.read_bytes())
            if data["format"] != FORMAT:
                raise ReadModelError(
                    f"{path} has format {data['format']}, this runner knows {FORMAT}", hint="rebuild the read model"
                )
            return Version(
                shape=Shape.from_json(data["shape"]),
                number=data["version"],
                revision=data["revision"],
                position=Position(data["checkpoint"]),
                directory=directory,
                created=data["created"],
                updated=data["updated"],
                job_id=data["job_id"],
                files=tuple(FileInfo.from_json(f) for f in data["files"]),
            )
        except FileNotFoundError as error:
            raise ReadModelError(f"{path} is missing", hint="roll back, or rebuild the read model") from error
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
            raise ReadModelError(f"{path} is damaged: {error}", hint="roll back, or rebuild the read model") from error
