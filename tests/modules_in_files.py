"""Texts as imported modules in files: definitions read the source of their classes."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

__all__ = ["module_in_file"]


def module_in_file(text: str, directory: Path, name: str) -> ModuleType:
    """The text in ``directory``/``name``.py, imported under that name."""
    file = directory / f"{name}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
