"""Updates of few events: all partitions folded as one, one file each, merged over all; rows as of a rebuild."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from job_project import ALL, TINY, Project, expected, history

from runner.fold.plan import FoldPlan, plan_fold
from runner.jobs.folding import catch_up, preparing
from runner.jobs.folding.preparing import plan_over
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.kept import Kept
from runner.jobs.updating.update import update
from runner.sinks import compaction
from runner.sinks.saved import KeptFiles, SavedFiles
from runner.sinks.shape import EVERY

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = history(61, 400, accounts=25)


def followed(project: Project, steps: list[int], kept: Kept | None) -> None:
    """Updates one after the other, up to each of these positions."""
    for upto in steps:
        project.append(EVENTS[project.log().last_position : upto], room=TINY)
        assert update(project.config, engine="in-process", kept=kept).events > 0


def check(project: Project, upto: int) -> None:
    wanted = expected(EVENTS[:upto])
    before = project.bytes()
    with project.models.connect() as connection:
        for name in ALL:
            assert project.rows(name) == wanted[name]
            (count,) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0]
            assert count == len(wanted[name])
    rebuild(project.config, engine="in-process", prove=0)
    assert project.bytes() == before, "an update gives other bytes than a rebuild"


@pytest.mark.parametrize(("least", "keeps"), [(0, True), (compaction.LEAST, False), (compaction.LEAST, True)])
def test_many_small_updates(project: Project, monkeypatch: pytest.MonkeyPatch, least: int, keeps: bool) -> None:
    monkeypatch.setattr(compaction, "LEAST", least)
    project.append(EVENTS[:100], room=TINY)
    rebuild(project.config, engine="in-process", prove=0)
    followed(project, [*range(110, 306, 20)], Kept() if keeps else None)
    live = project.models.live("accounts")
    assert live is not None
    assert len(live.deltas) <= compaction.MANY
    assert {f.partition for f in live.deltas} <= {EVERY}
    check(project, 290)


def test_small_and_large_updates_in_turn(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of partitions and of all partitions lie over one another in the order in which they were written."""
    project.append(EVENTS[:60], room=TINY)
    rebuild(project.config, engine="in-process", prove=0)
    kept = Kept()
    for upto in range(80, 320, 20):
        monkeypatch.setattr(catch_up, "TOGETHER", 50_000 if upto % 60 else 0)
        followed(project, [upto], kept)
        if upto == 240:
            live = project.models.live("items")
            assert live is not None
            assert len({f.partition for f in live.files}) > 1
            project.models.compact("items")
    check(project, 300)


def test_compact_takes_deltas_of_all_partitions_into_the_bases(project: Project) -> None:
    project.append(EVENTS[:100], room=TINY)
    rebuild(project.config, engine="in-process", prove=0)
    followed(project, [130], None)
    before = project.bytes()
    for name in ALL:
        assert project.models.compact(name).deltas == ()
    assert project.bytes() == before


def test_kept_files_stay_within_their_room(project: Project) -> None:
    project.append(EVENTS[:200], room=TINY)
    rebuild(project.config, engine="in-process", prove=0)
    live = project.models.live("accounts")
    assert live is not None
    kept = KeptFiles(room=1)
    tables = [kept.table(live, info) for info in live.files]
    assert len(tables) > 1
    assert kept.table(live, live.files[-1]) is tables[-1], "the last one stays"
    assert kept.table(live, live.files[0]) is not tables[0]
    rows = SavedFiles((live,), KeptFiles()).whole("accounts")
    hi, lo = (rows[name].to_numpy() for name in ("_hash_hi", "_hash_lo"))
    assert SavedFiles((live,), KeptFiles())("accounts", hi, lo).equals(SavedFiles((live,))("accounts", hi, lo))


def test_one_plan_for_a_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.append(EVENTS[:100], room=TINY)
    rebuild(project.config, engine="in-process", prove=0)
    project.append(EVENTS[100:120], room=TINY)
    made = []

    def counted(definitions: Any, types: Any, **named: Any) -> FoldPlan:
        made.append(definitions)
        return plan_fold(definitions, types, **named)

    monkeypatch.setattr(preparing, "plan_fold", counted)
    monkeypatch.setattr(preparing, "_plans", {})
    update(project.config, engine="in-process")
    update(project.config, engine="in-process")
    assert len(made) == 1
    with project.log() as log:
        definitions = plan_over(log, preparing.chosen_definitions(project.config, "all")).definitions
        assert plan_over(log, definitions[:1]) is not plan_over(log, definitions)


def test_nothing_of_postgres_is_imported_without_it(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(__import__("pathlib").Path(__file__).parent)!r})
from pathlib import Path
from job_project import Project, history
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.publishing.rollback import rollback
from runner.jobs.updating.update import update
from runner.cli import status
project = Project(Path({str(tmp_path)!r}))
project.append(history(1, 40))
rebuild(project.config, engine="in-process", prove=0)
project.append(history(2, 10))
update(project.config, engine="in-process")
rebuild(project.config, engine="in-process", prove=0)
rollback(project.config, "accounts")
status.gathered(project.config)
assert "psycopg" not in sys.modules
assert not [m for m in sys.modules if m.startswith("runner.sinks.postgres")]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
