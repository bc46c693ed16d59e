"""Statements: assignments, branches, loops, returns, and which locals are assigned on every path."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING

from runner.errors import CompileError
from runner.fold.lower.lists import list_range, listed_at
from runner.fold.lower.lowering import Lowering, statement
from runner.fold.lower.names import plain
from runner.fold.lower.numbers import as_int, binary
from runner.fold.lower.stores import state_method, store_field, widened
from runner.fold.lower.truth import truth_of
from runner.fold.types import (
    INT,
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
    is_scalar,
    join,
)
from runner.kernels import status
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["assign_local"]

_RANGE_LIMIT = 2**62


# Locals


def assign_local(c: Lowering, node: ast.AST, name: str, value: Value) -> None:
    """name = value."""
    if name in c.scope.parameters and not is_scalar(c.scope.parameters[name].type):
        raise c.error(node, f"{name} is {describe(c.scope.parameters[name].type)} and cannot be assigned to")
    if isinstance(value.type, (EventType, StateType, TupleType, ObjectType)):
        raise c.error(node, f"a local cannot hold {describe(value.type)}", "use it where it is needed")
    type_ = value.type if name not in c.locals else join(c.locals[name], value.type)
    if type_ is None:
        raise c.error(
            node,
            f"{name} is {describe(c.locals[name])} in one place and {describe(value.type)} here",
            "a local has one type: write float(...) or 0.0 for an int, or use two names",
        )
    if c.locals.get(name) != type_:
        c.locals[name] = type_
        c.changed = True
    if c.assigned is not None:
        c.assigned.add(name)
    if isinstance(type_, (ListType, StateListType)):
        return  # it stands for the field; there is nothing to keep
    if isinstance(type_, ElementType):
        c.line(f"l_{name} = {value.code}")
        return
    code, valid = widened(c, value, type_)
    c.line(f"l_{name} = {code}")
    if valid and isinstance(type_, ValueType):
        c.line(f"m_{name} = {valid}")


@statement(ast.Assign)
def _assign(c: Lowering, node: ast.Assign) -> None:
    if len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
        _assign_pairs(c, node, node.targets[0], node.value)
        return
    value = c.expr(node.value)
    if len(node.targets) > 1 and value.kind is not None:
        value = Value(value.type, c.atom(value.code), c.atom(value.valid) if value.valid else "", value.constant)
    for target in node.targets:
        _store(c, target, value)


def _assign_pairs(c: Lowering, node: ast.Assign, targets: ast.Tuple, values: ast.Tuple) -> None:
    """a, b = b, a: all values first."""
    if len(targets.elts) != len(values.elts):
        always = not any(isinstance(e, ast.Starred) for e in (*targets.elts, *values.elts))
        raise c.error(node, f"{len(values.elts)} values for {len(targets.elts)} names", always=always)
    found = []
    for item in values.elts:
        value = c.expr(item)
        if value.kind is not None and not value.known:
            value = Value(value.type, c.temp(value.code), c.temp(value.valid) if value.valid else "")
        found.append(value)
    for target, value in zip(targets.elts, found, strict=True):
        _store(c, target, value)


@statement(ast.AnnAssign)
def _annotated(c: Lowering, node: ast.AnnAssign) -> None:
    if node.value is not None:
        _store(c, node.target, c.expr(node.value))


@statement(ast.AugAssign)
def _augmented(c: Lowering, node: ast.AugAssign) -> None:
    before = c.expr(_loaded(node.target))
    _store(c, node.target, binary(c, node, node.op, before, c.expr(node.value)))


def _loaded(target: ast.expr) -> ast.expr:
    if isinstance(target, ast.Name):
        return ast.copy_location(ast.Name(target.id, ast.Load()), target)
    if isinstance(target, ast.Attribute):
        return ast.copy_location(ast.Attribute(target.value, target.attr, ast.Load()), target)
    return target


def _store(c: Lowering, target: ast.expr, value: Value) -> None:
    if isinstance(target, ast.Name):
        assign_local(c, target, target.id, value)
        return
    if isinstance(target, ast.Attribute):
        owner = c.expr(target.value)
        if isinstance(owner.type, StateType):
            store_field(c, target, owner.type, target.attr, value)
            return
        raise c.error(
            target, f"{describe(owner.type)} cannot be changed", "keep what is needed in a state field", always=True
        )
    if isinstance(target, ast.Tuple):
        raise c.error(target, "several names take as many values", "write a, b = x, y")
    raise c.error(target, "this cannot be assigned to", "assign to a state field or a local")


# Branches


@statement(ast.If)
def _if(c: Lowering, node: ast.If) -> None:
    try:
        test = truth_of(c, node.test)
    except CompileError as error:
        # The branches may tell types that the test needs.
        c.errors.append(error)
        test = "False"
    before = c.assigned
    with c.captured(depth=1) as first:
        c.assigned = None if before is None else set(before)
        c.body(node.body)
        after_first = c.assigned
    with c.captured(depth=1) as second:
        c.assigned = None if before is None else set(before)
        c.body(node.orelse)
        after_second = c.assigned
    c.assigned = _meet(after_first, after_second)
    c.line(f"if {test}:")
    with c.indented():
        c.lines.extend(first)
    if second:
        c.line("else:")
        with c.indented():
            c.lines.extend(second)


def _meet(a: set[str] | None, b: set[str] | None) -> set[str] | None:
    if a is None or b is None:
        return a if b is None else b
    return a & b


@statement(ast.Pass)
def _pass(c: Lowering, _node: ast.Pass) -> None:
    c.line("pass")


@statement(ast.Break)
def _break(c: Lowering, _node: ast.Break) -> None:
    c.line("break")
    c.assigned = None


@statement(ast.Continue)
def _continue(c: Lowering, _node: ast.Continue) -> None:
    c.line("continue")
    c.assigned = None


@statement(ast.Assert)
def _assert(c: Lowering, node: ast.Assert) -> None:
    c.guard(f"not {truth_of(c, node.test)}", status.RAISED)


@statement(ast.Raise)
def _raise(c: Lowering, _node: ast.Raise) -> None:
    # What is raised, and with which words, the twin will say: it folds again whenever a handler fails.
    c.line(c.fail(status.RAISED))
    c.assigned = None


@statement(ast.Return)
def _return(c: Lowering, node: ast.Return) -> None:
    try:
        value = Value(NoneType(), "0", constant=None) if node.value is None else c.expr(node.value)
        leave(c, node, value)
    finally:
        c.assigned = None


def leave(c: Lowering, node: ast.AST, value: Value) -> None:
    """The end of a path: with the status of a handler, or the result of a helper."""
    if c.role != "helper":
        if not isinstance(value.type, NoneType):
            raise c.error(node, "a handler returns nothing", "assign to self, then write return")
        c.line(f"return {'deleted' if c.deletes else 0}")
        return
    if not is_scalar(value.type):
        raise c.error(node, f"{describe(value.type)} cannot be returned", "return one value")
    value = plain(c, value)
    type_ = value.type if c.result is None else join(c.result, value.type)
    if type_ is None:
        what = f"one return gives {describe(c.result)}, another {describe(value.type)}" if c.result else ""
        raise c.error(node, what, "a function returns one type: write float(...), or 0.0 for 0")
    if type_ != c.result:
        c.result, c.changed = type_, True
    c.line(f"return 0{returned(c, value, type_)}")


def returned(c: Lowering, value: Value, type_: StaticType) -> str:
    """What follows the status in a helper's return."""
    if isinstance(type_, NoneType):
        return ", 0"
    code, valid = widened(c, value, type_)
    return f", {code}, {valid}" if isinstance(type_, ValueType) and type_.optional else f", {code}"


# Loops


@statement(ast.For)
def _for(c: Lowering, node: ast.For) -> None:
    if node.orelse:
        raise c.error(node, "for ... else is not supported", "set a local in the loop and test it behind")
    before = None if c.assigned is None else set(c.assigned)
    over = node.iter
    counted = _called(c, over) is builtins.enumerate
    if isinstance(over, ast.Call) and counted:
        if len(over.args) != 1 or over.keywords or not isinstance(node.target, ast.Tuple) or len(node.target.elts) != 2:
            raise c.error(node, "enumerate is supported as `for i, x in enumerate(list)`")
        targets = list(node.target.elts)
        over = over.args[0]
    else:
        targets = [node.target]
    if not all(isinstance(t, ast.Name) for t in targets):
        raise c.error(node, "a loop over these takes a single name", "name the fields of the element in the loop")
    try:
        if isinstance(over, ast.Call) and _called(c, over) is builtins.range:
            if counted:
                raise c.error(node, "enumerate of a range is not supported", "count with a local")
            _for_range(c, node, over, targets[0])
        else:
            _for_list(c, node, over, targets)
    finally:
        # The body may have run no time at all.
        c.assigned = before


def _called(c: Lowering, node: ast.expr) -> object:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in c.local_names:
        return c.expr(node.func).constant
    return None


def _for_range(c: Lowering, node: ast.For, over: ast.Call, target: ast.expr) -> None:
    try:
        bounds = _range(c, over)
    except CompileError as error:
        c.errors.append(error)
        bounds = "0"
    c.temps += 1
    index = f"t{c.temps}"
    c.line(f"for {index} in range({bounds}):")
    _body(c, node, lambda: _assign_target(c, target, Value(INT, index)))


def _range(c: Lowering, over: ast.Call) -> str:
    """The arguments of a range that counts as Python's does: its length must fit int64."""
    if not 1 <= len(over.args) <= 3 or over.keywords:
        raise c.error(over, "range takes one to three ints")
    values = []
    for part in over.args:
        value = c.required(part, plain(c, c.scalar(part)))
        if value.kind not in (Kind.INT, Kind.BOOL):
            raise c.error(part, f"range takes ints, not {describe(value.type)}", "write int(x)", always=True)
        values.append(Value(INT, as_int(value), constant=value.constant))
    start, stop, step = (
        (Value(INT, "0", constant=0), values[0], None)
        if len(values) == 1
        else (values[0], values[1], values[2] if len(values) == 3 else None)
    )
    if step is not None and step.known and step.constant == 0:
        raise c.error(over, "range with step 0 fails always", always=True)
    if step is None or (step.known and step.constant in (1, -1)):
        if not (start.known and start.constant == 0):
            first = c.atom(start.code)
            c.checked(f"sub({stop.code}, {first})", status.REFUSED)
            start = Value(INT, first)
    else:
        for value in (start, stop, step):
            if not value.known or abs(value.constant) >= _RANGE_LIMIT:
                code = c.atom(value.code)
                c.guard(f"{code} <= {-_RANGE_LIMIT} or {code} >= {_RANGE_LIMIT}", status.REFUSED)
        if not step.known:
            c.guard(f"{step.code} == 0", status.RANGE)
    return ", ".join(v.code for v in (start, stop, step) if v is not None)


def _for_list(c: Lowering, node: ast.For, over: ast.expr, targets: list[ast.expr]) -> None:
    value = c.expr(over)
    if not isinstance(value.type, (ListType, StateListType)):
        raise c.error(
            node,
            f"a loop over {describe(value.type)} is not supported",
            "loop over range(n), a list of the event, or a last or buckets field",
        )
    c.temps += 1
    index = f"t{c.temps}"
    bounds = list_range(c, value)
    place, first = index, ""
    if isinstance(value.type, ListType):
        place = f"natural({index})"
        first = c.temp(bounds.split(",", 1)[0]) if len(targets) == 2 else ""
    c.line(f"for {index} in range({bounds}):")

    def bind() -> None:
        if len(targets) == 2:
            _assign_target(c, targets[0], Value(INT, f"({index} - {first})" if first else index))
        _assign_target(c, targets[-1], listed_at(c, value, place))

    name = value.type.name if isinstance(value.type, StateListType) else ""
    c.iterated.append(name)
    _body(c, node, bind)
    c.iterated.pop()


def _assign_target(c: Lowering, target: ast.expr, value: Value) -> None:
    assert isinstance(target, ast.Name)
    assign_local(c, target, target.id, value)


def _body(c: Lowering, node: ast.For, bind: Callable[[], None]) -> None:
    with c.indented():
        bind()
        c.body(node.body)


# Calls as statements


@statement(ast.Expr)
def _expression(c: Lowering, node: ast.Expr) -> None:
    call = node.value
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        owner = c.expr(call.func.value)
        if isinstance(owner.type, StateType) and call.func.attr == "delete":
            _delete(c, call, owner.type)
            return
        if isinstance(owner.type, StateListType):
            arguments = [c.expr(a) for a in call.args]
            if c.role == "helper":
                raise c.error(call, f"{owner.type.name} is changed in a helper", "change it in the handler")
            state_method(c, call, owner.type, call.func.attr, arguments)
            return
    c.expr(call)


def _delete(c: Lowering, node: ast.Call, state: StateType) -> None:
    if c.role != "handler" or state.variable != "s":
        raise c.error(node, f"delete() in a {c.role} is not supported", "call self.delete() in the handler")
    if node.args or node.keywords:
        raise c.error(node, "delete takes no arguments", always=True)
    if not c.deletes:
        c.deletes = c.changed = True
    c.line("deleted = 1")
