"""Whether plain Python fails too, where something cannot be compiled: then ``compiled=False`` is no way out.

Tried on a sample of each operand's type: a TypeError or AttributeError comes from the types, whatever the values are.
"""

from __future__ import annotations

import ast
import operator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from runner.authoring.bounded import Buckets, LastValues
from runner.fold.types import ListType, NoneType, StateListType, TupleType, Value
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.fold.lower.lowering import Lowering

__all__ = ["fails_always", "operation"]

_SAMPLES: Final[dict[Kind, Any]] = {
    Kind.INT: 1,
    Kind.FLOAT: 1.5,
    Kind.BOOL: True,
    Kind.STR: "a",
    Kind.DECIMAL: Decimal("1.5"),
    Kind.DATETIME: datetime(2026, 1, 2, tzinfo=UTC),
    Kind.DATE: date(2026, 1, 2),
    Kind.TIMEDELTA: timedelta(days=1),
    Kind.UUID: UUID(int=1),
    Kind.RECORD: object(),
}
_OPERATIONS: Final[dict[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.MatMult: operator.matmul,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}


def operation(op: ast.AST) -> Callable[..., Any]:
    """The function of an operator."""
    return _OPERATIONS[type(op)]


def fails_always(c: Lowering, function: Callable[..., Any], *values: Value) -> bool:
    """Whether the function takes no values of these types."""
    try:
        function(*(_sample(c, value) for value in values))
    except (TypeError, AttributeError):
        return True
    except Exception:
        return False  # of the values, not of the types
    return False


def _sample(c: Lowering, value: Value) -> Any:
    if value.known:
        return value.constant
    match value.type:
        case NoneType():
            return None
        case ListType() | TupleType():
            return ()
        case StateListType():
            return LastValues if value.type.type.kind is Kind.LAST else Buckets
        case ValueType() if value.type.kind is Kind.ENUM:
            members = value.type.members
            return next(iter(c.program.enums[value.type.enum])) if value.type.enum else members[0]
        case ValueType():
            return _SAMPLES[value.type.kind]
    return object()
