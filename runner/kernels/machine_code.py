"""Where machine code is kept, and what it depends on: a private directory for the user, with digests in its names.

Numba looks only at a function's own file when it decides whether machine code on disk is still good. Functions here
call each other across files, so all that decides the code (the text of all kernels, Numba, Python, the processor) goes
into a digest, and the code of other surroundings lies in another directory.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

import llvmlite
import numba
from llvmlite import binding

__all__ = ["cache_directory", "keep_by_surroundings", "surroundings"]


def cache_directory() -> Path:
    """Where compiled modules are kept; made, and private to the user."""
    named = os.environ.get("RUNNER_CACHE_DIR")
    home = (
        Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "projection-runner"
    )
    fallback = Path(tempfile.gettempdir()) / f"projection-runner-{os.getuid()}"
    for base in (home, fallback):
        directory = base / "kernels"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(directory, os.W_OK) and directory.stat().st_uid == base.stat().st_uid == os.getuid():
            return directory
    return Path(tempfile.mkdtemp(prefix="projection-runner-"))


@cache
def surroundings() -> bytes:
    """32 bytes: a digest of all that decides machine code beside a module's own source."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).resolve().parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    for fact in (numba.__version__, llvmlite.__version__, sys.version, binding.get_host_cpu_name()):
        digest.update(fact.encode() + b"\0")
    digest.update(binding.get_host_cpu_features().flatten().encode())
    return digest.digest()


def keep_by_surroundings() -> None:
    """Have Numba keep the code of functions declared from now on in a directory named by ``surroundings``.

    It overrides ``NUMBA_CACHE_DIR`` for this process, which could hand out the code of former surroundings.
    """
    numba.config.CACHE_DIR = str(cache_directory() / f"library-{surroundings().hex()[:32]}")
