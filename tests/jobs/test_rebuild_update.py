"""Rebuild and update against an independent computation, and what each refuses."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from job_project import ALL, TINY, Project, Sent, expected, history

from runner.errors import (
    ConfigError,
    FieldValueError,
    FingerprintChanged,
    FoldError,
    JobError,
    ReadModelError,
    VersionBusy,
)
from runner.jobs.folding import partition
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.records.ledger import Ledger
from runner.jobs.updating.update import update
from runner.sinks.rows import write_rows
from runner.stats import CheckpointMoved, Fact, JobFinished, Noted, PartitionFolded, Proved, RowsWritten, StageFinished

if TYPE_CHECKING:
    from pathlib import Path


def check(project: Project, events: list[Sent], names: tuple[str, ...] = ALL) -> None:
    for name in names:
        assert project.rows(name) == expected(events)[name], name


def ledger(project: Project) -> Ledger:
    return Ledger(project.config.state.path / "jobs.sqlite", read_only=True)


def test_rebuild_gives_the_rows_of_an_independent_computation(project: Project) -> None:
    events = history(1, 400)
    project.append(events[:250], room=TINY)
    project.append(events[250:])
    facts: list[Fact] = []
    report = rebuild(project.config, engine="threads", workers=2, prove="all", listener=facts.append)
    check(project, events)
    assert (report.events, report.partitions, report.cut.position) == (400, 4, 400)
    accounts = report.projections[0]
    assert accounts.name == "accounts"
    assert accounts.rows == len(expected(events)["accounts"])
    assert accounts.folded == sum(e.type in ("opened", "moved", "closed") for e in events)
    assert accounts.passed_over == 400 - accounts.folded
    assert accounts.proved_aggregates == len({e.aggregate for e in events})
    assert [p.compiled for p in report.projections] == [True, True, True, False]
    assert report.projections[3].by_twin > 0
    assert sum(f.events for f in facts if isinstance(f, PartitionFolded)) == 400
    assert sum(f.rows for f in facts if isinstance(f, RowsWritten) and f.projection == "totals") == len(
        expected(events)["totals"]
    )
    assert {f.projection for f in facts if isinstance(f, Proved)} == set(ALL)
    assert {f.position for f in facts if isinstance(f, CheckpointMoved)} == {400}
    assert [f.outcome for f in facts if isinstance(f, JobFinished)] == ["succeeded"]
    assert {"columns", "fold", "merge", "prove", "publish"} <= {f.stage for f in facts if isinstance(f, StageFinished)}
    with ledger(project) as jobs:
        job = jobs.get(report.job_id)
    assert (job.state, job.what, job.versions["accounts"]) == ("succeeded", "rebuild", 1)


def test_updates_equal_rebuilds_and_write_only_changes(project: Project) -> None:
    events = history(2, 500, accounts=60)
    project.append(events[:300])
    rebuild(project.config, engine="in-process")
    for at in range(300, 500, 50):
        project.append(events[at : at + 50])
        report = update(project.config, engine="threads", workers=2)
        assert not report.nothing_new
        assert report.events == 50
        check(project, events[: at + 50])
        assert report.projections[0].previous_checkpoint == at
        before, after = expected(events[:at])["accounts"], expected(events[: at + 50])["accounts"]
        assert report.projections[0].rows == sum(before.get(key) != row for key, row in after.items())
        assert report.projections[0].deleted == len(before.keys() - after.keys())
        merged_before, merged_after = expected(events[:at])["totals"], expected(events[: at + 50])["totals"]
        assert report.projections[2].rows == sum(merged_before.get(k) != row for k, row in merged_after.items())
    bytes_of_updates = project.bytes()
    rebuild(project.config, engine="in-process")
    assert project.bytes() == bytes_of_updates


def test_an_update_with_nothing_new_says_so_and_writes_nothing(project: Project) -> None:
    project.append(history(3))
    rebuild(project.config, engine="in-process", prove=0)
    before = sorted(p for p in project.models.root.rglob("*"))
    assert not [p for p in before if "partials" in p.name], "partial rows are of no use any more"
    facts: list[Fact] = []
    report = update(project.config, listener=facts.append)
    assert {f.projection: f.position for f in facts if isinstance(f, CheckpointMoved)} == dict.fromkeys(ALL, 200)
    assert report.nothing_new
    assert [p.checkpoint for p in report.projections] == [200] * 4
    assert sorted(p for p in project.models.root.rglob("*") if "lock" not in p.name) == [
        p for p in before if "lock" not in p.name
    ]


def test_read_models_at_different_checkpoints_come_together(project: Project) -> None:
    events = history(4, 300)
    project.append(events)
    rebuild(project.config, ["accounts", "totals"], to=100, engine="in-process")
    rebuild(project.config, ["items", "trail"], to=200, engine="in-process")
    check(project, events[:100], ("accounts", "totals"))
    check(project, events[:200], ("items", "trail"))
    report = update(project.config, engine="in-process")
    check(project, events)
    assert [p.previous_checkpoint for p in report.projections] == [100, 200, 100, 200]


@pytest.mark.parametrize("place", [120, "120", "2026-01-01T00:02:00Z", "bank:120"])
def test_rebuild_and_update_up_to_a_place(project: Project, place: int | str) -> None:
    events = history(5, 200)
    project.append(events, room=TINY)
    report = rebuild(project.config, to=place, engine="in-process")
    assert report.cut.position == 120
    assert report.events == 120
    check(project, events[:120])
    update(project.config, to=160, engine="in-process")
    check(project, events[:160])
    with pytest.raises(JobError, match="reflects position 160 already") as raised:
        update(project.config, to=100)
    assert "runner rebuild accounts --to 100" in raised.value.hint


@pytest.mark.parametrize("place", [0, "0", "2025-01-01T00:00:00Z", "bank:0"])
def test_a_place_before_the_first_event_is_refused(project: Project, place: int | str) -> None:
    project.append(history(5, 20))
    rebuild(project.config, engine="in-process", prove=0)
    before = project.bytes()
    for run in (rebuild, update):
        with pytest.raises(ConfigError, match="nothing of the log lies up to it"):
            run(project.config, to=place, engine="in-process")
    assert project.bytes() == before


def test_only_the_names_that_were_asked_for(project: Project) -> None:
    events = history(6)
    project.append(events)
    rebuild(project.config, ["items"], engine="in-process")
    assert project.models.names() == ("items",)
    with pytest.raises(JobError, match="no read model 'accounts'"):
        update(project.config)
    with pytest.raises(ConfigError, match="no projection is called nothing"):
        rebuild(project.config, ["nothing"])


def test_an_empty_log_and_an_empty_update(project: Project) -> None:
    project.append([])
    report = rebuild(project.config, engine="in-process", prove="all")
    assert report.events == 0
    assert project.rows("accounts") == {}
    events = history(7)
    project.append(events)
    update(project.config, engine="in-process")
    check(project, events)


def test_a_failing_event_is_named_and_the_live_rows_stay(project: Project) -> None:
    events = history(8, 100)
    project.append(events)
    rebuild(project.config, engine="in-process")
    before = project.bytes()
    limit = 2**63 - 1
    bad = [Sent("big", "moved", {"amount": limit}), Sent("big", "moved", {"amount": 1})]
    project.append([*history(9, 50), *bad, *history(10, 50)])
    for run in (update, rebuild):
        with pytest.raises(FoldError) as raised:
            run(project.config, ["accounts"], engine="threads", workers=2)
        (failure,) = raised.value.failures
        assert (failure.position, failure.aggregate_id, failure.handler) == (152, "big", "moved")
        assert "OverflowError" in failure.reason
    assert project.bytes() == before
    with ledger(project) as jobs:
        assert [job.state for job in jobs.jobs(limit=2)] == ["failed", "failed"]
        assert "position 152" in jobs.jobs(limit=1)[0].error


def test_a_value_that_does_not_fit_its_field_is_named_before_folding(project: Project) -> None:
    project.append([Sent("a", "moved", {"amount": "many"})])
    with pytest.raises(FieldValueError, match="amount"):
        rebuild(project.config, ["accounts"], engine="in-process")


def test_a_changed_projection_is_refused_by_update(tmp_path: Path) -> None:
    (tmp_path / "first_folds.py").write_text(
        "from runner import Event, Projection, on\n\n\nclass Moved(Event, type='moved'):\n    amount: int\n\n\n"
        "class Sums(Projection, compiled=False):\n    total: int = 0\n\n    @on(Moved)\n"
        "    def moved(self, e):\n        self.total += e.amount\n"
    )
    text = (tmp_path / "first_folds.py").read_text()
    (tmp_path / "second_folds.py").write_text(text.replace("+= e.amount", "+= 2 * e.amount"))
    project = Project(tmp_path, ("first_folds",))
    project.append([Sent("a", "moved", {"amount": 5})])
    rebuild(project.config, engine="in-process")
    changed = Project(tmp_path, ("second_folds",))
    for grow in (False, True):
        if grow:
            project.append([Sent("a", "moved", {"amount": 7})])
        with pytest.raises(FingerprintChanged) as raised:
            update(changed.config)
        assert "runner rebuild sums" in raised.value.hint
    assert project.rows("sums") == {"a": (5,)}
    update(project.config)
    assert project.rows("sums") == {"a": (12,)}
    rebuild(changed.config, engine="in-process")
    assert project.rows("sums") == {"a": (24,)}


def test_a_second_source_changes_the_columns_and_is_refused_with_what_to_do(project: Project) -> None:
    events = history(11, 100)
    project.append(events)
    rebuild(project.config, engine="in-process")
    project.append(events, source="other")
    with pytest.raises(ReadModelError, match="columns") as raised:
        update(project.config, engine="in-process")
    assert "runner rebuild accounts" in raised.value.hint
    rebuild(project.config, engine="in-process", prove="all")
    rows = project.rows("accounts")
    assert {key[0] for key in rows} == {"bank", "other"}
    assert {key[2]: row for key, row in rows.items() if key[0] == "other"} == expected(events)["accounts"]


def test_new_types_and_late_tenants_of_one_source(project: Project) -> None:
    events = [e for e in history(12, 100) if e.type != "bought"]
    project.append(events)
    rebuild(project.config, engine="in-process")
    more = history(13, 100)
    project.append(more)
    update(project.config, engine="in-process")
    check(project, [*events, *more])


def test_a_log_that_was_set_back_is_refused(project: Project, tmp_path: Path) -> None:
    import shutil

    events = history(14, 100)
    project.append(events[:50])
    shutil.copytree(project.root / "log", tmp_path / "backup")
    project.append(events[50:])
    rebuild(project.config, engine="in-process", prove=0)
    shutil.rmtree(project.root / "log")
    shutil.copytree(tmp_path / "backup", project.root / "log")
    with pytest.raises(JobError, match="the log ends at 50"):
        update(project.config)


@pytest.mark.parametrize("damage", ["missing", "flipped", "document"])
@pytest.mark.parametrize("name", ["accounts", "totals"])
def test_damaged_saved_rows_are_folded_again_and_said_so(project: Project, damage: str, name: str) -> None:
    events = history(15, 200)
    project.append(events[:150])
    rebuild(project.config, engine="in-process", prove=0)
    live = project.models.live(name)
    assert live is not None
    path = live.document if damage == "document" else live.directory / live.files[0].name
    if damage == "flipped":
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 0xFF
        path.write_bytes(data)
    else:
        path.unlink()
    project.append(events[150:])
    report = update(project.config, engine="in-process")
    assert list(report.folded_again) == [name]
    assert path.name.split("-")[0] in report.folded_again[name]
    check(project, events)
    assert {p.name: p.version for p in report.projections} == {n: 2 if n == name else 1 for n in ALL}
    with ledger(project) as jobs:
        assert jobs.jobs(what="rebuild", limit=1)[0].options["part_of"] == report.job_id


def test_the_ledger_keeps_the_latest_runs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger.trim, "__defaults__", (3,))
    project.append(history(22, 20))
    rebuild(project.config, ["accounts"], engine="in-process", prove=0)
    ids = [update(project.config, ["accounts"]).job_id for _ in range(4)]
    with ledger(project) as jobs:
        assert [job.id for job in jobs.jobs()] == ids[:0:-1]


def test_two_rebuilds_of_one_version_are_kept_apart_and_an_update_goes_on(project: Project) -> None:
    events = history(16, 200)
    project.append(events[:150])
    rebuild(project.config, engine="in-process", prove=0)
    project.append(events[150:])
    tried: list[str] = []

    def meanwhile(fact: Fact) -> None:
        if isinstance(fact, PartitionFolded) and not tried:
            tried.append("")
            with pytest.raises(VersionBusy):
                rebuild(project.config, engine="in-process", prove=0)
            update(project.config, engine="in-process")
            check(project, events)

    report = rebuild(project.config, engine="in-process", prove=0, listener=meanwhile)
    assert tried
    assert [p.version for p in report.projections] == [2] * 4
    check(project, events)


def test_resume_does_only_the_rest(project: Project) -> None:
    events = history(17, 300, accounts=40)
    project.append(events)
    stopped: list[int] = []

    def stop(fact: Fact) -> None:
        if isinstance(fact, PartitionFolded):
            stopped.append(fact.partition)
            if len(stopped) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(project.config, engine="in-process", listener=stop)
    with ledger(project) as jobs:
        assert jobs.jobs(limit=1)[0].state == "interrupted"
    project.append(history(18, 50))
    folded: list[int] = []
    report = rebuild(
        project.config,
        engine="in-process",
        resume=True,
        prove="all",
        listener=lambda fact: folded.append(fact.partition) if isinstance(fact, PartitionFolded) else None,
    )
    assert report.resumed_partitions == 2
    assert sorted([*stopped, *folded]) == [0, 1, 2, 3]
    assert report.cut.position == 300, "what came since is for the next update"
    check(project, events)
    told: list[str] = []

    def tell(fact: Fact) -> None:
        if isinstance(fact, Noted):
            told.append(fact.text)

    report = rebuild(project.config, engine="in-process", resume=True, listener=tell)
    assert report.resumed_partitions == 0, "nothing to go on with"
    assert report.nothing_to_resume
    assert told == ["nothing to resume: no earlier run of these left finished partitions; folding all events"]


def test_resume_of_some_projections_names_the_run_of_more(project: Project) -> None:
    project.append(history(17, 300, accounts=40))

    def stop(fact: Fact) -> None:
        if isinstance(fact, PartitionFolded) and fact.partition == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(project.config, engine="in-process", listener=stop)
    with ledger(project) as jobs:
        (job,) = jobs.jobs()
    for names in (["accounts"], ["items", "totals"]):
        with pytest.raises(
            JobError, match=f"job {job.id}, which did not finish, was a rebuild of accounts, "
        ) as raised:
            rebuild(project.config, names, engine="in-process", resume=True)
        assert "`runner rebuild accounts items totals trail --resume`" in raised.value.hint
    report = rebuild(project.config, [*ALL][::-1], engine="in-process", resume=True)
    assert (report.resumed_job, report.resumed_partitions, report.nothing_to_resume) == (job.id, 2, False)
    report = rebuild(project.config, ["accounts"], engine="in-process", resume=True)
    assert report.nothing_to_resume, "the later run has taken the versions"


def test_resume_folds_again_what_is_damaged_and_refuses_what_changed(project: Project) -> None:
    events = history(19, 200)
    project.append(events)

    def stop(fact: Fact) -> None:
        if isinstance(fact, PartitionFolded) and fact.partition == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(project.config, engine="in-process", listener=stop)
    with pytest.raises(JobError, match="folded up to position 200, this run up to 100"):
        rebuild(project.config, engine="in-process", resume=True, to=100)
    (recorded,) = (project.root / "read_models" / "accounts" / "v1").glob("base-1-*.parquet")
    recorded.write_bytes(b"")
    report = rebuild(project.config, engine="in-process", resume=True)
    assert report.resumed_partitions == 2
    check(project, events)


def test_a_worker_that_outlives_its_run_changes_no_row_of_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver killed with its cluster alive: the next rebuild claims the same number, its orphans write late."""
    events = history(21, 200)
    project.append(events)
    late: list[Any] = []

    def kept(target: Any, number: int, rows: Any, *rest: Any, **named: Any) -> Any:
        late.append((target, number, rows.slice(1)))
        return write_rows(target, number, rows, *rest, **named)

    def stop(fact: Fact) -> None:
        if isinstance(fact, PartitionFolded):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(partition, "write_rows", kept)
        with pytest.raises(KeyboardInterrupt):
            rebuild(project.config, ["accounts"], engine="in-process", prove=0, listener=stop)

    def orphans(_: Fact) -> None:
        for target, number, rows in late:
            write_rows(target, number, rows)

    assert late
    rebuild(project.config, ["accounts"], engine="in-process", listener=orphans)
    live = project.models.live("accounts")
    assert live is not None
    assert live.number == 1
    check(project, events, ("accounts",))
    orphans(Proved("accounts", 0, 0))
    check(project, events, ("accounts",))


def test_reports_are_plain_data(project: Project) -> None:
    project.append(history(20))
    report = rebuild(project.config, engine="in-process")
    assert dataclasses.asdict(report)["projections"][0]["name"] == "accounts"
    assert report.events_per_second > 0
