"""Engines inside this process: the caller's own thread, or N threads. Kernels release the interpreter lock, so threads
scale where the folds are compiled; there is nothing to start and nothing to pickle."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

from runner.engine.base import Cancelled, NodeAnswer, cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["InProcessEngine", "ThreadEngine"]

T = TypeVar("T")
R = TypeVar("R")

HERE = "this machine"


def _ask(function: Callable[[T], R], task: T) -> tuple[NodeAnswer, ...]:
    try:
        return (NodeAnswer(HERE, function(task)),)
    except Exception as error:
        return (NodeAnswer(HERE, error),)


class InProcessEngine:
    """One task after the other in the caller's thread: the slow, obvious twin of the other engines."""

    name = "in-process"
    workers = 1

    def __init__(self) -> None:
        self._given_up = threading.Event()

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Generator[R, None, None]:
        self._given_up.clear()
        for task in tasks:
            if self._given_up.is_set():
                raise Cancelled
            with cancellation(self._given_up.is_set):
                result = function(task)
            yield result

    def on_every_node(self, function: Callable[[T], R], task: T) -> tuple[NodeAnswer, ...]:
        return _ask(function, task)

    def cancel(self) -> None:
        self._given_up.set()

    def close(self) -> None:
        self.cancel()


class ThreadEngine:
    """N threads that live as long as one ``run``.

    Ctrl-C reaches the caller's thread while it waits for a result; the tasks under way then end at their next
    ``raise_if_cancelled``, and are waited for, so that nothing writes files after the run is over.
    """

    name = "threads"

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"an engine needs at least one worker, not {workers}")
        self.workers = workers
        self._runs: set[threading.Event] = set()

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Generator[R, None, None]:
        waiting = list(tasks)
        waiting.reverse()
        given_up = threading.Event()
        results: queue.SimpleQueue[tuple[R | None, BaseException | None]] = queue.SimpleQueue()
        expected = len(waiting)

        def work() -> None:
            with cancellation(given_up.is_set):
                while not given_up.is_set():
                    try:
                        task = waiting.pop()
                    except IndexError:
                        return
                    try:
                        results.put((function(task), None))
                    except BaseException as error:  # raised again in the caller's thread
                        results.put((None, error))
                        return
                results.put((None, Cancelled()))

        threads = [threading.Thread(target=work, name=f"runner-worker-{n}") for n in range(min(self.workers, expected))]
        self._runs.add(given_up)
        try:
            for thread in threads:
                thread.start()
            for _ in range(expected):
                result, error = results.get()
                if error is not None:
                    raise error
                yield result  # type: ignore[misc]  # None only where R has it, error is None here
        finally:
            given_up.set()
            self._runs.discard(given_up)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    def on_every_node(self, function: Callable[[T], R], task: T) -> tuple[NodeAnswer, ...]:
        return _ask(function, task)

    def cancel(self) -> None:
        for given_up in tuple(self._runs):
            given_up.set()

    def close(self) -> None:
        self.cancel()
