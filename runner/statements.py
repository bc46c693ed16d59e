"""SQL as named text: ``.sql`` files beside the modules, each statement after a line ``-- name: <name>``."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

__all__ = ["statements"]


@cache
def statements(package: str, file: str) -> dict[str, str]:
    """The statements of a file by their names, without their comment lines."""
    text = files(package).joinpath(file).read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\s*$", text, flags=re.MULTILINE)[1:]
    found = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        found[name] = "\n".join(lines).strip()
    return found
