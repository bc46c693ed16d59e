"""The model of a fold's time: from timings whose parameters are known, it tells what was not timed."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from runner.jobs.benching.model import Model, Timing, fitted, held_out_error, row_growth

costs = st.floats(1e-9, 1e-5)
models = st.builds(
    Model,
    start=st.floats(0, 2),
    event_cost=costs,
    row_cost=costs,
    serial=st.floats(0, 1),
    growth=st.floats(0.1, 1),
    error=st.just(0.0),
)
SIZES = (0.125, 0.25, 0.5, 1.0)


def timings(model: Model, events: int, rows: int, workers: tuple[int, ...], noise: float = 0.0) -> list[Timing]:
    """What a bench measures: all sizes by all workers, the largest by fewer ones too."""
    draw = random.Random(events)
    points = [(size, workers[-1]) for size in SIZES] + [(1.0, w) for w in workers[:-1]]
    found = []
    for size, w in points:
        n, m = int(events * size), max(1, round(rows * size**model.growth))
        # The stages' clocks run while others wait, and each file takes its time: they tell a ratio, not the whole.
        folding, writing = (1.5 * n * model.event_cost, model.start + 1.5 * m * model.row_cost)
        whole, fold, write = (s * (1 + draw.uniform(-noise, noise)) for s in (model.seconds(n, m, w), folding, writing))
        found.append(Timing(n, m, w, whole, fold, write))
    return found


@settings(max_examples=30, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(model=models, events=st.integers(100_000, 50_000_000), share=st.floats(0.02, 1), more=st.sampled_from([2, 4]))
def test_exact_timings_give_what_was_not_timed(model: Model, events: int, share: float, more: int) -> None:
    rows = max(100, int(events * share))
    found = fitted(timings(model, events, rows, (1, 2, 4)))
    assert found is not None
    assert found.serial is not None
    assert found.error < 0.02
    assert found.growth == pytest.approx(model.growth, abs=0.02)
    # Ten times as many events, and more workers than were measured.
    for times, workers in ((1, 4), (10, 4), (1, 4 * more), (10, 4 * more)):
        n, m = events * times, found.rows(rows, times)
        assert m == pytest.approx(model.rows(rows, times), rel=0.05)
        expected = model.seconds(n, model.rows(rows, times), workers)
        assert found.seconds(n, m, workers) == pytest.approx(expected, rel=0.1)


@settings(max_examples=30, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(model=models, events=st.integers(1_000_000, 50_000_000), share=st.floats(0.02, 1))
def test_noise_moves_it_no_further_than_noise_may(model: Model, events: int, share: float) -> None:
    rows = max(100, int(events * share))
    found = fitted(timings(model, events, rows, (1, 2, 4), noise=0.02))
    assert found is not None
    assert min(found.start, found.event_cost, found.row_cost, found.serial or 0.0) >= 0
    assert found.seconds(events, rows, 4) == pytest.approx(model.seconds(events, rows, 4), rel=0.1)
    # Only what outweighs the noise can be told ten times further on.
    if model.start < 0.2 * model.seconds(events, rows, 4):
        expected = model.seconds(10 * events, model.rows(rows, 10), 4)
        assert found.seconds(10 * events, model.rows(rows, 10), 4) == pytest.approx(expected, rel=0.5)


def test_parameters_come_back_where_they_can_be_told_apart() -> None:
    model = Model(0.5, 2e-8, 3e-7, 0.2, 0.5, 0.0)
    found = fitted(timings(model, 10_000_000, 1_000_000, (1, 2, 4)))
    assert found is not None
    assert found.start == pytest.approx(0.5, rel=0.01)
    assert found.event_cost == pytest.approx(2e-8, rel=0.05)
    assert found.row_cost == pytest.approx(3e-7, rel=0.05)
    assert found.serial == pytest.approx(0.2, abs=0.01)
    assert found.growth == pytest.approx(0.5, abs=0.01)


def test_one_number_of_workers_says_nothing_of_others() -> None:
    model = Model(0.1, 1e-8, 0.0, 0.0, 1.0, 0.0)
    found = fitted(timings(model, 1_000_000, 1_000, (1,)))
    assert found is not None
    assert found.serial is None
    assert found.seconds(2_000_000, 2_000, 1) == pytest.approx(model.seconds(2_000_000, 2_000, 1), rel=0.02)


def test_too_little_gives_no_model() -> None:
    assert fitted([]) is None
    assert fitted([Timing(5, 1, 1, 0.1), Timing(5, 1, 2, 0.1)]) is None
    assert fitted([Timing(5, 1, 1, 0.0), Timing(9, 1, 1, 0.1)]) is None
    assert held_out_error([]) is None
    assert held_out_error([Timing(5, 1, 1, 0.1), Timing(9, 1, 1, 0.1)]) is None


def test_the_largest_size_is_told_by_the_smaller_ones() -> None:
    model = Model(0.2, 1e-8, 1e-7, 0.3, 1.0, 0.0)
    exact = timings(model, 8_000_000, 400_000, (1, 2))
    assert held_out_error(exact) == pytest.approx(0.0, abs=0.01)
    # A fold that gets dearer with its size is dearer than the smaller ones say.
    largest = max(exact, key=lambda t: (t.events, t.workers))
    dearer = [Timing(t.events, t.rows, t.workers, t.seconds * 1.5) if t.events == largest.events else t for t in exact]
    assert held_out_error(dearer) == pytest.approx(-1 / 3, abs=0.01)


def test_rows_grow_as_they_did() -> None:
    assert row_growth([Timing(100, 10, 1, 1.0), Timing(200, 20, 1, 1.0)]) == pytest.approx(1.0)
    assert row_growth([Timing(100, 10, 1, 1.0), Timing(400, 20, 1, 1.0)]) == pytest.approx(0.5)
    assert row_growth([Timing(100, 10, 1, 1.0), Timing(400, 10, 1, 1.0)]) == 0.0
    assert row_growth([Timing(100, 0, 1, 1.0)]) == 1.0
