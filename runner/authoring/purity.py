"""What would make a fold give other bytes another time is refused: clock, random, environment, I/O, mutable globals.

The check reads syntax trees; it is a fence against mistakes, not a sandbox.
"""

from __future__ import annotations

import ast
import inspect
import os
import types
from datetime import date
from enum import Enum
from enum import property as enum_property
from typing import TYPE_CHECKING, Any

from runner.authoring.authored_code import authored_code, default_values, is_method
from runner.authoring.class_members import class_file, classes_in, holds_set, is_special, members, unsteady
from runner.authoring.constants import constant_text
from runner.authoring.events import Event, Record
from runner.authoring.source_code import (
    MISSING,
    PROJECTION_MODULE,
    FunctionSource,
    Use,
    body_nodes,
    global_names,
    is_authored,
    line_of_name,
    local_names,
    resolve,
    scoped_nodes,
    uses,
    value_of,
)
from runner.errors import DefinitionError

if TYPE_CHECKING:
    from runner.authoring.definition import ProjectionDefinition

__all__ = ["check_purity"]

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
        ("exec", "eval", "compile", "__import__", "globals", "locals", "vars", "getattr", "setattr", "delattr"),
        "what cannot be looked into",
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
    "what cannot be looked into": "write the name itself: a function, self.x, a constant of the module",
    "what differs from process to process": "compare the values themselves",
    "the decimal context": "declare the rounding at the field: Scale(2, 'ROUND_HALF_EVEN')",
}


_INTO_OBJECTS = frozenset(
    {
        "__dict__",
        "__class__",
        "__setattr__",
        "__delattr__",
        "__getattribute__",
        "__globals__",
        "__builtins__",
        "__code__",
        "__closure__",
        "__defaults__",
        "__kwdefaults__",
        "__self__",
        "__func__",
        "__wrapped__",
        "__bases__",
        "__mro__",
        "__subclasses__",
    }
)
_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)
_ORDERLESS = ("len", "sorted", "any", "all", "set", "frozenset")
_SET_HINT = "write a tuple, a list or sorted(...); a set may stand behind in, len and sorted only"


def check_purity(definition: ProjectionDefinition, *, complete: bool = True) -> None:
    """Raise DefinitionError where a handler, key function, merge or helper is not pure, or (merged keys) deletes.

    complete: names that are not defined are errors too; False while the module is still being imported.
    """
    _check_methods(definition)
    code = authored_code(definition, complete=complete)
    for root, source in code.functions:
        fence = _Fence(root, source, definition, complete)
        fence.check_function()
        for use in uses(source, definition.cls if is_method(definition, source) else None):
            fence.check_use(use)
        for node, local in scoped_nodes(source.node):
            fence.local = local
            fence.check_node(node)
    for cls, root in code.classes.items():
        _check_class(cls, f"{definition.qualname}.{root}", code.names)


def _check_class(cls: type, handler: str, names: frozenset[str]) -> None:
    """Raise DefinitionError where a class that a fold uses has an attribute that could change."""
    for name, value in members(cls).items():
        kind = unsteady(name, value) if name in names or is_special(name) else ""
        if kind:
            file = class_file(cls)
            raise DefinitionError(
                f"{cls.__qualname__}.{name} is a {kind}, which {'has no order' if 'set' in kind else 'could change'}",
                hint="make it a constant (int, str, Decimal, a tuple ...) or a method written with def",
                file=file,
                line=line_of_name(file, cls.__name__, 1, name),
                handler=handler,
            )


def _check_methods(definition: ProjectionDefinition) -> None:
    """Raise DefinitionError where a function of a projection class is not the one written there with def."""
    for base in definition.cls.__mro__:
        if base.__module__.partition(".")[0] == "runner" and base.__name__ == "Projection":
            continue
        for name, value in base.__dict__.items():
            function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            if isinstance(function, types.FunctionType) and function.__globals__.get("__name__") == PROJECTION_MODULE:
                function = getattr(function, "__wrapped__", function)  # a handler made to be called by hand
            if not isinstance(function, types.FunctionType) or not is_authored(function):
                continue
            inner = inspect.unwrap(function)
            written = {f"{b.__qualname__}.{name}" for b in base.__mro__}  # inherited handlers are set on each class
            if inner is not function or inner.__qualname__ not in written:
                raise DefinitionError(
                    f"{base.__qualname__}.{name} is changed by a decorator, which a fold would leave out",
                    hint="write what it does into the method, or call a helper function",
                    file=inner.__code__.co_filename,
                    line=inner.__code__.co_firstlineno,
                    handler=f"{definition.qualname}.{name}",
                )


class _Fence:
    """The check of one function; errors name the handler through which it is reached."""

    def __init__(self, root: str, source: FunctionSource, definition: ProjectionDefinition, complete: bool) -> None:
        self.root, self.source, self.definition, self.complete = root, source, definition, complete
        self.local = local_names(source.node)
        # Where a class may be named: it is made, raised or asked for, and goes nowhere from there.
        self.asked: set[int] = set()
        # Where a set may stand: its order decides nothing there.
        self.orderless: set[int] = set()
        for node in body_nodes(source.node):
            self._note_places(node)
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
        if isinstance(value, types.ModuleType):
            what = f"{name} is not defined" if use.rest else f"{name} is a module, passed on out of sight"
            if self.complete or not use.rest:
                self.refuse(use.node, what, "name what you need of it here: module.NAME")
            return
        if isinstance(value, type):
            self._check_class_use(use, value)
            return
        if isinstance(value, types.FunctionType) or callable(value):
            self._check_function_use(use, value)
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

    def _check_class_use(self, use: Use, value: type) -> None:
        """A class of the author's is used where it stands: passed on, its attributes could be changed out of sight."""
        passed = not use.rest and id(use.node) not in self.asked and not issubclass(value, (Enum, Event, Record))
        if passed and any(True for _ in classes_in(value, self.source.function)):
            self.refuse(
                use.node,
                f"{use.name} is a class, passed on out of sight",
                f"name what you need of it here: {use.name}.NAME",
            )

    def _check_function_use(self, use: Use, value: Any) -> None:
        if is_authored(value, self.source.function) and use.rest:
            self.refuse(use.node, f"{ast.unparse(use.node)} is kept at a function", "make it a constant of the module")
        is_class_method = isinstance(value, types.MethodType) and isinstance(value.__self__, type)
        owner = getattr(value, "__self__", None)
        if not isinstance(value, _FUNCTIONS) and not is_class_method:
            kind = type(value).__name__
            self.refuse(use.node, f"{use.name} is a {kind}, which cannot be looked into", "write def")
        if isinstance(value, types.BuiltinFunctionType) and not isinstance(owner, (type, types.ModuleType, type(None))):
            self.refuse(use.node, f"{use.name} is a method of a {type(owner).__name__}", "write def")
        if not is_authored(value, self.source.function):
            return
        if value.__name__ == "<lambda>":
            self.refuse(use.node, f"{use.name} is a lambda", "write it with def")
        if inspect.unwrap(value) is not value and value.__globals__.get("__name__") != PROJECTION_MODULE:
            line = inspect.unwrap(value).__code__.co_firstlineno
            self.refuse(
                use.node,
                f"{use.name} is changed by a decorator (line {line}), which a fold would leave out",
                "write what the decorator does into the function",
            )

    def check_function(self) -> None:
        """Refuse decorators, which a fold leaves out, and defaults that could change."""
        function, node = self.source.function, self.source.node
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            value = value_of(function, called, frozenset())
            if value not in (staticmethod, classmethod, property, enum_property) and not (
                getattr(value, "__module__", "") in (PROJECTION_MODULE, "typing", "abc")
                and getattr(value, "__name__", "") in ("on", "key", "override", "final", "abstractmethod")
            ):
                self.refuse(
                    decorator,
                    f"{node.name} has the decorator @{ast.unparse(called)}, which a fold would leave out",
                    "write what it does into the function",
                )
        written = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
        for value, default in zip(default_values(function), written, strict=False):
            if constant_text(value) is None or holds_set(value):
                self.refuse(
                    default,
                    f"{node.name} has the default {ast.unparse(default)}: a {type(value).__name__} outlives the call",
                    "make it a constant (int, str, Decimal, a tuple ...), or name it in the body",
                )

    def _note_places(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call):
            self.asked.add(id(node.func))
            if isinstance(node.func, ast.Name) and node.func.id not in self.local:
                if node.func.id in ("isinstance", "issubclass") and len(node.args) == 2:
                    self.asked.update(id(n) for n in ast.walk(node.args[1]))
                # sorted(..., key=...) leaves equal keys in the order of the set.
                if node.func.id in _ORDERLESS and not node.keywords:
                    self.orderless.update(id(a) for a in node.args)
            elif isinstance(node.func, ast.Attribute) and node.func.attr in ("isdisjoint", "issubset", "issuperset"):
                self.orderless.update((id(node.func.value), id(node.func), *map(id, node.args)))
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            self.asked.add(id(node.value))  # refused for the change itself
        elif isinstance(node, ast.Raise) and node.exc is not None:
            self.asked.add(id(node.exc))
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            self.asked.update(id(n) for n in ast.walk(node.type))
        elif isinstance(node, ast.MatchClass):
            self.asked.add(id(node.cls))
        elif isinstance(node, ast.Compare):
            self.orderless.update(map(id, (node.left, *node.comparators)))
            self.asked.update(map(id, (node.left, *node.comparators)))
        elif isinstance(node, ast.BinOp) and self._is_set(node):
            self.orderless.update((id(node.left), id(node.right)))

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
        if isinstance(node, ast.Attribute) and node.attr in _INTO_OBJECTS:
            self.refuse(node, f"reads {ast.unparse(node)}", _HINTS["what cannot be looked into"])
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.decorator_list:
            self.refuse(node, f"{node.name} has a decorator inside of the function", "write what it does")
        if isinstance(node, ast.expr) and id(node) not in self.orderless and self._is_set(node):
            self.refuse(node, f"{ast.unparse(node)} is a set, whose order differs from process to process", _SET_HINT)

    def _check_target(self, node: ast.Attribute) -> None:
        base = node.value
        while isinstance(base, (ast.Attribute, ast.Subscript)):
            base = base.value
        if not isinstance(base, ast.Name) or base.id not in self.local:
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

    def _is_set(self, node: ast.expr) -> bool:
        if isinstance(node, (ast.Set, ast.SetComp)):
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)):
            return self._is_set(node.left) or self._is_set(node.right)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in self.local:
            return node.func.id in ("set", "frozenset")
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
    if not isinstance(module, str):
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
