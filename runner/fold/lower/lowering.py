"""The lowering of one function: a syntax tree becomes lines of Python that Numba compiles, with statuses for failures.

``Lowering`` holds what is known while a function is walked: the lines so far, the types of its locals, which of them
are assigned on every path, the arrays that it reads. How each thing is lowered stands in the other modules of this
package, which enter their functions in the tables here.

A function is walked until the types of its locals stand still; the last walk's lines count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from runner.authoring.source_code import local_names
from runner.errors import CompileError
from runner.fold.types import StateType, StaticType, Value, describe, is_scalar
from runner.kernels import status
from runner.values import Kind

if TYPE_CHECKING:
    import enum

    from runner.authoring.definition import ProjectionDefinition, StateField
    from runner.authoring.source_code import FunctionSource

__all__ = [
    "ATTRIBUTES",
    "CALLS",
    "EXPRESSIONS",
    "METHODS",
    "STATEMENTS",
    "ArrayRef",
    "Lowering",
    "Program",
    "Scope",
    "TextRegistry",
    "attribute",
    "calls",
    "expression",
    "method",
    "statement",
]

Lower = Callable[..., Any]
EXPRESSIONS: dict[type[ast.expr], Callable[[Lowering, Any], Value]] = {}
STATEMENTS: dict[type[ast.stmt], Callable[[Lowering, Any], None]] = {}
CALLS: dict[Any, Callable[[Lowering, ast.Call, list[Value]], Value]] = {}
"""By the function or class that is called, with positional arguments."""
METHODS: dict[tuple[Kind, str], Callable[[Lowering, ast.Call, Value, list[Value]], Value]] = {}
"""By the receiver's kind and the name."""
ATTRIBUTES: dict[tuple[Kind, str], Callable[[Lowering, ast.Attribute, Value], Value]] = {}
"""By the kind of the value and the name."""


def expression(*kinds: type[ast.expr]) -> Callable[[Lower], Lower]:
    """Enter a function as the one that lowers these expressions."""
    return _entering(EXPRESSIONS, kinds)


def statement(*kinds: type[ast.stmt]) -> Callable[[Lower], Lower]:
    """Enter a function as the one that lowers these statements."""
    return _entering(STATEMENTS, kinds)


def calls(*functions: Any) -> Callable[[Lower], Lower]:
    """Enter a function as the one that lowers calls of these objects."""
    return _entering(CALLS, functions)


def method(kind: Kind, *names: str) -> Callable[[Lower], Lower]:
    """Enter a function as the one that lowers these methods of a kind."""
    return _entering(METHODS, [(kind, name) for name in names])


def attribute(kind: Kind, *names: str) -> Callable[[Lower], Lower]:
    """Enter a function as the one that lowers these attributes of a kind."""
    return _entering(ATTRIBUTES, [(kind, name) for name in names])


def _entering(table: dict[Any, Any], keys: Any) -> Callable[[Lower], Lower]:
    def enter(function: Lower) -> Lower:
        table.update(dict.fromkeys(keys, function))
        return function

    return enter


@dataclass(frozen=True, order=True)
class ArrayRef:
    """An array argument of a generated function.

    scope "header": per event of the batch (``position``, ``version``, ``recorded_at``), or for ``aggregate_id`` the
    codes ("values") and per code the pool id ("map" of ``aggregate_id``, ``source``, ``tenant``). "event": a payload
    column, per event of its type. "list": the flattened elements of a list field ``lines`` (``lines.sku`` where they
    are records), or its "offsets". "element": as "list", read at the index that an each-handler is called with.
    """

    scope: Literal["header", "event", "element", "list"]
    name: str
    part: Literal["values", "valid", "map", "offsets"]


class TextRegistry:
    """The strings that generated code names, in the order of their ids; interned first into every partition's pool."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {"": 0}

    def id(self, text: str) -> int:
        """The pool id of a text; 0 is the empty one."""
        return self._ids.setdefault(text, len(self._ids))

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them; texts[i] has id i."""
        return tuple(self._ids)


@dataclass
class Program:
    """What the generated functions of one projection share."""

    prefix: str
    definition: ProjectionDefinition
    texts: TextRegistry
    enums: dict[str, type[enum.Enum]] = field(default_factory=dict)
    """Classes of the enums seen so far, by ``ValueType.enum``."""
    chunks: list[str] = field(default_factory=list)
    """Tables and functions, each behind what it uses."""
    tables: dict[tuple[str, tuple[Any, ...]], str] = field(default_factory=dict)
    helpers: dict[Any, Any] = field(default_factory=dict)
    """Helpers compiled so far, by function and argument types (``calls``)."""
    calling: list[Any] = field(default_factory=list)
    """The author's functions that are being lowered, outermost first: none may come twice."""

    @property
    def projection(self) -> str:
        """The class's name, for errors."""
        return self.definition.cls.__name__

    def field(self, name: str) -> StateField | None:
        """A state field."""
        return self.definition.field(name)

    def name(self, kind: str, words: str = "") -> str:
        """A fresh name for a function or table."""
        return f"{kind}_{self.prefix}_{len(self.chunks)}{'_' + words if words else ''}"

    def table(self, dtype: str, values: tuple[Any, ...]) -> str:
        """The name of a constant array."""
        key = (dtype, tuple(map(repr, values)))
        if key not in self.tables:
            name = self.tables[key] = self.name("table")
            self.chunks.append(f"{name} = np.array([{', '.join(map(_literal, values))}], dtype=np.{dtype})\n")
        return self.tables[key]


def _literal(value: float) -> str:
    return repr(value) if isinstance(value, int) or value - value == 0.0 else f'float("{value!r}")'


@dataclass(frozen=True)
class Scope:
    """The author's function whose names are meant: its parameters, and where its free names are found."""

    source: FunctionSource
    parameters: dict[str, Value]
    escapes: bool
    """Its state is handed to a helper, which may change it in the middle of an expression."""

    @staticmethod
    def of(source: FunctionSource, parameters: dict[str, Value]) -> Scope:
        """The scope of a function with these arguments."""
        return Scope(source, parameters, _passes_on(source.node, parameters))


def _passes_on(node: ast.FunctionDef, parameters: dict[str, Value]) -> bool:
    """Whether a state is an argument, or has a method called that may change it."""
    states = {n for n, v in parameters.items() if isinstance(v.type, StateType)}

    def is_state(part: ast.expr) -> bool:
        return isinstance(part, ast.Name) and part.id in states

    return any(
        (isinstance(n.func, ast.Attribute) and n.func.attr != "delete" and is_state(n.func.value))
        or any(is_state(a) for a in (*n.args, *(k.value for k in n.keywords)))
        for n in ast.walk(node)
        if isinstance(n, ast.Call)
    )


@dataclass
class Lowering:
    """One generated function while it is made."""

    program: Program
    scope: Scope
    role: Literal["handler", "merge", "key", "helper"]
    label: str
    """"Orders.placed", for errors."""
    arrays: dict[ArrayRef, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    indent: int = 1
    temps: int = 0
    locals: dict[str, StaticType] = field(default_factory=dict)
    assigned: set[str] | None = field(default_factory=set)
    """Locals assigned on every path to here; None where no path leads here."""
    changed: bool = False
    """Something that earlier lines depend on was learnt: walk again."""
    deletes: bool = False
    result: StaticType | None = None
    """What a helper returns; None as long as no return was seen."""
    failure: str = ""
    """What follows the status in a failing return."""
    errors: list[CompileError] = field(default_factory=list)
    iterated: list[str] = field(default_factory=list)
    """State lists that loops around here go over."""

    # Names and types

    @property
    def local_names(self) -> frozenset[str]:
        """The author's names that are local to the function."""
        return local_names(self.scope.source.node)

    def array(self, scope: str, name: str, part: str) -> str:
        """The argument that holds an array."""
        ref = ArrayRef(scope, name, part)  # type: ignore[arg-type]  # callers pass the literals
        if ref not in self.arrays:
            self.arrays[ref] = f"a{len(self.arrays)}_{name.replace('.', '_')}"
        return self.arrays[ref]

    # Lines

    def line(self, text: str) -> None:
        """Add a line at the present depth."""
        self.lines.append("    " * self.indent + text)

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Lines one deeper; ``pass`` where none comes."""
        self.indent += 1
        before = len(self.lines)
        yield
        if all(line.lstrip().startswith("#") for line in self.lines[before:]):
            self.line("pass")
        self.indent -= 1

    @contextmanager
    def captured(self, depth: int = 0) -> Iterator[list[str]]:
        """Lines that may be needed or not, kept aside, so much deeper."""
        kept, self.lines = self.lines, []
        before = self.indent
        self.indent += depth
        mine = self.lines
        try:
            yield mine
        finally:
            self.indent = before
            self.lines = kept

    def temp(self, code: str) -> str:
        """A fresh variable with this value."""
        self.temps += 1
        self.line(f"t{self.temps} = {code}")
        return f"t{self.temps}"

    def atom(self, code: str) -> str:
        """The code itself where it is a name, a number or a part of a pair; else a variable with its value."""
        return code if re.fullmatch(r"\w+(\[\d\])?|\(?-?[\d.]+(e[+-]?\d+)?\)?", code) else self.temp(code)

    # Failures

    def fail(self, code: int | str) -> str:
        """The statement that leaves the function with a status."""
        return f"return {code}{self.failure}"

    def guard(self, condition: str, code: int | str) -> None:
        """Leave with a status where the condition holds."""
        self.line(f"if {condition}: {self.fail(code)}")

    def checked(self, call: str, code: int | None = None) -> str:
        """Call a function that gives (value, failed), leave where it failed: with its status, or with ``code``."""
        pair = self.temp(call)
        self.guard(f"{pair}[1]", f"{pair}[1]" if code is None else code)
        return f"{pair}[0]"

    def answered(self, call: str) -> str:
        """Call a pool function, which gives (status, value)."""
        pair = self.temp(call)
        self.guard(f"{pair}[0]", f"{pair}[0]")
        return f"{pair}[1]"

    def error(self, node: ast.AST, what: str, hint: str = "", *, always: bool = False) -> CompileError:
        """The refusal of a construct, at its line. always: plain Python fails there too, so that it is no way out."""
        source = self.scope.source
        out = "" if always else f"declare class {self.program.projection}(Projection, compiled=False)"
        return CompileError(
            what,
            hint=", or ".join(filter(None, (hint, out))),
            file=source.file,
            line=getattr(node, "lineno", source.line),
            handler=self.label,
        )

    # Walking

    def expr(self, node: ast.expr) -> Value:
        """Lower an expression."""
        lower = EXPRESSIONS.get(type(node))
        if lower is None:
            what, hint = _REFUSED.get(type(node), (f"{type(node).__name__} is not supported", ""))
            raise self.error(node, what, hint)
        value: Value = lower(self, node)
        return value

    def scalar(self, node: ast.expr) -> Value:
        """Lower an expression that must be a value, None included; a Literal counts as what it stands for."""
        value = self.expr(node)
        if not is_scalar(value.type) or value.kind in (Kind.LIST, Kind.RECORD, Kind.LAST, Kind.BUCKETS):
            raise self.error(node, f"{describe(value.type)} is not a value to compute with")
        return value

    def required(self, node: ast.AST, value: Value) -> Value:
        """The value without None: leaves with NONE_VALUE where there is none."""
        if not value.valid:
            return value
        self.guard(f"not {value.valid}", status.NONE_VALUE)
        assert value.kind is not None
        return Value(value.type.required, value.code)  # type: ignore[union-attr]  # only a ValueType has a kind

    def body(self, nodes: list[ast.stmt]) -> None:
        """Lower statements. An error is kept and the next one tried: it may tell a type that the first one needs."""
        for node in nodes:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring, or an ellipsis
            lower = STATEMENTS.get(type(node))
            reachable = self.assigned is not None
            depth = self.indent
            with self.captured() as lines:
                try:
                    if lower is None:
                        what, hint = _REFUSED.get(type(node), (f"{type(node).__name__} is not supported", ""))
                        # Python would delete a field of the state, and find it missing at the row's end.
                        raise self.error(node, what, hint, always=isinstance(node, ast.Delete))
                    lower(self, node)
                except CompileError as error:
                    self.errors.append(error)
                    self.indent = depth
            if reachable:
                self.line("# " + ast.unparse(node).split("\n", 1)[0])
                self.lines.extend(lines)


_LOOP = "write for i in range(n): ... break, or for x in <list>"
_REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.While: ("while is not supported: its end cannot be seen", _LOOP),
    ast.Try: ("try is not supported: a failure stops the fold", "test the condition with if"),
    ast.With: ("with is not supported", "a fold has nothing to open or lock"),
    ast.Lambda: ("lambda is not supported", "write a function of the module"),
    ast.FunctionDef: ("a function inside a handler is not supported", "write a function of the module"),
    ast.ClassDef: ("a class inside a handler is not supported", "write it in the module"),
    ast.ListComp: ("a list comprehension is not supported", "write a for loop that adds up what is needed"),
    ast.SetComp: ("a set comprehension is not supported", "write a for loop that adds up what is needed"),
    ast.DictComp: ("a dict comprehension is not supported", "write a for loop that adds up what is needed"),
    ast.GeneratorExp: ("a generator is not supported", "write a for loop that adds up what is needed"),
    ast.List: ("a list is not supported", "write a tuple for x in (...), or a last(n) field in state"),
    ast.Dict: ("a dict is not supported", "write if/elif, or an Enum"),
    ast.Set: ("a set is not supported", "write a tuple: x in (1, 2)"),
    ast.Starred: ("* is not supported", "name the values one by one"),
    ast.NamedExpr: (":= is not supported", "assign on a line of its own"),
    ast.Global: ("global is not supported: a fold keeps nothing outside its state", "make it a state field"),
    ast.Nonlocal: ("nonlocal is not supported: a fold keeps nothing outside its state", "make it a state field"),
    ast.Import: ("import inside a handler is not supported", "import at the top of the module"),
    ast.ImportFrom: ("import inside a handler is not supported", "import at the top of the module"),
    ast.Delete: ("del is not supported", "self.delete() removes the row; assign None or a default otherwise"),
    ast.Match: ("match is not supported", "write if/elif"),
    ast.Await: ("await is not supported: a fold waits for nothing", ""),
    ast.Yield: ("yield is not supported", ""),
    ast.YieldFrom: ("yield is not supported", ""),
}
