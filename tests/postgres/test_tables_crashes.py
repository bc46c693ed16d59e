"""Killed at each numbered step of load, switch and apply: users see the old rows or the new ones, with their
checkpoint; the same again ends as if nothing had been."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from published_tables import Published, with_schema

from runner.steps import STEPS
from runner.testing.read_model_rows import keyed_shape

if TYPE_CHECKING:
    from fixtures_postgres import Database

    from runner.sinks.shape import Version

SCRIPT = """
import pickle, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from published_tables import Published
published = Published(Path({root!r}), {env!r})
version = pickle.loads(Path({pickled!r}).read_bytes())
{action}
print("done")
"""
SWITCH = "published.tables.switch([published.tables.load(version)])"
APPLY = "published.tables.apply([version])"
SHAPE = keyed_shape()
BEFORE = {(f"a{i}",): (i, "") for i in range(30)}
AFTER = {(f"a{i}",): (i + 1, "x") for i in range(40)}
OWN = [step for step in STEPS if step.partition(".")[0] in ("load", "switch", "apply")]


def _killed(published: Published, version: Version, action: str, step: str) -> None:
    pickled = published.root.parent / "version.pickle"
    pickled.write_bytes(pickle.dumps(version))
    here = Path(__file__).parent
    script = SCRIPT.format(
        paths=[str(here), str(here.parent)],
        root=str(published.root),
        env=published.env,
        pickled=str(pickled),
        action=action,
    )
    environment = {**os.environ, "RUNNER_CRASH_AT": step}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (-9, ""), done.stderr


def _shown(published: Published, database: Database) -> dict[tuple[str], tuple[int, str]]:
    """What the table, and the view over it, show."""
    table = database.sql("SELECT aggregate_id, balance, note FROM reads.accounts")
    assert sorted(table) == sorted(database.sql("SELECT aggregate_id, balance, note FROM public.seen"))
    return {(row[0],): (row[1], row[2]) for row in table}


@pytest.mark.parametrize("step", [*(s for s in OWN if not s.startswith("apply")), "load.2:3"])
def test_a_crash_of_load_or_switch(step: str, database: Database, tmp_path: Path) -> None:
    with_schema(database)
    published = Published(tmp_path / "read_models", database.env)
    published.rebuild(SHAPE, BEFORE, 5)
    database.sql(
        "CREATE VIEW public.seen AS SELECT * FROM reads.accounts; CREATE INDEX by_note ON reads.accounts (note);"
        "CREATE TABLE public.notes (note text PRIMARY KEY); INSERT INTO public.notes VALUES (''), ('x');"
        "ALTER TABLE reads.accounts ADD CONSTRAINT of_note FOREIGN KEY (note) REFERENCES public.notes"
    )
    with published.built(SHAPE, AFTER, 9) as built:
        _killed(published, built.version, SWITCH, step)
        switched = step == "switch.4"
        assert _shown(published, database) == (AFTER if switched else BEFORE)
        state = published.tables.states()["accounts"]
        assert (state.version, state.position) == ((2, 9) if switched else (1, 5))
        copied = database.sql("SELECT count(*) FROM projection_runner.loaded")
        # Two connections load: while one is killed the other may have just committed.
        assert copied[0][0] in {"load.2": (1, 2), "load.2:3": (3, 4), "load.3": (4,), "load.4": (4,)}.get(step, (0,))
        if step == "load.3":
            assert database.sql("SELECT convalidated FROM pg_constraint WHERE conname = 'of_note' ORDER BY 1") == [
                (False,),
                (True,),
            ]
        published.tables.switch([published.tables.load(built.version)])
        published.models.publish_rebuild([built])
    live = "SELECT convalidated FROM pg_constraint WHERE conrelid = 'reads.accounts'::regclass AND contype = 'f'"
    assert database.sql(live) == [(True,)]
    assert _shown(published, database) == AFTER
    assert published.tables.states()["accounts"].position == 9
    _tidy(database, "accounts", "accounts__v1")


@pytest.mark.parametrize("step", [s for s in OWN if s.startswith("apply")])
def test_a_crash_of_apply(step: str, database: Database, tmp_path: Path) -> None:
    with_schema(database)
    published = Published(tmp_path / "read_models", database.env)
    published.rebuild(SHAPE, BEFORE, 5)
    database.sql("CREATE VIEW public.seen AS SELECT * FROM reads.accounts")
    changed = {key: row for key, row in AFTER.items() if key != ("a7",)}
    with published.delta(SHAPE, changed, [("a7",)], 9) as built:
        _killed(published, built.version, APPLY, step)
        done = step == "apply.3"
        assert _shown(published, database) == (changed if done else BEFORE)
        state = published.tables.states()["accounts"]
        assert (state.version, state.revision, state.position) == ((1, 1, 9) if done else (1, 0, 5))
        published.tables.apply([built.version])
        published.models.publish_update([built])
    assert _shown(published, database) == changed
    assert published.tables.states()["accounts"].position == 9
    _tidy(database, "accounts")


def _tidy(database: Database, *tables: str) -> None:
    """Nothing is left but these tables, and what the runner knows of them."""
    found = database.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'reads'::regnamespace AND relkind = 'r' ORDER BY 1"
    )
    assert [name for (name,) in found] == list(tables)
    assert database.sql("SELECT count(*) FROM projection_runner.tables") == [(len(tables),)]
    assert database.sql("SELECT count(*) FROM projection_runner.loaded") == [(0,)]
    assert database.sql("SELECT count(*) FROM pg_indexes WHERE tablename = 'accounts' AND indexname LIKE '%v2%'") == [
        (0,)
    ]


def test_the_steps_are_those_of_the_commit_order() -> None:
    assert len(OWN) == 12
