"""The choice of an engine, and its words."""

from __future__ import annotations

import pytest

from runner.engine import InProcessEngine, ThreadEngine, choose, open_engine
from runner.engine.auto import PLAIN_EVENTS_PER_SECOND, RAY_SECONDS, break_even


def test_compiled_folds_never_start_a_ray() -> None:
    choice = choose("auto", workers=16, events=10**10, plain=0)
    assert choice.name == "threads"
    assert choice.workers == 16
    assert f"{RAY_SECONDS:g} s" in choice.why


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_plain_folds_take_ray_from_the_break_even_on(workers: int) -> None:
    least = break_even(workers)
    assert least is not None
    assert choose("auto", workers=workers, events=least, plain=1).name == "ray"
    assert choose("auto", workers=workers, events=least - 1, plain=1).name == "threads"
    assert choose("auto", workers=workers, events=least // 2 + 1, plain=2).name == "ray"
    assert f"{least:,}" in choose("auto", workers=workers, events=least - 1, plain=1).why
    # What the number says: that many events are folded as soon by threads as by Ray's processes.
    seconds = least / PLAIN_EVENTS_PER_SECOND
    assert seconds == pytest.approx(RAY_SECONDS + seconds / workers, rel=0.01)


def test_one_worker_never_gains_by_ray() -> None:
    assert break_even(1) is None
    assert choose("auto", workers=1, events=10**10, plain=3).name == "threads"


def test_an_address_means_ray() -> None:
    choice = choose("auto", workers=8, events=10, plain=0, address="head:6379")
    assert choice.name == "ray"
    assert "head:6379" in choice.why


@pytest.mark.parametrize("name", ["threads", "ray", "in-process"])
def test_what_is_asked_for_is_taken(name: str) -> None:
    choice = choose(name, workers=3, events=1, plain=1)  # type: ignore[arg-type]  # a literal by parametrize
    assert choice.name == name
    assert choice.workers == (1 if name == "in-process" else 3)
    assert "asked" in choice.why


def test_the_engine_is_the_chosen_one_and_is_ended() -> None:
    with open_engine(choose("threads", workers=3, events=1, plain=0)) as engine:
        assert isinstance(engine, ThreadEngine)
        assert engine.workers == 3
    with open_engine(choose("in-process", workers=3, events=1, plain=0)) as engine:
        assert isinstance(engine, InProcessEngine)
