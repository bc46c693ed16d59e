"""The author's functions with every arithmetic result checked: what the twin runs.

A function's syntax tree is rewritten so that every int result, also an intermediate one, must fit int64; helpers
that it calls are rewritten with it. Lines stay, so a traceback names the author's file and line. Everything else is
Python's own.
"""

from __future__ import annotations

import ast
import copy
import inspect
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from runner.authoring.authored_code import is_method
from runner.authoring.field_values import microseconds
from runner.authoring.source_code import MISSING, function_source, is_authored, local_names, scoped_nodes, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.authoring.definition import ProjectionDefinition

__all__ = ["CheckedFunctions", "checked_functions"]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def _fits(value: Any) -> Any:
    if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
        raise _too_large(value)
    if type(value) is timedelta and not INT64_MIN <= microseconds(value) <= INT64_MAX:
        raise OverflowError(f"{value} does not fit int64 microseconds")
    return value


def _too_large(value: int) -> OverflowError:
    shown = str(value) if value.bit_length() < 200 else f"a number of {value.bit_length()} bits"
    return OverflowError(f"{shown} does not fit int64")


def _power(base: Any, exponent: Any) -> Any:
    # Never computed where it cannot fit: 10 ** 10**9 would not end.
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1 and exponent > 64:
        raise OverflowError(f"{base} ** {exponent} does not fit int64")
    return _fits(base**exponent)


def _shift(value: Any, by: Any) -> Any:
    if isinstance(value, int) and isinstance(by, int) and value and by > 64:
        raise OverflowError(f"{value} << {by} does not fit int64")
    return _fits(value << by)


def _sum(values: Iterable[Any], start: Any = 0) -> Any:
    total = start
    for value in values:
        total = _fits(total + value)
    return total


_NAMES: dict[str, Callable[..., Any]] = {"_int64_": _fits, "_power_": _power, "_shift_": _shift, "_sum_": _sum}
_CHECKED_FUNCTIONS = (abs, int, round, math.floor, math.ceil, math.trunc)
"""Checked where they are called by a name, whichever it is; of an attribute's call every result is."""
_SAFE_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.RShift, ast.MatMult)


@dataclass(frozen=True)
class CheckedFunctions:
    """The rewritten functions of a projection. handlers: by name; keys: by name of the @key function."""

    handlers: dict[str, Callable[..., Any]]
    keys: dict[str, Callable[..., Any]]
    merge: Callable[..., Any] | None
    files: frozenset[str]
    """The author's files, to find the author's line in a traceback."""


def checked_functions(definition: ProjectionDefinition) -> CheckedFunctions:
    """Handlers, key functions, merge and their helpers, rewritten once per class."""
    made = definition.cls.__dict__.get("__checked__")
    if not isinstance(made, CheckedFunctions):
        made = definition.cls.__checked__ = _rewritten(definition)
    return made


def _rewritten(definition: ProjectionDefinition) -> CheckedFunctions:
    writer = _Writer(definition)
    handlers = {h.name: writer.checked(h.function) for h in definition.handlers}
    keys = {k.name: writer.checked(k.function) for h in definition.handlers for k in h.key if k.function is not None}
    merge = None if definition.merge is None else writer.checked(definition.merge.function)
    return CheckedFunctions(handlers, keys, merge, frozenset(writer.files))


class _Writer:
    """Rewrites each function once; functions may call each other in any way."""

    def __init__(self, definition: ProjectionDefinition) -> None:
        self.definition = definition
        self.made: dict[Callable[..., Any], Callable[..., Any]] = {}
        self.files: set[str] = set()

    def checked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        function = inspect.unwrap(function)
        if function in self.made:
            return self.made[function]
        source = function_source(function)
        self.files.add(source.file)
        owner = self.definition.cls if is_method(self.definition, source) else None
        node = copy.deepcopy(source.node)
        rewriter = _Rewriter(function, node, owner)
        node = rewriter.visit(node)
        name = f"_checked_{len(self.made)}_"
        node.name = name
        _strip(node)
        module = ast.fix_missing_locations(ast.Module([node], []))
        names = {**function.__globals__, **_closure(function), **_NAMES}
        exec(compile(module, source.file, "exec", dont_inherit=True), names)  # noqa: S102 - the author's own code
        made: Callable[..., Any] = names[name]
        made.__defaults__ = function.__defaults__
        made.__kwdefaults__ = function.__kwdefaults__
        self.made[function] = made
        for used, helper in rewriter.helpers.items():
            names[used] = self.checked(helper)
        return made


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    values = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # not assigned yet; using it fails as it does in the author's function
            continue
    return values


def _strip(node: ast.FunctionDef) -> None:
    # Defaults are the function's own objects, put back after; decorators have done their work.
    node.decorator_list, node.returns = [], None
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    none = ast.Constant(None)
    node.args.defaults = [none for _ in node.args.defaults]
    node.args.kw_defaults = [none if d is not None else None for d in node.args.kw_defaults]


class _Rewriter(ast.NodeTransformer):
    """One function's tree. helpers: the names put in the place of the author's functions."""

    def __init__(self, function: Callable[..., Any], node: ast.FunctionDef, owner: type | None) -> None:
        self.function, self.owner = function, owner
        self.local = local_names(node)
        self.scopes = dict(scoped_nodes(node))
        self.state = node.args.args[0].arg if owner is not None and node.args.args else ""
        self.helpers: dict[str, Callable[..., Any]] = {}

    def _helper(self, node: ast.expr, owner: type | None = None) -> str | None:
        value = value_of(self.function, node, self.local, owner)
        if value is MISSING or not is_authored(value, self.function):
            return None
        helper = inspect.unwrap(value)
        name = next((n for n, f in self.helpers.items() if f is helper), f"_helper_{len(self.helpers)}_")
        self.helpers[name] = helper
        return name

    def visit(self, node: ast.AST) -> Any:
        # A comprehension's variable hides a helper of its name inside of the comprehension only.
        around = self.local
        self.local = self.scopes.get(node, around)
        visited = super().visit(node)
        self.local = around
        return visited

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load):
            name = self._helper(node)
            if name is not None:
                return ast.copy_location(ast.Name(name, ast.Load()), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.ctx, ast.Load):
            name = self._helper(node)
            if name is not None:
                return ast.copy_location(ast.Name(name, ast.Load()), node)
        self.generic_visit(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        # A call for its effect alone has no result to check.
        if isinstance(node.value, ast.Call):
            node.value = self._call(node.value)
            return node
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        func = node.func
        if isinstance(func, ast.Name) and func.id not in self.local:
            if func.id == "sum":
                return self._named("_sum_", node, [self.visit(a) for a in node.args], node.keywords)
            if func.id == "pow" and len(node.args) == 2 and not node.keywords:
                return self._named("_power_", node, [self.visit(a) for a in node.args])
        checked = isinstance(func, ast.Name) and any(
            value_of(self.function, func, self.local, None) is f for f in _CHECKED_FUNCTIONS
        )
        call = self._call(node)
        if isinstance(func, ast.Attribute) or checked:
            return self._named("_int64_", node, [call])
        return call

    def _call(self, node: ast.Call) -> ast.Call:
        func = node.func
        if (
            isinstance(func, ast.Attribute)
            and isinstance(func.value, ast.Name)
            and func.value.id == self.state
            and self.owner
        ):
            name = self._helper(func, self.owner)
            if name is not None:
                static = isinstance(inspect.getattr_static(self.owner, func.attr), staticmethod)
                first: list[ast.expr] = [] if static else [ast.copy_location(ast.Name(self.state, ast.Load()), func)]
                node.func = ast.copy_location(ast.Name(name, ast.Load()), func)
                node.args = [*first, *(self.visit(a) for a in node.args)]
                node.keywords = [self.visit(k) for k in node.keywords]
                return node
        self.generic_visit(node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if type(node.value) is int and not INT64_MIN <= node.value <= INT64_MAX:
            return self._named("_int64_", node, [node])
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            # The smallest int64 is written as minus a number that does not fit.
            value = node.operand.value
            return node if type(value) is not int or -value >= INT64_MIN else self._named("_int64_", node, [node])
        self.generic_visit(node)
        return self._named("_int64_", node, [node]) if isinstance(node.op, ast.USub) else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        return self._checked_operation(node)

    def _checked_operation(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, ast.Pow):
            return self._named("_power_", node, [node.left, node.right])
        if isinstance(node.op, ast.LShift):
            return self._named("_shift_", node, [node.left, node.right])
        return node if isinstance(node.op, _SAFE_OPERATORS) else self._named("_int64_", node, [node])

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt | list[ast.stmt]:
        target = node.target
        if isinstance(target, ast.Name):
            # In two steps: the operation may change a list in place.
            value = self.visit(node.value)
            load = ast.copy_location(ast.Name(target.id, ast.Load()), target)
            if isinstance(node.op, (ast.Pow, ast.LShift)):
                changed = self._checked_operation(ast.copy_location(ast.BinOp(load, node.op, value), node))
                return ast.copy_location(ast.Assign([target], changed), node)
            node.value = value
            if isinstance(node.op, _SAFE_OPERATORS):
                return node
            check = ast.Expr(self._named("_int64_", node, [load]))
            return [node, ast.copy_location(check, node)]
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            load_attribute = ast.copy_location(ast.Attribute(target.value, target.attr, ast.Load()), target)
            changed = ast.copy_location(ast.BinOp(load_attribute, node.op, self.visit(node.value)), node)
            return ast.copy_location(ast.Assign([target], self._checked_operation(changed)), node)
        self.generic_visit(node)
        if isinstance(node.op, (ast.Pow, ast.LShift)) or not isinstance(target, ast.Subscript):
            return node
        again = copy.deepcopy(target)
        again.ctx = ast.Load()
        check = ast.Expr(self._named("_int64_", node, [again]))
        return [node, ast.copy_location(check, node)]

    def _named(
        self, name: str, at: ast.AST, arguments: list[ast.expr], keywords: list[ast.keyword] | None = None
    ) -> ast.expr:
        call = ast.Call(ast.Name(name, ast.Load()), arguments, [self.visit(k) for k in keywords or []])
        return ast.copy_location(call, at)
