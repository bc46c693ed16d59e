"""Types of Postgres that the runner reads and writes, and which of them an Arrow column becomes.

| Arrow | Postgres |
|---|---|
| bool; int8, int16; int32, uint16; int64, uint32 | boolean; smallint; integer; bigint |
| uint64 | numeric(20, 0) |
| float16, float32; float64 | real; double precision |
| string, large_string, dictionaries of them | text |
| binary, large_binary, fixed_size_binary | bytea |
| arrow.uuid | uuid |
| timestamp with a zone; without | timestamptz; timestamp |
| date32 | date |
| duration | interval |
| decimal128(p, s) | numeric(p, s) |
| list of one of these | an array of its type |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

__all__ = [
    "BOOL",
    "BPCHAR",
    "BYTEA",
    "DATE",
    "FLOAT4",
    "FLOAT8",
    "INT2",
    "INT4",
    "INT8",
    "INTERVAL",
    "JSON",
    "JSONB",
    "NAME",
    "NUMERIC",
    "OID",
    "TEXT",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "UUID",
    "VARCHAR",
    "XID8",
    "PgType",
    "arrow_type_of",
    "numeric",
    "pg_type_of",
    "type_by_oid",
]


@dataclass(frozen=True)
class PgType:
    """A type of Postgres.

    name: as a column definition may write it, without its modifier. oid, array_oid: the same on every server.
    element: what an array is of, or None.
    """

    name: str
    oid: int
    array_oid: int = 0
    precision: int | None = None
    scale: int | None = None
    """Of numeric(precision, scale); None: any number of digits."""
    element: PgType | None = None

    @property
    def sql(self) -> str:
        """The type as a column's definition names it; nothing in it needs quotes."""
        if self.element is not None:
            return f"{self.element.sql}[]"
        return f"{self.name}({self.precision},{self.scale})" if self.precision is not None else self.name

    def array(self) -> PgType:
        """The array type whose elements these are."""
        if not self.array_oid:
            raise ValueError(f"there is no array type of {self.name}")
        return PgType(f"{self.name}[]", self.array_oid, element=self)

    @property
    def family(self) -> PgType:
        """The type without its modifier: numeric for numeric(10,2)."""
        return replace(self, precision=None, scale=None)


BOOL: Final = PgType("boolean", 16, 1000)
BYTEA: Final = PgType("bytea", 17, 1001)
NAME: Final = PgType("name", 19, 1003)
INT8: Final = PgType("bigint", 20, 1016)
INT2: Final = PgType("smallint", 21, 1005)
INT4: Final = PgType("integer", 23, 1007)
TEXT: Final = PgType("text", 25, 1009)
OID: Final = PgType("oid", 26, 1028)
JSON: Final = PgType("json", 114, 199)
FLOAT4: Final = PgType("real", 700, 1021)
FLOAT8: Final = PgType("double precision", 701, 1022)
BPCHAR: Final = PgType("bpchar", 1042, 1014)
VARCHAR: Final = PgType("character varying", 1043, 1015)
DATE: Final = PgType("date", 1082, 1182)
TIMESTAMP: Final = PgType("timestamp without time zone", 1114, 1115)
TIMESTAMPTZ: Final = PgType("timestamp with time zone", 1184, 1185)
INTERVAL: Final = PgType("interval", 1186, 1187)
NUMERIC: Final = PgType("numeric", 1700, 1231)
UUID: Final = PgType("uuid", 2950, 2951)
JSONB: Final = PgType("jsonb", 3802, 3807)
XID8: Final = PgType("xid8", 5069, 271)

_SCALARS: Final = (
    BOOL, BYTEA, NAME, INT8, INT2, INT4, TEXT, OID, JSON, FLOAT4, FLOAT8, BPCHAR, VARCHAR, DATE, TIMESTAMP,
    TIMESTAMPTZ, INTERVAL, NUMERIC, UUID, JSONB, XID8,
)  # fmt: skip
_BY_OID: Final = {t.oid: t for t in _SCALARS} | {t.array_oid: t.array() for t in _SCALARS}


def numeric(precision: int, scale: int) -> PgType:
    """numeric(precision, scale)."""
    return replace(NUMERIC, precision=precision, scale=scale)


def type_by_oid(oid: int) -> PgType | None:
    """The type that a server calls by this number, where it is one that is read here."""
    return _BY_OID.get(oid)


_OF_ARROW: Final = {
    pa.bool_(): BOOL,
    pa.int8(): INT2,
    pa.int16(): INT2,
    pa.uint8(): INT2,
    pa.int32(): INT4,
    pa.uint16(): INT4,
    pa.int64(): INT8,
    pa.uint32(): INT8,
    pa.uint64(): numeric(20, 0),
    pa.float16(): FLOAT4,
    pa.float32(): FLOAT4,
    pa.float64(): FLOAT8,
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.binary(): BYTEA,
    pa.large_binary(): BYTEA,
    pa.date32(): DATE,
    pa.uuid(): UUID,
}


def pg_type_of(kind: pa.DataType) -> PgType:
    """The type that a column of this Arrow type becomes. Raises TypeError where there is none."""
    if pa.types.is_dictionary(kind):
        return pg_type_of(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        element = pg_type_of(kind.value_type)
        if element.element is not None:
            raise TypeError(f"no Postgres type for Arrow's {kind}: arrays of arrays need one length")
        return element.array()
    if pa.types.is_timestamp(kind):
        return TIMESTAMP if kind.tz is None else TIMESTAMPTZ
    if pa.types.is_duration(kind):
        return INTERVAL
    if pa.types.is_decimal128(kind) and kind.scale >= 0:
        return numeric(kind.precision, kind.scale)
    if pa.types.is_fixed_size_binary(kind):
        return BYTEA
    found = _OF_ARROW.get(kind)
    if found is None:
        raise TypeError(f"no Postgres type for Arrow's {kind}")
    return found


_TO_ARROW: Final = {
    BOOL: pa.bool_(),
    BYTEA: pa.large_binary(),
    INT2: pa.int16(),
    INT4: pa.int32(),
    INT8: pa.int64(),
    OID: pa.int64(),
    XID8: pa.int64(),
    FLOAT4: pa.float32(),
    FLOAT8: pa.float64(),
    DATE: pa.date32(),
    TIMESTAMP: pa.timestamp("us"),
    TIMESTAMPTZ: pa.timestamp("us", "UTC"),
    INTERVAL: pa.duration("us"),
    UUID: pa.uuid(),
}


def arrow_type_of(kind: PgType) -> pa.DataType:
    """The Arrow type that a column of this type is read as unless another is asked for.

    Texts, JSON and numeric without a scale become large_string; a numeric of up to 38 digits decimal128.
    """
    if kind.element is not None:
        return pa.list_(arrow_type_of(kind.element))
    if kind.precision is not None and kind.precision <= 38 and 0 <= (kind.scale or 0) <= kind.precision:
        return pa.decimal128(kind.precision, kind.scale or 0)
    return _TO_ARROW.get(kind, pa.large_string())
