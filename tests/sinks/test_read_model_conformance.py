"""One suite, every read-model sink; the reference in memory passes it too."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.sinks import compaction
from runner.testing.read_model_rows import child_shape, keyed_shape, merged_shape
from runner.testing.read_models import (
    CHECKS,
    EmbeddedReadModels,
    MemoryReadModels,
    ReadModelPort,
    check_history,
    histories,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SINKS: dict[str, Callable[[Path], ReadModelPort]] = {
    "embedded": EmbeddedReadModels,
    "memory": lambda root: MemoryReadModels(),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("sink", SINKS)
def test_sink(sink: str, check: Callable[[ReadModelPort], None], tmp_path: Path) -> None:
    check(SINKS[sink](tmp_path / "read_models"))


@settings(max_examples=8, deadline=None)
@given(data=st.data(), shape=st.sampled_from([keyed_shape(), child_shape(), merged_shape()]))
def test_any_history_equals_the_reference(data: st.DataObject, shape: object) -> None:
    history = data.draw(histories(shape))
    # Few deltas are many already, so that compactions of both kinds come in.
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "MANY", data.draw(st.sampled_from([1, 2, 8])))
        patch.setattr(compaction, "SHARE", data.draw(st.sampled_from([0, 3])))
        check_history(EmbeddedReadModels(Path(root)), shape, history)
