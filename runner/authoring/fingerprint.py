"""The fingerprint of a projection: a hash of all that decides its output.

In it: the normalised syntax trees of handlers, key functions, merge and every helper that they call; the values of
the constants that these use; state fields, their types and defaults; key; handled stored types, their paths,
coercions and defaults; version, compiled; and FOLD_SEMANTICS. Not in it: file names, line numbers, comments,
docstrings, annotations, the order of classes in a module, indexes.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import types
from typing import TYPE_CHECKING, Any

from runner.authoring.authored_code import authored_code, default_values, is_method
from runner.authoring.class_members import classes_in, members_text
from runner.authoring.constants import constant_text
from runner.authoring.events import Event, Record
from runner.authoring.source_code import FunctionSource, is_authored, uses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.authoring.definition import ProjectionDefinition
    from runner.authoring.events import EventDefinition
    from runner.values import ValueType

__all__ = ["FOLD_SEMANTICS", "fingerprint_of", "normalised"]

FOLD_SEMANTICS = 1
"""Counts up when the runner folds the same handlers to other values than before."""


def fingerprint_of(definition: ProjectionDefinition) -> str:
    """64 hex digits, equal for definitions that give equal rows, in every process and Python version."""
    digest = hashlib.sha256()
    for line in _lines(definition):
        digest.update(line.encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()


def _lines(definition: ProjectionDefinition) -> list[str]:
    code = authored_code(definition)
    sources = [source for _, source in code.functions]
    # Functions and classes are known by their place in the order of use: names of modules and classes change no row.
    numbers = {source.function: i for i, source in enumerate(sources)}
    classes = {cls: i for i, cls in enumerate(code.classes)}
    lines = [f"semantics {FOLD_SEMANTICS}", f"version {definition.version} compiled {definition.compiled}"]
    lines += [f"key {part.name} {_type(part.type)}" for part in definition.key]
    lines += [f"field {f.name} {_type(f.type)} {constant_text(f.default)}" for f in definition.fields]
    for handler in definition.handlers:
        lines.append(f"handler {numbers[inspect.unwrap(handler.function)]} each={handler.each!r}")
        lines += _event_lines(handler.event, definition.reads[handler.name])
        for k in handler.key:
            lines.append(f"  from {k.scope}:{k.name if k.function is None else numbers[inspect.unwrap(k.function)]}")
    if definition.merge is not None:
        lines.append(f"merge {numbers[inspect.unwrap(definition.merge.function)]}")
    for i, source in enumerate(sources):
        used = uses(source, definition.cls if is_method(definition, source) else None)
        shown = sorted({f"{u.name}={_used(u.value, source.function, numbers, classes)}" for u in used})
        lines.append(f"function {i} {normalised(source)} {shown}")
        if defaults := default_values(source.function):
            lines.append(f"  defaults {[_used(v, source.function, numbers, classes) for v in defaults]}")

    def number(value: Any) -> str:
        return _used(value, sources[0].function, numbers, classes)

    lines += [f"class {i} {members_text(c, sources[0].function, number, code.names)}" for c, i in classes.items()]
    return lines


def _event_lines(event: EventDefinition, reads: frozenset[str]) -> list[str]:
    """The stored types, and the fields that are read: a field more that no handler reads changes no row."""
    fields = sorted((f for f in event.fields if f.name in reads), key=lambda f: f.name)
    return [
        f"  types {sorted(event.types)}",
        *(
            f"  event {f.name} {_type(f.type)} {f.paths!r} {f.coerce!r} {f.has_default} {_default(f.default)}"
            for f in fields
        ),
    ]


def _default(value: object) -> str:
    text = constant_text(value)
    return repr(value) if text is None else text  # tuples of Records: their repr names fields and values


def _type(type_: ValueType) -> str:
    """A type's text without the place of Enum classes."""
    return re.sub(r"enum='[^']*'", "enum=''", repr(type_))


def _used(
    value: Any, near: Callable[..., Any], numbers: Mapping[Callable[..., Any], int], classes: Mapping[type, int]
) -> str:
    """What a name stands for, as a text."""
    brought = [f"class {classes[c]}" for c in classes_in(value, near) if c in classes]
    constant = constant_text(value)
    if constant is not None:
        return f"{constant} {brought}" if brought else constant
    if is_authored(value, near):
        return f"function {numbers.get(inspect.unwrap(value))}"
    if isinstance(value, types.MethodType):
        return f"method {value.__name__} of {brought}"
    if brought:
        return brought[0]
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__.rpartition('.')[2]}"
    if isinstance(value, type) and issubclass(value, (Event, Record)):
        return f"event {value.__qualname__} {[(f.name, _type(f.type), _default(f.default)) for f in value.__fields__]}"
    module = getattr(value, "__module__", None) or type(value).__module__
    return f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def normalised(source: FunctionSource) -> str:
    """A function's syntax tree as a text without name, decorators, docstrings, annotations and places."""
    return f"({_tree(source.node.args)}) {_body(source.node.body)}"


def _body(body: list[ast.stmt]) -> str:
    kept = [
        s
        for s in body
        if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) and isinstance(s.value.value, str))
    ]
    return _tree(kept)


_LEFT_OUT = (
    "annotation",
    "returns",
    "type_comment",
    "type_params",
    "decorator_list",
    "ctx",
    "kind",
    "lineno",
    "simple",
)


def _tree(node: object) -> str:
    if isinstance(node, list):
        return f"[{','.join(_tree(n) for n in node)}]"
    if isinstance(node, ast.Constant):
        return constant_text(node.value) or repr(node.value)
    if isinstance(node, ast.AST):
        # Empty fields are left out: newer Pythons have more of them.
        kept = [(name, v) for name, v in ast.iter_fields(node) if name not in _LEFT_OUT and v not in (None, [])]
        fields = [(name, _body(v) if name == "body" and isinstance(v, list) else _tree(v)) for name, v in kept]
        return f"{type(node).__name__}({','.join(f'{n}={t}' for n, t in fields)})"
    return repr(node)
