"""What would make a fold give other bytes another time is refused: clock, random, environment, I/O, mutable globals.

The check reads syntax trees; it is a fence against mistakes, not a sandbox.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import types
from datetime import date
from typing import TYPE_CHECKING, Any

from runner.constants import constant_text
from runner.errors import DefinitionError
from runner.source_code import (
    MISSING,
    FunctionSource,
    Use,
    body_nodes,
    function_source,
    global_names,
    is_authored,
    local_names,
    resolve,
    uses,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.definition import ProjectionDefinition

__all__ = ["authored_functions", "check_purity", "is_method"]

_MODULES = {
    "time": "the clock",
    "random": "random numbers",
    "secrets": "random numbers",
    "numpy.random": "random numbers",
    **dict.fromkeys(("os", "posix", "nt", "sys", "platform", "getpass", "locale", "gc"), "the environment"),
    **dict.fromkeys(
        ("io", "_io", "socket", "subprocess", "pathlib", "urllib", "http", "tempfile", "shutil", "glob"), "I/O"
    ),
    **dict.fromkeys(("logging", "requests", "httpx", "sqlite3", "psycopg", "duckdb", "builtins.open"), "I/O"),
    **dict.fromkeys(("threading", "multiprocessing", "asyncio", "signal", "ctypes", "contextvars"), "other threads"),
}
_BUILTINS = {
    **dict.fromkeys(("open", "input", "print", "breakpoint"), "I/O"),
    **dict.fromkeys(
        ("exec", "eval", "compile", "__import__", "globals", "locals", "vars", "delattr"), "what cannot be looked into"
    ),
    **dict.fromkeys(("id", "hash"), "what differs from process to process"),
    "super": "what cannot be looked into",
}
_CLOCK = ("now", "utcnow", "today")
_UUIDS = ("uuid1", "uuid4", "uuid6", "uuid7", "getnode")
_HINTS = {
    "the clock": "use e.recorded_at, the time of the event",
    "random numbers": "derive it from the event, or let the one who makes the event draw it",
    "the environment": "write a constant of the module; a change of it changes the fingerprint",
    "I/O": "a fold only changes its state; put into the event what it needs",
    "other threads": "a fold is one loop over events in order",
    "what cannot be looked into": "call a function by its name",
    "what differs from process to process": "compare the values themselves",
    "the decimal context": "declare the rounding at the field: Scale(2, 'ROUND_HALF_EVEN')",
}


def check_purity(definition: ProjectionDefinition, *, complete: bool = True) -> None:
    """Raise DefinitionError where a handler, key function, merge or helper is not pure, or (merged keys) deletes.

    complete: names that are not defined are errors too; False while the module is still being imported.
    """
    for root, source in authored_functions(definition, complete=complete):
        fence = _Fence(root, source, definition, complete)
        for use in uses(source, definition.cls if is_method(definition, source) else None):
            fence.check_use(use)
        for node in body_nodes(source.node):
            fence.check_node(node)


def authored_functions(
    definition: ProjectionDefinition, *, complete: bool = True
) -> Iterator[tuple[str, FunctionSource]]:
    """Handlers, key functions, merge, and every function of the author's that they call, each once, with the root's
    name.
    """
    roots: list[tuple[str, Callable[..., Any]]] = [(h.name, h.function) for h in definition.handlers]
    roots += [(k.name, k.function) for h in definition.handlers for k in h.key if k.function is not None]
    if definition.merge is not None:
        roots.append(("merge", definition.merge.function))
    seen: set[Callable[..., Any]] = set()
    waiting = [(name, inspect.unwrap(f)) for name, f in reversed(roots)]
    while waiting:
        root, function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        try:
            source = function_source(function)
        except DefinitionError:
            if complete:
                raise
            continue
        yield root, source
        for use in uses(source, definition.cls if is_method(definition, source) else None):
            waiting += [(root, f) for f in _functions_in(use.value, function)]


def is_method(definition: ProjectionDefinition, source: FunctionSource) -> bool:
    """Whether the function is a method, whose first parameter is the state."""
    for base in definition.cls.__mro__:
        found = base.__dict__.get(source.node.name)
        if isinstance(found, types.FunctionType) and inspect.unwrap(found) is source.function:
            return True
    return any(h.function is source.function for h in definition.handlers)


def _functions_in(value: Any, near: Callable[..., Any]) -> list[Callable[..., Any]]:
    if isinstance(value, type) and not hasattr(value, "__event__") and not hasattr(value, "__record_type__"):
        inner = [v.__func__ if isinstance(v, (staticmethod, classmethod)) else v for v in vars(value).values()]
        return [inspect.unwrap(v) for v in inner if isinstance(v, types.FunctionType) and is_authored(v, near)]
    return [inspect.unwrap(value)] if is_authored(value, near) else []


class _Fence:
    """The check of one function; errors name the handler through which it is reached."""

    def __init__(self, root: str, source: FunctionSource, definition: ProjectionDefinition, complete: bool) -> None:
        self.root, self.source, self.definition, self.complete = root, source, definition, complete
        self.local = local_names(source.node)
        self.handler = f"{definition.qualname}.{root}"
        if root != source.node.name:
            self.handler += f" (through {source.node.name})"

    def refuse(self, node: ast.AST, what: str, hint: str) -> None:
        line = getattr(node, "lineno", self.source.line)
        raise DefinitionError(what, hint=hint, file=self.source.file, line=line, handler=self.handler)

    def check_use(self, use: Use) -> None:
        value, name = use.value, ast.unparse(use.node)
        if value is MISSING:
            if self.complete:
                self.refuse(use.node, f"{name} is not defined", "define it in the module, or import it")
            return
        root = use.name.partition(".")[0]
        reason = _impurity(resolve(self.source.function, root) if root not in self.local else None) or _impurity(value)
        if reason:
            self.refuse(use.node, f"{name} is {reason}: a fold must give the same bytes each time", _HINTS[reason])
        if root in global_names(self.source.file) and root in self.source.function.__globals__:
            self.refuse(
                use.node, f"{root} is rebound through `global`", "a fold may only use constants; keep it in the state"
            )
        if isinstance(value, (types.ModuleType, type)) or callable(value):
            if (
                isinstance(value, types.FunctionType)
                and value.__name__ == "<lambda>"
                and is_authored(value, self.source.function)
            ):
                self.refuse(use.node, f"{name} is a lambda", "write it with def")
            return
        if constant_text(value) is None:
            kind = type(value).__name__
            hint = {
                "list": "a tuple",
                "set": "a frozenset",
                "dict": "a chain of if, or types.MappingProxyType with compiled=False",
            }
            self.refuse(
                use.node,
                f"{name} is a {kind}, which could change",
                f"make it {hint.get(kind, 'a constant: int, str, Decimal, a tuple ...')}",
            )

    def check_node(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            self.refuse(node, f"rebinds {', '.join(node.names)} outside of the function", "keep it in a state field")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.refuse(node, "imports inside of the function", "import at the top of the module")
        elif isinstance(node, (ast.Await, ast.Yield, ast.YieldFrom)):
            self.refuse(node, "waits or yields", "a handler is a plain function that changes self")
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)):
            self._check_target(node)
        elif isinstance(node, ast.Call):
            self._check_call(node)
        elif isinstance(node, (ast.For, ast.comprehension)) and self._is_set(node.iter):
            self.refuse(
                node.iter,
                "goes through a set, whose order differs from process to process",
                "write a tuple, or sorted(...)",
            )

    def _check_target(self, node: ast.Attribute) -> None:
        base = node.value
        while isinstance(base, (ast.Attribute, ast.Subscript)):
            base = base.value
        if isinstance(base, ast.Name) and base.id not in self.local:
            self.refuse(node, f"changes {ast.unparse(node)}, which outlives the fold", "keep it in a state field")

    def _check_call(self, node: ast.Call) -> None:
        func = node.func
        if isinstance(func, ast.Attribute):
            known = value_of(self.source.function, func, self.local, self.definition.cls)
            if func.attr in _CLOCK and not is_authored(known):
                self.refuse(node, f"{ast.unparse(func)}() reads the clock", _HINTS["the clock"])
            if func.attr == "astimezone" and not node.args and not node.keywords:
                self.refuse(node, "astimezone() without a zone reads the machine's zone", "write astimezone(UTC)")
            if func.attr == "fromtimestamp" and len(node.args) + len(node.keywords) < 2:
                self.refuse(
                    node,
                    "fromtimestamp() without a zone reads the machine's zone",
                    "write datetime.fromtimestamp(x, UTC)",
                )
            if func.attr == "delete" and self.definition.merged and isinstance(func.value, ast.Name):
                first = self.source.parameters[:1]
                if func.value.id in first:
                    self.refuse(
                        node,
                        "self.delete() in a projection whose rows are merged",
                        "a row of another partition would stay; count down instead",
                    )
        elif (
            isinstance(func, ast.Name)
            and func.id in ("list", "tuple", "enumerate", "zip", "iter")
            and func.id not in self.local
        ) and any(self._is_set(a) for a in node.args):
            self.refuse(node, "goes through a set, whose order differs from process to process", "write sorted(...)")

    def _is_set(self, node: ast.expr) -> bool:
        if isinstance(node, (ast.Set, ast.SetComp)):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset"):
            return True
        return isinstance(value_of(self.source.function, node, self.local), (set, frozenset))


def _impurity(value: Any) -> str:
    """What it reaches that a fold must not; "" for nothing."""
    if value is os.environ:
        return "the environment"
    if isinstance(value, types.ModuleType):
        return _module_reason(value.__name__)
    if (
        isinstance(value, types.BuiltinFunctionType)
        and isinstance(value.__self__, type)
        and issubclass(value.__self__, date)
    ):
        return "the clock" if value.__name__ in _CLOCK else ""
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, (type, types.ModuleType)):
        return _module_reason(type(owner).__module__)  # a method of an object, as random's functions are
    name = getattr(value, "__name__", "")
    module = getattr(value, "__module__", None) or type(value).__module__
    if not isinstance(module, str) or isinstance(value, functools.partial):
        return ""
    if module == "builtins" and callable(value):
        return _BUILTINS.get(name, "")
    if module in ("uuid", "_uuid") and name in _UUIDS:
        return "random numbers"
    if module in ("decimal", "_decimal", "_pydecimal") and name in ("getcontext", "setcontext", "localcontext"):
        return "the decimal context"
    return _module_reason(module)


def _module_reason(module: str) -> str:
    parts = module.split(".")
    return next((_MODULES[name] for i in range(len(parts), 0, -1) if (name := ".".join(parts[:i])) in _MODULES), "")
