"""What every engine must do: a conformance suite, run on each of them by the tests and by whoever writes another.

A test calls ``check_...(engine)`` with a fresh or shared engine; each raises AssertionError with what was expected.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from runner.engine.base import Cancelled, Engine, raise_if_cancelled
from runner.errors import FoldError, FoldFailure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHECKS", "check_worker_killed"]


def _square(number: int) -> int:
    return number * number


def _late_first(number: int) -> int:
    if number == 0:
        time.sleep(0.2)
    return number


def _fail_at_seven(number: int) -> int:
    if number == 7:
        raise FoldError((FoldFailure("accounts", "deposited", 12345, "a-7", "Deposited", "overflow", 3),))
    return number


def _fail_oddly(number: int) -> int:
    class OddError(Exception):  # local: cannot be found by another process
        pass

    raise OddError(f"odd {number}")


def _note_and_wait(place: str) -> str:
    Path(place).write_text("begun", encoding="utf-8")
    for _ in range(600):
        raise_if_cancelled()
        time.sleep(0.05)
    return place


def _die_once(place: str) -> int:
    path = Path(place)
    if not path.exists():
        path.write_text("died", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def _raised(engine: Engine, function: Callable[[int], int], tasks: int) -> Exception:
    try:
        list(engine.run(function, range(tasks)))
    except Exception as error:
        return error
    raise AssertionError("the task's exception was not raised")


def check_results(engine: Engine, directory: Path) -> None:
    """Each task once, whatever the order; also none and one."""
    assert sorted(engine.run(_square, range(50))) == [n * n for n in range(50)]
    assert list(engine.run(_square, [])) == []
    assert list(engine.run(_square, iter([9]))) == [81]


def check_order(engine: Engine, directory: Path) -> None:
    """A slow task holds back nobody: with more than one worker its result does not come first."""
    results = list(engine.run(_late_first, range(6)))
    assert sorted(results) == list(range(6))
    if engine.workers > 1:
        assert results[0] != 0, f"results wait for the slow first task: {results}"


def check_exceptions(engine: Engine, directory: Path) -> None:
    """An exception arrives as what it is, with its data; the engine goes on to work afterwards."""
    error = _raised(engine, _fail_at_seven, 20)
    assert isinstance(error, FoldError), f"the exception changed on its way: {error!r}"
    assert error.failures[0].position == 12345, f"the error lost its data: {error.failures}"
    assert "deposited failed at position 12345" in str(error)
    assert error.hint, "the error lost its hint"
    odd = _raised(engine, _fail_oddly, 1)
    assert "odd 0" in str(odd), f"an exception that cannot travel lost its words: {odd!r}"
    assert list(engine.run(_square, [4])) == [16]


def check_closing_the_iterator(engine: Engine, directory: Path) -> None:
    """Leaving the iterator gives up the rest soon; the engine goes on to work afterwards."""
    begun = time.monotonic()
    iterator = engine.run(_note_or_square, [str(directory / f"left-{n}") for n in range(12)])
    next(iterator)
    iterator.close()
    assert time.monotonic() - begun < 20, "closing the iterator waited for the tasks' own end"
    assert list(engine.run(_square, [5])) == [25]


def _note_or_square(place: str) -> str:
    return place if place.endswith("-0") else _note_and_wait(place)


def check_cancel(engine: Engine, directory: Path) -> None:
    """``cancel`` from another thread ends the run with Cancelled, long before the tasks would end."""
    import threading

    place = directory / "cancelled"

    def cancel_when_begun() -> None:
        while not place.exists():
            time.sleep(0.01)
        engine.cancel()

    thread = threading.Thread(target=cancel_when_begun)
    begun = time.monotonic()
    thread.start()
    try:
        list(engine.run(_note_and_wait, [str(place)]))
    except Cancelled:
        pass
    else:
        raise AssertionError("the run ended as if it had not been cancelled")
    finally:
        place.write_text("over", encoding="utf-8")
        thread.join()
    assert time.monotonic() - begun < 20, "cancelling waited for the task's own end"
    assert list(engine.run(_square, [6])) == [36]


def check_nodes(engine: Engine, directory: Path) -> None:
    """Each machine answers; a failing check is its answer, not an exception."""
    answers = engine.on_every_node(_square, 3)
    assert [answer.answer for answer in answers] == [9] * len(answers)
    assert answers, "no machine answered"
    assert all(answer.node for answer in answers)
    failed = engine.on_every_node(_fail_at_seven, 7)
    assert all(isinstance(answer.answer, FoldError) for answer in failed)


def check_worker_killed(engine: Engine, directory: Path) -> None:
    """A task whose worker was killed runs again in another one. For engines whose workers are processes."""
    results = list(engine.run(_die_once, [str(directory / f"died-{n}") for n in range(3)]))
    assert len(results) == 3
    assert os.getpid() not in results


CHECKS: tuple[Callable[[Engine, Path], None], ...] = (
    check_results,
    check_order,
    check_exceptions,
    check_closing_the_iterator,
    check_cancel,
    check_nodes,
)
"""The suite for every engine; ``check_worker_killed`` besides where workers are processes."""
