"""Calls: built-in functions, constructors and methods from the tables, and the author's own functions.

A helper of one ``return`` is written into its caller; every other one becomes a function of its own, once for each
combination of argument types, that answers ``(status, value)`` or ``(status, value, valid)``.
"""

from __future__ import annotations

import ast
import enum
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.authoring.source_code import MISSING, FunctionSource, class_function, function_source, is_authored
from runner.errors import DefinitionError
from runner.fold.lower.lowering import CALLS, METHODS, ArrayRef, Lowering, Scope, expression
from runner.fold.lower.names import constant, plain
from runner.fold.lower.plainly import fails_always
from runner.fold.lower.statements import assign_local, leave
from runner.fold.lower.stores import converted
from runner.fold.lower.truth import kept
from runner.fold.types import (
    NONE,
    ElementType,
    EventType,
    ListType,
    NoneType,
    ObjectType,
    StateListType,
    StateType,
    StaticType,
    TupleType,
    Value,
    describe,
    zero,
)
from runner.values import ValueType

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["call_function", "walk"]

_MOST_WALKS = 12
"""A local's type can grow to Optional and to 18 digits; more walks would never end."""


@expression(ast.Call)
def _call(c: Lowering, node: ast.Call) -> Value:
    for keyword in node.keywords:
        if keyword.arg is None:
            raise c.error(node, "** in a call is not supported", "name the arguments")
    if isinstance(node.func, ast.Attribute):
        owner = c.expr(node.func.value)
        if not isinstance(owner.type, ObjectType):
            return _method(c, node, node.func, owner)
    function = c.expr(node.func)
    if not isinstance(function.type, ObjectType):
        raise c.error(node, f"{ast.unparse(node.func)} is {describe(function.type)} and cannot be called", always=True)
    target = function.constant
    try:
        lower = CALLS.get(target)
    except TypeError:  # not hashable, so not in the table
        lower = None
    if lower is not None:
        return lower(c, node, [c.expr(a) for a in node.args])
    if is_authored(target, c.scope.source.function):
        return _helper(c, node, target)
    if isinstance(target, type) and issubclass(target, enum.Enum):
        return _enum_call(c, node, target)
    raise c.error(node, f"{ast.unparse(node.func)}() is not supported", _HINTS.get(getattr(target, "__name__", ""), ""))


_HINTS = {
    "print": "look at a row's life with `runner explain`",
    "sorted": "write a for loop",
    "reversed": "write a for loop over range(n)",
    "zip": "write a for loop over range(n)",
    "any": "write a for loop",
    "all": "write a for loop",
    "divmod": "write a // b and a % b",
    "pow": "write a ** b",
    "isinstance": "fields have one type; test `is None` for Optional ones",
    "log": "not exact on every machine: compute it in the query",
    "exp": "not exact on every machine: compute it in the query",
}


def _method(c: Lowering, node: ast.Call, func: ast.Attribute, owner: Value) -> Value:
    if isinstance(owner.type, StateType):
        return _own_method(c, node, func.attr, owner)
    if owner.kind is None:
        raise c.error(node, f"{describe(owner.type)} has no method {func.attr} here")
    lower = METHODS.get((owner.kind, func.attr))
    if lower is None and owner.literal:
        owner = plain(c, owner)
        assert owner.kind is not None
        lower = METHODS.get((owner.kind, func.attr))
    if lower is None:
        known = sorted(name for kind, name in METHODS if kind is owner.kind)
        hint = f"there is {', '.join(known)}" if known else ""
        always = fails_always(c, lambda sample: getattr(sample, func.attr), owner)
        raise c.error(node, f"{describe(owner.type)}.{func.attr}() is not supported", hint, always=always)
    return lower(c, node, c.required(node, owner), [c.expr(a) for a in node.args])


def _own_method(c: Lowering, node: ast.Call, name: str, owner: Value) -> Value:
    """self.name(...): a method that the author wrote in the projection's class."""
    cls = c.program.definition.cls
    function = class_function(cls, name)
    if function is MISSING:
        hint = "call it on a line of its own, in the handler" if name == "delete" else "write a function of the module"
        always = not hasattr(cls, name)
        raise c.error(node, f"self.{name}() is not supported here", hint, always=always)
    if any(h.name == name for h in c.program.definition.handlers):
        raise c.error(node, f"{name} is a handler and cannot be called", "share a function of the module")
    static = isinstance(inspect.getattr_static(cls, name), staticmethod)
    return _helper(c, node, function, () if static else (owner,))


def _enum_call(c: Lowering, node: ast.Call, cls: type[enum.Enum]) -> Value:
    """Color("red"): a member by its value."""
    if len(node.args) != 1 or node.keywords:
        raise c.error(node, f"{cls.__name__} takes one value here")
    sample = constant(c, node, next(iter(cls)))
    assert isinstance(sample.type, ValueType)
    value = c.expr(node.args[0])
    if isinstance(value.type, NoneType):
        raise c.error(node, f"None is no {cls.__name__}", always=True)
    code, _ = converted(c, node, value, sample.type, cls.__name__)
    return Value(sample.type, code)


# The author's functions


@dataclass(frozen=True)
class _Compiled:
    """A helper as a function of its own."""

    name: str
    result: StaticType
    arrays: tuple[ArrayRef, ...]


def _helper(c: Lowering, node: ast.Call, function: Callable[..., Any], first: tuple[Value, ...] = ()) -> Value:
    name = ast.unparse(node.func)
    source = _source(c, node, name, function)
    return call_function(c, node, source, _bound(c, node, name, source, first))


def _source(c: Lowering, node: ast.AST, name: str, function: Callable[..., Any]) -> FunctionSource:
    try:
        return function_source(function)
    except DefinitionError as error:
        raise c.error(node, f"{name}: {error.message}", error.hint) from None


def call_function(c: Lowering, node: ast.AST, source: FunctionSource, arguments: dict[str, Value]) -> Value:
    """The result of a function of the author's, with an argument for every parameter."""
    name = source.function.__name__
    if any(f is source.function for f in c.program.calling):
        raise c.error(node, f"{name} calls itself: recursion is not supported", "write a for loop over range(n)")
    c.program.calling.append(source.function)
    try:
        body = [s for s in source.node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        if len(body) == 1 and isinstance(body[0], ast.Return) and body[0].value is not None:
            return _inlined(c, source, arguments, body[0].value)
        return _called(c, name, source, arguments)
    finally:
        c.program.calling.pop()


def _bound(
    c: Lowering, node: ast.Call, name: str, source: FunctionSource, first: tuple[Value, ...]
) -> dict[str, Value]:
    """Arguments by parameter: ``first``, then the written ones, then the defaults."""
    if source.node.args.vararg or source.node.args.kwarg:
        raise c.error(node, f"{name} takes * or **, which is not supported", "name its parameters")
    if any(not (isinstance(d, ast.Name) and d.id == "staticmethod") for d in source.node.decorator_list):
        raise c.error(node, f"{name} has a decorator, which is not supported", "call a plain function")
    signature = inspect.signature(source.function)
    # Python evaluates them as they are written, not in the order of the parameters.
    written = [c.expr(n) for n in node.args]
    named = {k.arg: c.expr(k.value) for k in node.keywords if k.arg is not None}
    try:
        found = signature.bind(*first, *written, **named)
    except TypeError as error:
        raise c.error(node, f"{name}: {error}", always=True) from None
    values = {
        p.name: found.arguments[p.name] if p.name in found.arguments else constant(c, node, p.default)
        for p in signature.parameters.values()
    }
    return {p: kept(c, v) for p, v in values.items()}


def _inlined(c: Lowering, source: FunctionSource, arguments: dict[str, Value], result: ast.expr) -> Value:
    outer, outer_locals = c.scope, c.locals
    c.scope, c.locals = Scope.of(source, arguments), {}
    try:
        value = c.expr(result)
    finally:
        c.scope, c.locals = outer, outer_locals
    return value


def _called(c: Lowering, name: str, source: FunctionSource, arguments: dict[str, Value]) -> Value:
    key = (source.function, tuple((p, _argument_type(v)) for p, v in arguments.items()))
    made = c.program.helpers.get(key)
    if made is None:
        made = c.program.helpers[key] = _compiled(c, name, source, arguments)
    # The context first: the state and the event where the helper was given them, then values, then arrays.
    passed = ["pool", "0", "0", "0", "0"] if c.role == "merge" else ["pool", "i", "j", "k", "type_id"]
    for value in arguments.values():
        if isinstance(value.type, StateType):
            passed.append(value.type.variable)
        elif isinstance(value.type, ElementType) or value.kind is not None:
            passed.append(value.code)
            if value.valid:
                passed.append(value.valid)
    passed += [c.array(ref.scope, ref.name, ref.part) for ref in made.arrays]
    result = c.temp(f"{made.name}({', '.join(passed)})")
    c.guard(f"{result}[0] != 0", f"{result}[0]")
    if isinstance(made.result, NoneType):
        return Value(NONE, "0", constant=None)
    assert isinstance(made.result, ValueType)
    return Value(made.result, f"{result}[1]", f"{result}[2]" if made.result.optional else "")


def _argument_type(value: Value) -> Any:
    """What a helper is compiled for: the type, and of what is no scalar the thing itself."""
    match value.type:
        case TupleType():
            # (1,) and (True,) are equal in Python, and not the same here.
            return repr(value.constant), tuple(i.type for i in value.items)
        case ObjectType():
            return id(value.constant)
    return value.type


def _compiled(c: Lowering, name: str, source: FunctionSource, arguments: dict[str, Value]) -> _Compiled:
    parameters: dict[str, Value] = {}
    names = ["pool", "i", "j", "k", "type_id"]
    for p, value in arguments.items():
        match value.type:
            case StateType():
                parameters[p] = Value(StateType(f"s_{p}", value.type.writable))
                names.append(f"s_{p}")
            case EventType() | ListType() | ObjectType() | NoneType():
                parameters[p] = value
            case ElementType():
                parameters[p] = Value(value.type, f"p_{p}")
                names.append(f"p_{p}")
            case ValueType():
                parameters[p] = Value(value.type, f"p_{p}", f"q_{p}" if value.valid else "")
                names += [f"p_{p}", f"q_{p}"] if value.valid else [f"p_{p}"]
            case TupleType() if value.known:
                parameters[p] = value
            case StateListType() | TupleType():
                raise c.error(source.node, f"{name}: {describe(value.type)} cannot be passed on", "pass self or e")
    inner = walk(c.program, Scope.of(source, parameters), "helper", c.label)
    made = c.program.name("helper", source.function.__name__)
    text = f"@njit(**KERNEL)\ndef {made}({', '.join([*names, *inner.arrays.values()])}):\n"
    c.program.chunks.append(text + "\n".join(inner.lines) + "\n")
    return _Compiled(made, inner.result or NONE, tuple(inner.arrays))


# Walking


def walk(program: Any, scope: Scope, role: Any, label: str) -> Lowering:
    """Lower a function's whole body, as often as it takes for the types to stand still. Raises CompileError."""
    c = Lowering(program, scope, role, label)
    assigned = {n.id for n in ast.walk(scope.source.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    given = {n: v for n, v in scope.parameters.items() if n in assigned and (v.kind is not None or v.type == NONE)}
    if given:
        c.scope = Scope(scope.source, {n: v for n, v in scope.parameters.items() if n not in given}, scope.escapes)
    for _ in range(_MOST_WALKS):
        _walk_once(c, given)
        if not c.changed:
            if c.errors:
                raise c.errors[0]
            return c
    raise (
        c.errors[0]
        if c.errors
        else c.error(
            scope.source.node, "a local's type grows without end", "keep a Decimal's digits fixed: x.quantize(...)"
        )
    )


def _walk_once(c: Lowering, given: dict[str, Value]) -> None:
    c.lines, c.errors, c.changed = [], [], False
    c.indent, c.temps, c.iterated = 1, 0, []
    c.arrays = {}
    c.assigned = set()
    c.failure = ""
    if c.role == "helper":
        optional = isinstance(c.result, ValueType) and c.result.optional
        c.failure = f", {zero(c.result or NONE)}{', False' if optional else ''}"
    if c.deletes:
        c.line("deleted = 0")
    node = c.scope.source.node
    for name, value in given.items():
        assign_local(c, node, name, value)
    c.body(node.body)
    if c.assigned is not None:
        leave(c, node, Value(NONE, "0", constant=None))
