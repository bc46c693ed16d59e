"""The command line: the only part that prints. ``app.py`` knows the commands; each loads what it needs."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The entry point of ``runner`` and ``python -m runner``."""
    from runner.cli.app import run

    sys.exit(run(sys.argv[1:]))
