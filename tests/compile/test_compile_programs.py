"""Random handlers in files, compiled, run on random events: equal to plain, or stopped; never another value."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from modules_in_files import module_in_file
from random_handlers import EVENTS, module_text, programs

from runner import CompileError
from runner.kernels import status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What the generator cannot know: digits that grow, None put where it fails, constants that never fit.
_CHANCE = ("None", "digits", "NaN", "inside a loop over it", "does not fit int64", "timedelta(", "is no Colour")
_counter = itertools.count()
# Every step of a shrinking compiles again; a failing handler is short enough to be read.
_NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


def folded(
    both: Callable[..., Any], folder: Path, bodies: list[str], histories: list[list[dict[str, Any]]]
) -> set[int]:
    """The statuses of the histories' last events, and of each event and handler alone; every call compared with plain.

    A status beside OK, DELETED and REFUSED, where the plain handler does not fail under the checked rules, is an
    AssertionError, as is any other state than the plain one.
    """
    module = module_in_file(module_text(bodies), folder, f"random_handler_{next(_counter)}")
    try:
        made = both(module.Made)
    except CompileError as error:
        if not any(word in error.message for word in _CHANCE):
            raise
        reject()
    found = set()
    for history in histories:
        events = [module.Came(**e) for e in history]
        found.add(made.fold(*events).status)
        for event in events:
            found |= set(made.apart(event).values())
    return found


HISTORIES = st.lists(st.lists(EVENTS, min_size=2, max_size=5), min_size=2, max_size=3)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, phases=_NO_SHRINKING, suppress_health_check=list(HealthCheck))
@given(body=programs(), histories=HISTORIES)
def test_random_handlers(
    interpreted: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, body: str, histories: Any
) -> None:
    found = folded(interpreted, tmp_path_factory.mktemp("handlers"), [body], histories)
    assert status.GROW not in found


@pytest.mark.slow
@settings(max_examples=2, deadline=None, phases=_NO_SHRINKING, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(programs(), min_size=4, max_size=4), histories=HISTORIES)
def test_random_handlers_compiled_to_machine_code(
    both: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, bodies: list[str], histories: Any
) -> None:
    found = folded(both, tmp_path_factory.mktemp("handlers"), bodies, histories)
    assert status.GROW not in found
