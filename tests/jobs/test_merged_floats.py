"""``merge_floats=True``: last digits may differ by the order of the sums; anything more is found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from job_project import TINY, Project, history

from runner.errors import ProofError
from runner.jobs.folding import merging
from runner.jobs.proving.prove import prove
from runner.jobs.proving.same_bytes import differences, same
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.log import LogWriter

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def floats(tmp_path: Path) -> Project:
    return Project(tmp_path, ("float_folds",))


def total(events: list[Any]) -> tuple[Any, int]:
    amounts = [e.payload["amount"] for e in events if e.type == "moved"]
    return pytest.approx(math.fsum(amount * 0.1 for amount in amounts), rel=1e-12), len(amounts)


@pytest.mark.parametrize("amount", [1000, "all"])
def test_merged_floats_are_folded_proved_and_updated(floats: Project, amount: Any) -> None:
    events = history(3, 2000, accounts=50)
    floats.append(events[:1000], room=TINY)
    report = rebuild(floats.config, engine="in-process", prove=amount)
    assert "floats within 1e-09" in report.projections[0].proof
    assert floats.rows("shares") == {"moved": total(events[:1000])}
    floats.append(events[1000:], room=TINY)
    update(floats.config, engine="in-process")
    assert floats.rows("shares") == {"moved": total(events)}
    prove(floats.config, amount=amount, engine="in-process")
    with LogWriter.open(floats.root / "log") as writer:
        writer.compact()
    prove(floats.config, amount=amount, engine="in-process")
    rebuild(floats.config, engine="in-process", prove=amount)
    assert floats.rows("shares") == {"moved": total(events)}


@pytest.mark.parametrize(("column", "by"), [("total", 1e-5), ("moves", 1)])
def test_a_wrong_merge_of_floats_is_found(
    floats: Project, monkeypatch: pytest.MonkeyPatch, column: str, by: float
) -> None:
    floats.append(history(4, 400))
    right = merging.merge_rows

    def wrong(*arguments: Any) -> pa.Table:
        rows = right(*arguments)
        return rows.set_column(rows.schema.names.index(column), column, pc.add(rows[column], by))

    monkeypatch.setattr(merging, "merge_rows", wrong)
    with pytest.raises(ProofError, match=column):
        rebuild(floats.config, engine="in-process")


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        (1.0, 1.0 + 1e-15, True),
        (1e300, 1e300 * (1 + 1e-8), False),
        (0.0, -1e-14, True),
        (0.0, -0.0, True),
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (math.inf, 1e308, False),
        (None, 0.0, False),
        ([1.0, None], [1.0 + 1e-15, None], True),
        ([1.0], [1.0, 1.0], False),
    ],
)
def test_near(one: Any, other: Any, near: bool) -> None:
    kind = pa.list_(pa.float64()) if isinstance(one, list) else pa.float64()
    here, there = (pa.table({"k": ["a"], "v": pa.array([value], kind)}) for value in (one, other))
    assert same(here, there, ["k"], near=True) == near
    assert (differences(here, there, ["k"], near=True) == ()) == near
    assert same(here, there, ["k"]) == (repr(one) == repr(other))
