"""The author's modules on their way to workers that do not have them: source texts, imported there from memory.

A worker imports the shipped text even where it has a module of that name: the fingerprints were taken from the shipped.
Files keep the author's path and lines in messages, and ``inspect.getsource`` gives the shipped text.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import linecache
import sys
import sysconfig
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from runner.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Modules", "ShippedModule", "gather", "install"]


@dataclass(frozen=True)
class ShippedModule:
    """One module's text. ``file``: the author's path; ``path``: a package's ``__path__``, None for a plain module."""

    name: str
    source: str
    file: str
    path: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Modules:
    """What a run ships, by name. Equal texts have equal digests."""

    modules: tuple[ShippedModule, ...] = ()

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.modules).encode()).hexdigest()


def gather(names: Iterable[str]) -> Modules:
    """These modules, their packages, and every module of the author that they use names of (not installed ones).

    Raises EngineError for ``__main__``, which a worker cannot import under that name, and for a file that is no Python
    any more. Files that changed since they were imported show by their definitions' fingerprints at the workers.
    """
    found: dict[str, ShippedModule] = {}
    seen: set[str] = set()
    todo = list(names)
    named = frozenset(todo)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name == "__main__":
            raise EngineError(
                "workers cannot import projections or events that are defined in the started script",
                hint="move the classes to a module of their own, or use --engine threads",
            )
        module = importlib.import_module(name) if name in named else sys.modules.get(name)
        if module is None or not _is_authors(module):
            continue
        shipped = _shipped(module)
        if shipped is None:
            continue
        found[name] = shipped
        if "." in name:
            todo.append(name.rpartition(".")[0])
        todo.extend((_uses(module) | _imported(shipped)) - {"__main__"})
    return Modules(tuple(found[name] for name in sorted(found)))


def _uses(module: ModuleType) -> set[str]:
    names: set[str] = set()
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(name, str):
            names.add(name)
    return names


def _imported(shipped: ShippedModule) -> set[str]:
    """Names that its import statements may mean: a constant does not say which module it came from."""
    package = shipped.name if shipped.path is not None else shipped.name.rpartition(".")[0]
    try:
        tree = ast.parse(shipped.source, shipped.file)
    except SyntaxError as error:
        raise EngineError(f"{shipped.file}: changed since it was imported: {error.msg}", hint="run it again") from None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def _is_authors(module: ModuleType) -> bool:
    """Neither the runner's, nor Python's, nor installed: the workers have those."""
    if module.__name__.partition(".")[0] == "runner":
        return False
    file = getattr(module, "__file__", None)
    if not file or not str(file).endswith(".py"):
        return False
    # An embedded interpreter's library lies inside an author's directory too (a .venv), so the longest root decides.
    installed = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not any(Path(file).is_relative_to(root) for root in installed if root)


def _shipped(module: ModuleType) -> ShippedModule | None:
    file = str(module.__file__)
    try:
        source = Path(file).read_text(encoding="utf-8")
    except OSError:
        source = "".join(linecache.getlines(file, vars(module)))
        if not source:
            return None
    path = getattr(module, "__path__", None)
    return ShippedModule(module.__name__, source, file, None if path is None else tuple(path))


class _Loader(importlib.abc.InspectLoader):
    def __init__(self, shipped: ShippedModule) -> None:
        self._shipped = shipped

    def get_source(self, fullname: str) -> str:
        return self._shipped.source

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._shipped.source, self._shipped.file)

    def is_package(self, fullname: str) -> bool:
        return self._shipped.path is not None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), vars(module))  # noqa: S102  # importing is executing the author's module


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, modules: Modules) -> None:
        self.digest = modules.digest
        self.by_name = {module.name: module for module in modules.modules}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        shipped = self.by_name.get(fullname)
        if shipped is None:
            return None
        spec = ModuleSpec(fullname, _Loader(shipped), origin=shipped.file, is_package=shipped.path is not None)
        spec.has_location = True
        if shipped.path is not None:
            spec.submodule_search_locations = list(shipped.path)
        return spec


def install(modules: Modules) -> None:
    """Make these importable here, in the place of what has their names. Doing it again costs nothing."""
    if not modules.modules:
        return
    finder = _Finder(modules)
    if any(isinstance(other, _Finder) and other.digest == finder.digest for other in sys.meta_path):
        return
    sys.meta_path[:] = [other for other in sys.meta_path if not isinstance(other, _Finder)]
    sys.meta_path.insert(0, finder)
    for shipped in modules.modules:
        sys.modules.pop(shipped.name, None)
        # An entry without a time is taken as it is: the file of that path on this machine may hold something else.
        linecache.cache[shipped.file] = (
            len(shipped.source),
            None,
            shipped.source.splitlines(keepends=True),
            shipped.file,
        )
