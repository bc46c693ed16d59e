"""The projections that runner.toml names: its modules imported, their projection classes found."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.config.table import nearest
from runner.errors import ConfigError, DefinitionError, RunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from runner.authoring.definition import ProjectionDefinition
    from runner.config.model import Config

__all__ = ["import_beside", "load_definitions"]


def load_definitions(config: Config, names: Sequence[str] | None = None) -> list[ProjectionDefinition]:
    """The definitions of these projections in this order; of all in the order of the modules where ``names`` is None.

    A projection is known by its read model's name. The directory of runner.toml comes first on the import path.
    Raises ConfigError (no such module or projection, one name twice), DefinitionError.
    """
    found: dict[str, ProjectionDefinition] = {}
    for module in config.project.modules:
        for definition in _definitions(_imported(config, module)):
            known = found.setdefault(definition.name, definition)
            if known.cls is not definition.cls:
                raise ConfigError(
                    f"{config.file}: two projections are called {definition.name}: "
                    f"{known.module}.{known.qualname} and {definition.module}.{definition.qualname}",
                    hint='give one another name: class X(Projection, name="other")',
                )
    if names is None:
        return list(found.values())
    missing = [name for name in names if name not in found]
    if missing:
        hint = nearest(missing[0], found) or "[project] modules names the modules with projections"
        raise ConfigError(f"{config.file}: no projection is called {missing[0]}", hint=hint)
    return [found[name] for name in dict.fromkeys(names)]


def _imported(config: Config, name: str) -> ModuleType:
    root = str(config.root)
    try:
        return import_beside(config.root, name)
    except RunnerError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            hint = f"[project] modules takes import paths; {root} is on the import path"
            raise ConfigError(f"{config.file}: there is no module {name}", hint=hint) from None
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error


def import_beside(directory: Path, name: str) -> ModuleType:
    """Import a module with the directory of runner.toml first on the import path. Raises whatever the module does."""
    root = str(directory)
    if sys.path[:1] != [root]:
        sys.path[:] = [root, *(place for place in sys.path if place != root)]
    _forget_namesakes(name, directory)
    return importlib.import_module(name)


def _forget_namesakes(name: str, root: Path) -> None:
    """A process that reads several projects has perhaps imported another one's module of the same name."""
    place = root.joinpath(*name.split("."))
    here = next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)
    known = sys.modules.get(name)
    if here is None or known is None or known.__file__ is None or Path(known.__file__).resolve() == here.resolve():
        return
    top = name.partition(".")[0]
    for module in [m for m in sys.modules if m == top or m.startswith(f"{top}.")]:
        del sys.modules[module]
    importlib.invalidate_caches()


def _failed(name: str, error: Exception) -> DefinitionError:
    if isinstance(error, SyntaxError):
        file, line = error.filename or "", error.lineno or 0
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
        file, line = (frames[-1].filename, frames[-1].lineno or 0) if frames else ("", 0)
    return DefinitionError(f"module {name} cannot be imported: {type(error).__name__}: {error}", file=file, line=line)


def _definitions(module: ModuleType) -> list[ProjectionDefinition]:
    # definition stands above config in the import order; whoever declares projections has loaded it.
    definition_of = importlib.import_module("runner.authoring.definition").definition_of
    classes: list[type[Any]] = [
        value for value in vars(module).values() if isinstance(value, type) and "__definition__" in vars(value)
    ]
    # A class without handlers that others inherit from is no projection itself.
    return [
        definition_of(cls)
        for cls in dict.fromkeys(classes)
        if cls.__dict__["__definition__"].handlers or (cls.__module__ == module.__name__ and not cls.__subclasses__())
    ]
