"""For authors and adapters: given/expect, the merge property, strategies, conformance suites.

``given`` needs nothing but the runner; ``check_merge`` and ``strategies`` need Hypothesis (``pip install
projection-runner[testing]``). The suites that every adapter passes are modules of their own:
``runner.testing.sources``, ``runner.testing.read_models``, ``runner.testing.executors``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.testing.batches import memory_log, sent
    from runner.testing.history import Given, given
    from runner.testing.merge import check_merge

__all__ = ["Given", "check_merge", "given", "memory_log", "sent"]

_MODULES = {
    "Given": "runner.testing.history",
    "given": "runner.testing.history",
    "check_merge": "runner.testing.merge",
    "memory_log": "runner.testing.batches",
    "sent": "runner.testing.batches",
}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"runner.testing has no public name {name!r}")
    return getattr(import_module(module), name)
