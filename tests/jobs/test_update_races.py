"""Updates that others overtake: no checkpoint goes back, no event is folded twice. And what fails after the switch."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from job_project import ALL, Project, expected, history

from runner.errors import JobError, LogLocked, ReadModelError, VersionBusy
from runner.jobs.folding import catch_up
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.records.ledger import Ledger
from runner.jobs.updating import update as updates
from runner.jobs.updating.update import update
from runner.sinks import compaction

if TYPE_CHECKING:
    from collections.abc import Callable


def overtaken(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Any]) -> None:
    """Let ``meanwhile`` happen while the next update plans: after it took its cut, before it claims."""
    plan_over = updates.plan_over
    pending = [meanwhile]

    def slow(*arguments: Any) -> Any:
        plan = plan_over(*arguments)
        if pending:
            pending.pop()()
        return plan

    monkeypatch.setattr(updates, "plan_over", slow)


def check(project: Project, events: list[Any]) -> None:
    for name in ALL:
        assert project.rows(name) == expected(events)[name], name


@pytest.mark.parametrize("again", ["update", "rebuild"])
def test_an_update_that_was_overtaken_leaves_the_checkpoint(
    project: Project, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    events = history(31, 400)
    project.append(events[:200])
    rebuild(project.config, engine="in-process", prove=0)
    project.append(events[200:250])

    def overtaking() -> None:
        project.append(events[250:])
        if again == "update":
            update(project.config, engine="in-process")
        else:
            rebuild(project.config, engine="in-process", prove=0)

    overtaken(monkeypatch, overtaking)
    report = update(project.config, engine="in-process")
    assert report.nothing_new
    assert report.events == 0
    assert [p.checkpoint for p in report.projections] == [400] * 4
    check(project, events)
    assert update(project.config, engine="in-process").nothing_new
    check(project, events)


def test_only_what_is_behind_still_is_folded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    events = history(32, 300)
    project.append(events[:200])
    rebuild(project.config, engine="in-process", prove=0)
    project.append(events[200:])
    overtaken(monkeypatch, lambda: update(project.config, ["accounts", "totals"], to=250, engine="in-process"))
    report = update(project.config, engine="in-process")
    assert [p.previous_checkpoint for p in report.projections] == [250, 200, 250, 200]
    check(project, events)


def test_an_update_to_a_place_that_was_overtaken_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    events = history(33, 300)
    project.append(events[:200])
    rebuild(project.config, engine="in-process", prove=0)
    project.append(events[200:])
    overtaken(monkeypatch, lambda: update(project.config, engine="in-process"))
    with pytest.raises(JobError, match="reflects position 300 already, which is behind 250"):
        update(project.config, to=250, engine="in-process")
    check(project, events)


def test_updates_of_two_threads_beside_a_sync(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    events = history(34, 400)
    project.append(events[:100])
    rebuild(project.config, engine="in-process", prove=0)
    draw = random.Random(34)
    plan_over = updates.plan_over

    def slow(*arguments: Any) -> Any:
        plan = plan_over(*arguments)
        time.sleep(draw.random() / 10)  # as long as compiling takes, so that the other one can come in between
        return plan

    monkeypatch.setattr(updates, "plan_over", slow)
    seen: list[int] = []

    def catch_up(_: int) -> None:
        try:
            update(project.config, engine="in-process")
        except (VersionBusy, LogLocked):  # the other one writes the version, or the columns of new segments
            return
        live = project.models.live("accounts")
        assert live is not None
        seen.append(live.position)

    def sync(at: int) -> None:
        while True:
            try:
                return project.append(events[at : at + 30])
            except LogLocked:
                time.sleep(0.01)

    with ThreadPoolExecutor(2) as pool:
        runs = []
        for at in range(100, 400, 30):
            sync(at)
            runs += [pool.submit(catch_up, n) for n in range(2)]
            time.sleep(draw.random() / 10)
        for run in runs:
            run.result()
    update(project.config, engine="in-process")
    assert seen
    check(project, events)


def test_an_update_whose_compaction_fails_has_succeeded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "TOGETHER", 0)  # by partition, a second update finds deltas to merge
    events = history(35, 400)
    project.append(events[:100])
    rebuild(project.config, engine="in-process", prove=0)
    compacted = compaction.compacted

    def full(*_: Any) -> None:
        raise ReadModelError("cannot write: No space left on device")

    monkeypatch.setattr(compaction, "compacted", full)
    notes: list[str] = []
    for at in (100, 200, 300):
        project.append(events[at : at + 100])
        report = update(project.config, engine="in-process")
        notes += report.notes
        check(project, events[: at + 100])
    assert any("'accounts' were not compacted: cannot write: No space" in note for note in notes)
    with Ledger(project.config.state.path / "jobs.sqlite", read_only=True) as ledger:
        runs = ledger.jobs(what="update")
    assert [job.state for job in runs] == ["succeeded"] * 3
    assert runs[0].counts["notes"] == list(report.notes)
    live = project.models.live("accounts")
    assert live is not None
    assert live.deltas
    monkeypatch.setattr(compaction, "compacted", compacted)
    more = history(36, 100)
    project.append(more)
    assert update(project.config, engine="in-process").notes == ()
    check(project, [*events, *more])
    live = project.models.live("accounts")
    assert live is not None
    assert not live.deltas
