"""How long a fold takes, as a formula: fitted to what was measured, and asked about what was not.

::

    t = start + (events * event_cost + rows * row_cost) * (serial + (1 - serial) / workers)

``start`` is what a run costs whatever it folds; ``workers`` are those that can be busy, no more than the largest
partition leaves. ``serial`` is Amdahl's part: the share of the work that further workers do not speed up, since they
wait for the disk, the memory or each other. The rows of N times as many events are ``rows * N ** growth``: 1 where
aggregates keep coming as fast as events, less where old ones get most events.

What an event costs in relation to a row is told by the stages, which have clocks of their own: sizes alone could not,
since rows grow nearly as events do. The rest is fitted to whole times: parameters, none of them negative, whose
*relative* errors have the smallest sum of squares, so that a run of a tenth of a second counts as much as a long one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]

__all__ = ["FORMULA", "Model", "Timing", "fitted", "held_out_error", "row_growth"]

FORMULA = "t = start + (events * event_cost + rows * row_cost) * (serial + (1 - serial) / workers)"

STEPS, ROUNDS = 12, 4
"""Into so many parts the search for ``serial`` cuts what is left, and how often."""


@dataclass(frozen=True)
class Timing:
    """One measured point, medians. workers: those that can be busy, so it need not be a whole number. folding, writing:
    seconds of all workers in scan and fold, in write and merge.
    """

    events: int
    rows: int
    workers: float
    seconds: float
    folding: float = 0.0
    writing: float = 0.0


@dataclass(frozen=True)
class Model:
    """The formula's parameters, in seconds. serial: None where all timings are of one number of workers; then no other
    number can be asked about.

    growth: how rows grow with events. error: the largest relative error at a timing that it was fitted to.
    """

    start: float
    event_cost: float
    row_cost: float
    serial: float | None
    growth: float
    error: float

    def seconds(self, events: float, rows: float, workers: float) -> float:
        """How long a fold of so much takes."""
        return self.start + (events * self.event_cost + rows * self.row_cost) * _share(self.serial, workers)

    def rows(self, rows: int, times: float) -> float:
        """How many rows ``times`` as many events make, where these make ``rows``."""
        return float(rows * times**self.growth)


def _share(serial: float | None, workers: float) -> float:
    # With one number of workers the costs are those of that number, whatever it is.
    return 1.0 if serial is None else serial + (1 - serial) / workers


def fitted(timings: Sequence[Timing]) -> Model | None:
    """The model of these timings; None of fewer than two different sizes, of which nothing can be told apart."""
    if len({t.events for t in timings}) < 2 or any(t.seconds <= 0 for t in timings):
        return None
    units = _units(timings)
    if len({t.workers for t in timings}) == 1:
        return _model(timings, units, None)
    low, high = 0.0, 1.0
    best = 0.0
    for _ in range(ROUNDS):
        tried = np.linspace(low, high, STEPS + 1).tolist()
        best = min(tried, key=lambda serial: _whole(timings, units, serial)[1])
        step = (high - low) / STEPS
        low, high = max(0.0, best - step), min(1.0, best + step)
    return _model(timings, units, best)


def _model(timings: Sequence[Timing], units: tuple[float, float], serial: float | None) -> Model:
    (start, scale), _ = _whole(timings, units, serial)
    model = Model(start, scale * units[0], scale * units[1], serial, row_growth(timings), 0.0)
    errors = [abs(model.seconds(t.events, t.rows, t.workers) / t.seconds - 1) for t in timings]
    return replace(model, error=max(errors))


def _units(timings: Sequence[Timing]) -> tuple[float, float]:
    """What an event and a row cost in relation to each other: the slopes of the stages' own seconds over the sizes.

    Their constant parts (a file to be synced to the disk, however few rows are in it) are the start's.
    """
    workers = max(t.workers for t in timings)
    mine = [t for t in timings if t.workers == workers]
    event = _line([t.events for t in mine], [t.folding for t in mine])
    row = _line([t.rows for t in mine], [t.writing for t in mine])
    return (event, row) if event or row else (1.0, 0.0)


def _line(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of seconds over sizes."""
    if min(seconds, default=0.0) <= 0:
        return 0.0
    return float(_least([np.ones(len(sizes)), np.array(sizes, float)], np.array(seconds))[0][1])


def _whole(
    timings: Sequence[Timing], units: tuple[float, float], serial: float | None
) -> tuple[tuple[float, float], float]:
    """(start, scale of the units) of the whole time, and the sum of squared relative errors."""
    work = [(t.events * units[0] + t.rows * units[1]) * _share(serial, t.workers) for t in timings]
    solved, left = _least([np.ones(len(timings)), np.array(work)], np.array([t.seconds for t in timings]))
    return (float(solved[0]), float(solved[1])), left


def _least(columns: Sequence[Floats], measured: Floats) -> tuple[Floats, float]:
    """Two factors, none negative, by which the columns' sum has the least squares of relative errors, and their sum.

    Where the plain solution has a negative one, the best one has a zero: either of them is tried.
    """
    matrix = np.stack(columns, axis=1) / measured[:, None]
    size = np.abs(matrix).max(axis=0)
    matrix = matrix / np.where(size > 0, size, 1.0)  # a cost is a billionth of a second, a start a tenth
    best, least = np.zeros(2), math.inf
    for chosen in ([0, 1], [1], [0]):
        solved = np.linalg.lstsq(matrix[:, chosen], np.ones(len(measured)), rcond=1e-9)[0]
        left = float(((matrix[:, chosen] @ solved - 1) ** 2).sum())
        if (solved >= 0).all() and left < least:
            best, least = np.zeros(2), left
            best[chosen] = solved
    return best / np.where(size > 0, size, 1.0), least


def row_growth(timings: Sequence[Timing]) -> float:
    """The exponent by which rows grow with events, between 0 and 1, from the sizes that were measured; 1 if unknown."""
    sizes = {t.events: t.rows for t in timings if t.events and t.rows}
    if len(sizes) < 2:
        return 1.0
    x, y = np.log(np.array(list(sizes), float)), np.log(np.array(list(sizes.values()), float))
    return float(np.clip(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum(), 0.0, 1.0))


def held_out_error(timings: Sequence[Timing]) -> float | None:
    """By how much a model of the smaller sizes misses the largest one, relative: 0.1 where it says 1.1 s and 1 s was
    measured. None where there are not two smaller ones of the same workers.
    """
    if not timings:
        return None
    largest = max(timings, key=lambda t: (t.events, t.workers))
    smaller = [t for t in timings if t.events < largest.events and t.workers == largest.workers]
    model = fitted(smaller)
    if model is None:
        return None
    return model.seconds(largest.events, largest.rows, largest.workers) / largest.seconds - 1
