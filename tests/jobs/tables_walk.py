"""Run as a script: as ``crash_walk.py``, with read models that are tables in Postgres too.

``tables_walk.py DIRECTORY`` finds the URL of a database that is its own in RUNNER_WALK_URL, and makes copies of that.
Each walk begins with the directory and the database as they were before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from crash_walk import do, forked, warm
from job_project import ALL
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from published_project import SCHEMA, PublishedProject

ENV = "RUNNER_WALK_URL"


class Databases:
    """The database of the walks, and copies of it."""

    def __init__(self, url: str) -> None:
        self.name = str(conninfo_to_dict(url)["dbname"])
        self._server = make_conninfo(url, dbname="postgres")

    def keep(self, copy: str) -> None:
        self._make(copy, self.name)

    def bring_back(self, copy: str) -> None:
        self._make(self.name, copy)

    def drop(self, copy: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(copy)))

    def _make(self, name: str, template: str) -> None:
        self.drop(name)
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )


def digests(project: PublishedProject, path: Path) -> None:
    """What users see here and there: digest of the rows, checkpoint."""
    found: dict[str, Any] = {"embedded": {}, "tables": {}, "others": []}
    for name in ALL:
        live = project.models.live(name)
        if live is not None:
            found["embedded"][name] = [digest(project.rows(name)), int(live.position)]
    if project.ask("SELECT to_regclass('projection_runner.read_models')")[0][0] is not None:
        for name, (_, _, position) in project.states().items():
            columns = project.ask(
                "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
                f"WHERE attrelid = '{SCHEMA}.{name}'::regclass AND attnum > 0"
            )[0][0]
            keys = 2 if name == "items" else 1
            rows = project.ask(f"SELECT {columns} FROM {SCHEMA}.{name}")
            by_key = {row[0] if keys == 1 else row[:keys]: row[keys:] for row in rows}
            found["tables"][name] = [digest(by_key), position]
        every = project.ask(f"SELECT tablename FROM pg_tables WHERE schemaname = '{SCHEMA}'")
        found["others"] = sorted(table for (table,) in every)
    path.write_text(json.dumps(found))


def digest(rows: dict[Any, Any]) -> str:
    return hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest()


def seen(project: PublishedProject) -> Any:
    path = project.root.with_name("digests.json")
    code = forked(partial(digests, project, path))
    return json.loads(path.read_text()) if code == 0 else {"failed": code}


def main() -> None:
    root, url = Path(sys.argv[1]), os.environ[ENV]
    project, databases = PublishedProject(root / "work", env=ENV, url=url), Databases(url)
    project.do(f"CREATE SCHEMA {SCHEMA}")
    databases.keep(f"{databases.name}_empty")
    warm(project, digests)
    before: dict[str, tuple[str, Any]] = {}
    for walk in json.load(sys.stdin):
        key = json.dumps(walk["before"])
        if key not in before:
            copy = f"{databases.name}_{len(before)}"
            databases.bring_back(f"{databases.name}_empty")
            project.root.mkdir()
            codes = [forked(partial(do, project, *one)) for one in walk["before"]]
            before[key] = copy, {"before": codes, "seen_before": seen(project)}
            databases.keep(copy)
            project.root.rename(root / copy)
        copy, told = before[key]
        databases.bring_back(copy)
        shutil.copytree(root / copy, project.root, symlinks=True)
        result = {
            "name": walk["name"],
            **told,
            "crash": forked(partial(do, project, *walk["run"]), crash=walk["crash"]),
            "after_crash": seen(project),
            "again": [forked(partial(do, project, *one)) for one in walk["again"]],
            "after": seen(project),
        }
        shutil.rmtree(project.root)
        print(json.dumps(result), flush=True)  # noqa: T201  # what the test reads
    for copy in [f"{databases.name}_empty", *(c for c, _ in before.values())]:
        databases.drop(copy)


if __name__ == "__main__":
    main()
