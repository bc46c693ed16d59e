"""The author's functions as source: syntax trees with the lines of their files, and what the names in them stand for.

Not for running anything: trees are read, compared and (by the twin and the compiler) rewritten.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "MISSING",
    "PROJECTION_MODULE",
    "FunctionSource",
    "Use",
    "body_nodes",
    "class_function",
    "function_source",
    "global_names",
    "is_authored",
    "line_of_name",
    "local_names",
    "resolve",
    "scoped_nodes",
    "uses",
    "value_of",
]

PROJECTION_MODULE = "runner.authoring.projection"
"""Where the base class and its decorators stand; they are looked through, not into."""
MISSING: Any = type("missing", (), {"__repr__": lambda _: "missing"})()
"""What ``resolve`` gives for a name that is not defined (yet)."""


@dataclass(frozen=True)
class FunctionSource:
    """A function and its syntax tree; line numbers in the tree are the file's."""

    function: Callable[..., Any]
    node: ast.FunctionDef
    file: str

    @property
    def line(self) -> int:
        """The line of its ``def``."""
        return self.node.lineno

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the positional parameters."""
        return tuple(a.arg for a in (*self.node.args.posonlyargs, *self.node.args.args))


@dataclass(frozen=True)
class Use:
    """A name or dotted name that a function reads and does not assign, and what it stands for (perhaps MISSING).

    value: of the longest part of the dotted name that leads through modules and classes; rest: what follows it.
    """

    node: ast.expr
    name: str
    value: Any
    rest: tuple[str, ...] = ()


@functools.lru_cache(maxsize=64)
def _file_tree(file: str, text: str) -> tuple[ast.Module, dict[tuple[str, int], ast.FunctionDef]]:
    tree = ast.parse(text, file)
    found = {(n.name, _first_line(n)): n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    return tree, found


def _read(file: str, names: dict[str, Any] | None = None) -> str:
    linecache.checkcache(file)
    return "".join(linecache.getlines(file, names))


def function_source(function: Callable[..., Any]) -> FunctionSource:
    """The source of a plain Python function (wrappers that keep ``__wrapped__`` are looked through).

    Raises DefinitionError where the text is not to be had (typed into an interpreter), or it is a lambda.
    """
    function = inspect.unwrap(function)
    code = function.__code__
    file = code.co_filename
    text = _read(file, function.__globals__)
    if not text:
        raise DefinitionError(
            f"the source of {function.__qualname__} cannot be read",
            hint="put it into a module file",
            file=file,
            line=code.co_firstlineno,
        )
    node = _file_tree(file, text)[1].get((code.co_name, code.co_firstlineno))
    if node is None:
        raise DefinitionError(
            f"{function.__qualname__} is not a function that is written with def in its file",
            hint="write it with def; if the file changed since it was imported, start again",
            file=file,
            line=code.co_firstlineno,
        )
    return FunctionSource(function, node, file)


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def line_of_name(file: str, class_name: str, near: int, name: str) -> int:
    """The line at which a class body assigns or annotates a name; ``near`` (the class's line) where that is not
    found.
    """
    try:
        tree = _file_tree(file, _read(file))[0]
    except SyntaxError:
        return near
    classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == class_name]
    for statement in min(classes, key=lambda n: abs(n.lineno - near)).body if classes else []:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return statement.lineno
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return statement.lineno
    return near


def is_authored(value: object, near: Callable[..., Any] | None = None) -> bool:
    """Whether it is a Python function (or a cached one) of the author's, to be looked into.

    Functions of the standard library, of the runner and of installed packages are not, except where ``near``, the
    function that uses it, is of the same package.
    """
    function = inspect.unwrap(value) if callable(value) else value
    if not isinstance(function, types.FunctionType):
        return False
    return authored_module(function.__module__ or "", function.__code__.co_filename, near)


def authored_module(module: str, file: str, near: Callable[..., Any] | None = None) -> bool:
    """Whether a module is the author's own code."""
    top = module.partition(".")[0]
    if file.startswith("<") and not linecache.getlines(file):
        return False
    if top in sys.stdlib_module_names and top != "__main__":
        return False
    if top == "runner" and not module.startswith("runner.testing.samples"):
        return False
    if near is not None and (near.__module__ or "").partition(".")[0] == top:
        return True
    return "site-packages" not in file and "dist-packages" not in file


def resolve(function: Callable[..., Any], name: str) -> Any:
    """The value of a name that a function uses and does not assign: from its closure, module or builtins; else
    MISSING.
    """
    function = inspect.unwrap(function)
    if name in function.__code__.co_freevars:
        cell = (function.__closure__ or ())[function.__code__.co_freevars.index(name)]
        try:
            return cell.cell_contents
        except ValueError:  # assigned later in the enclosing function
            return MISSING
    if name in function.__globals__:
        return function.__globals__[name]
    return getattr(builtins, name, MISSING)


def local_names(node: ast.FunctionDef) -> frozenset[str]:
    """Parameters and assigned names of a function; not those of comprehensions and functions inside of it."""
    return _parameters(node.args) | _assigned(node.body)


_InnerScope = (
    ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef
)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_INNER = (*_COMPREHENSIONS, ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)


def _inner_names(node: _InnerScope) -> frozenset[str]:
    """Names that are local inside of a comprehension, lambda or inner function, beside those around it."""
    if isinstance(node, _COMPREHENSIONS):
        return _assigned([g.target for g in node.generators])
    return _parameters(node.args) | (frozenset() if isinstance(node, ast.Lambda) else _assigned(node.body))


def _outer_parts(node: _InnerScope) -> list[ast.expr]:
    """What of a comprehension, lambda or inner function is computed in the scope around it."""
    if isinstance(node, _COMPREHENSIONS):
        return [node.generators[0].iter]
    return [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]


def _parameters(arguments: ast.arguments) -> frozenset[str]:
    return frozenset(a.arg for a in ast.walk(arguments) if isinstance(a, ast.arg))


def _assigned(nodes: Sequence[ast.AST]) -> frozenset[str]:
    names: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _INNER):
            # Only ``:=`` in a comprehension assigns in the scope around it.
            if isinstance(node, _COMPREHENSIONS):
                names |= {n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr)}
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names.add(node.name)
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        waiting += ast.iter_child_nodes(node)
    return frozenset(names)


def global_names(file: str) -> frozenset[str]:
    """Names that some function of a file rebinds through ``global``."""
    text = _read(file)
    return _globals_of(file, text) if text else frozenset()


@functools.lru_cache(maxsize=64)
def _globals_of(file: str, text: str) -> frozenset[str]:
    return frozenset(name for n in ast.walk(_file_tree(file, text)[0]) if isinstance(n, ast.Global) for name in n.names)


def body_nodes(node: ast.FunctionDef) -> Iterator[ast.AST]:
    """All nodes that run when it is called or defined: body and defaults; not decorators or annotations of
    arguments.
    """
    return (inner for inner, _ in scoped_nodes(node))


def scoped_nodes(node: ast.FunctionDef) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """``body_nodes``, each with the names that are local where it stands."""
    local = local_names(node)
    for part in (*node.body, *node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
        yield from _running(part, local)


def _running(node: ast.AST, local: frozenset[str]) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    yield node, local
    outer: set[int] = set()
    inside = local
    if isinstance(node, _INNER):
        outer = {id(part) for part in _outer_parts(node)}
        inside = local | _inner_names(node)
    for name, child in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for inner in child if isinstance(child, list) else [child]:
            if isinstance(inner, ast.AST):
                yield from _running_part(inner, local, inside, outer)


def _running_part(
    node: ast.AST, local: frozenset[str], inside: frozenset[str], outer: set[int]
) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    if isinstance(node, (ast.comprehension, ast.arguments)):
        yield node, inside
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.arg):
                yield from _running(child, local if id(child) in outer else inside)
    else:
        yield from _running(node, inside)


def value_of(function: Callable[..., Any], node: ast.expr, local: frozenset[str], owner: type | None = None) -> Any:
    """The value of a name or dotted name, as far as modules and classes lead; MISSING where it is local or unknown.

    owner: the projection class, where the function is one of its methods: ``self.method`` is then the method.
    """
    if isinstance(node, ast.Name):
        return MISSING if node.id in local else resolve(function, node.id)
    if isinstance(node, ast.Attribute):
        if owner is not None and isinstance(node.value, ast.Name):
            code = inspect.unwrap(function).__code__
            if code.co_argcount and node.value.id == code.co_varnames[0]:
                return class_function(owner, node.attr)
        base = value_of(function, node.value, local)
        if isinstance(base, (types.ModuleType, type)):
            return getattr(base, node.attr, MISSING)
    return MISSING


def class_function(owner: type, name: str) -> Any:
    """The author's method of that name in a projection class, unwrapped; MISSING where it has none."""
    for base in owner.__mro__:
        found = base.__dict__.get(name)
        if isinstance(found, (types.FunctionType, staticmethod)) and base.__module__ != PROJECTION_MODULE:
            return inspect.unwrap(found.__func__ if isinstance(found, staticmethod) else found)
    return MISSING


def uses(source: FunctionSource, owner: type | None = None) -> tuple[Use, ...]:
    """Every name and dotted name that a function reads from outside of itself, in the order of the tree."""
    inner: set[int] = set()
    found: list[Use] = []
    for node, local in scoped_nodes(source.node):
        if not isinstance(node, (ast.Attribute, ast.Name)) or not isinstance(node.ctx, ast.Load) or id(node) in inner:
            continue
        chain: list[ast.expr] = [node]
        while isinstance(chain[-1], ast.Attribute):
            chain.append(chain[-1].value)
            inner.add(id(chain[-1]))
        if not isinstance(chain[-1], ast.Name):
            inner -= {id(n) for n in chain if not isinstance(n, (ast.Name, ast.Attribute))}
            continue
        for i, part in enumerate(chain):
            value = value_of(source.function, part, local, owner)
            if value is not MISSING:
                rest = tuple(n.attr for n in reversed(chain[:i]) if isinstance(n, ast.Attribute))
                found.append(Use(node, ast.unparse(part), value, rest))
                break
        else:
            if chain[-1].id not in local:
                found.append(Use(node, chain[-1].id, MISSING))
    return tuple(found)
