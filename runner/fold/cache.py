"""Compiled modules on disk: generated source is written to a file, compiled once, loaded by every later process.

One directory per module, named by a digest of its source, the runner's kernels, Numba's release and the processor::

    <cache>/<digest>/module.py      the source; Numba keeps machine code in __pycache__ beside it
    <cache>/<digest>/complete       written last: the machine code is there, loading it needs no lock

Where several processes want a module that is not there, one compiles under a file lock and the others wait, so no two
ever write one index (numba#4807). <cache> is ``$RUNNER_CACHE_DIR/kernels``, or ``projection-runner/kernels`` in
``$XDG_CACHE_HOME`` or ``~/.cache``, or a private temporary directory where neither can be written. It holds pickles, so
it must belong to the user who runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
from typing import TYPE_CHECKING

import numba
from filelock import FileLock

from runner.kernels.machine_code import cache_directory, surroundings

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

__all__ = ["compile_module", "load_module", "module_digest"]

_loaded: dict[str, ModuleType] = {}
_loading = threading.Lock()


def module_digest(source: str) -> str:
    """32 hex digits: equal for equal source on equal surroundings."""
    return hashlib.sha256(surroundings() + source.encode()).hexdigest()[:32]


def load_module(source: str, digest: str | None = None) -> ModuleType:
    """The module of this source, compiled where it is not yet; its entry points have signatures and ``cache=True``.

    Any number of processes and threads may ask at once. Loading from the cache takes milliseconds.
    digest: ``module_digest(source)``, where it is known.
    """
    digest = digest or module_digest(source)
    with _loading:
        found = _loaded.get(digest)
        if found is None:
            found = _loaded[digest] = _load(source, digest)
        return found


def compile_module(source: str, digest: str | None = None) -> None:
    """Compile it where its machine code is not on the disk yet: ``load_module`` then has only to load it."""
    digest = digest or module_digest(source)
    if not (cache_directory() / digest / "complete").exists():
        load_module(source, digest)


def _load(source: str, digest: str) -> ModuleType:
    directory = cache_directory() / digest
    complete = directory / "complete"
    if complete.exists():
        return _import(directory / "module.py", digest)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(directory / "lock"):
        if not complete.exists():
            # A compiler that was killed may have left anything: begin again from nothing.
            for left in sorted(directory.rglob("*"), reverse=True):
                if left.is_file() and left.name != "lock":
                    left.unlink()
            (directory / "module.py").write_text(source)
            module = _import(directory / "module.py", digest)
            complete.touch()
            return module
    return _import(directory / "module.py", digest)


def _import(file: Path, digest: str) -> ModuleType:
    name = f"runner_kernel_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Numba looks functions of a cached module up by its name.
    sys.modules[name] = module
    kept = numba.config.CACHE_DIR
    # Machine code beside the module, where ``complete`` says whether it is whole.
    numba.config.CACHE_DIR = ""
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        numba.config.CACHE_DIR = kept
    return module
