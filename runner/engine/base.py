"""What an engine is: where the tasks of a run are worked on. Nothing here starts anything."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

__all__ = ["Cancelled", "Engine", "NodeAnswer", "cancellation", "raise_if_cancelled"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class NodeAnswer:
    """What ``on_every_node`` got from one machine."""

    node: str
    answer: object
    """What the function returned; an ``Exception`` where it raised or the machine did not answer."""


class Engine(Protocol):
    """Runs module-level functions over tasks. Tasks and results pickle and are small: the data is in files.

    All engines give the same results; only the order in which they arrive differs.
    """

    @property
    def name(self) -> str:
        """``"in-process"``, ``"threads"`` or ``"ray"``."""

    @property
    def workers(self) -> int:
        """How many tasks are worked on at a time."""

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Generator[R, None, None]:
        """Results as they complete. The first exception of a task is raised with its data; what has not begun is
        cancelled then, as it is when the generator is closed: use ``contextlib.closing``. A worker that dies is
        replaced and its task run again.

        Raises EngineError where workers keep dying.
        """

    def on_every_node(self, function: Callable[[T], R], task: T) -> tuple[NodeAnswer, ...]:
        """The function's answer from each machine that may be given tasks."""

    def cancel(self) -> None:
        """Give up everything under way, from any thread: the iterator of ``run`` raises Cancelled."""

    def close(self) -> None:
        """End the workers and what was started for them. Never raises; may be called twice."""


class Cancelled(BaseException):
    """Raised inside a task whose run was given up; not an error of the task."""


_given_up: ContextVar[Callable[[], bool]] = ContextVar("given_up", default=lambda: False)


@contextmanager
def cancellation(given_up: Callable[[], bool]) -> Iterator[None]:
    """While a task runs in this thread, ``raise_if_cancelled`` asks ``given_up``."""
    token = _given_up.set(given_up)
    try:
        yield
    finally:
        _given_up.reset(token)


def raise_if_cancelled() -> None:
    """Called by long tasks between batches, so that Ctrl-C does not wait for a whole partition."""
    if _given_up.get()():
        raise Cancelled
