"""Where work runs: in process, in threads, on Ray. ``open_engine`` is the way in; nothing starts by importing this."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from runner.engine.auto import Choice, EngineName, choose
from runner.engine.base import Cancelled, Engine, NodeAnswer, raise_if_cancelled
from runner.engine.modules import Modules, gather
from runner.engine.threads import InProcessEngine, ThreadEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Cancelled",
    "Choice",
    "Engine",
    "EngineName",
    "InProcessEngine",
    "Modules",
    "NodeAnswer",
    "ThreadEngine",
    "choose",
    "gather",
    "open_engine",
    "raise_if_cancelled",
]


@contextmanager
def open_engine(choice: Choice, *, address: str | None = None, modules: Modules | None = None) -> Iterator[Engine]:
    """The chosen engine, ended on leaving however that happens. Raises EngineError where Ray cannot be had."""
    engine: Engine
    if choice.name == "ray":
        from runner.engine.ray import RayEngine

        engine = RayEngine(choice.workers, address=address, modules=modules)
    elif choice.name == "threads":
        engine = ThreadEngine(choice.workers)
    else:
        engine = InProcessEngine()
    try:
        yield engine
    except BaseException:
        engine.cancel()
        raise
    finally:
        engine.close()
