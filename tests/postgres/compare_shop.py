"""The project that compares orders with the simulated shop's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stores_of_libraries import Project

from runner.jobs.comparing.compare import compare

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

    from runner.jobs.reports.comparisons import ComparedTable

__all__ = ["COMPARE", "PROGRESS", "TOTAL", "compared", "shop_project"]

TOTAL = '"Data" = jsonb_set("Data", \'{{total,euros}}\', to_jsonb({}))'
COMPARE = """
[compare.orders]
url_env = "{env}"
schema = "Shop"
table = "Orders"
filter = "deleted_at IS NULL -- what was deleted by hand"
{more}
progress = {progress}
[compare.orders.columns]
aggregate_id = "Id"
customer = "customerName"
status = {{ column = "Status", enum = "number" }}
total = {{ column = "Data", path = "total.euros" }}
paid = {{ column = "Data", path = "paid" }}
items = {{ column = "Data", path = ["n"] }}
reason = {{ column = "Data", path = "why" }}
opened_at = {{ column = "OpenedAt", zone = "Europe/Berlin" }}
touched_at = "touched"
"""
PROGRESS = '{ preset = "emmett", name = "orders" }'


def shop_project(folder: Path, database: Database, env: str = "", more: str = "", progress: str = PROGRESS) -> Project:
    project = Project(folder, "compare_projections", store={"preset": "emmett", "url_env": database.env})
    with (project.folder / "runner.toml").open("a") as file:
        file.write(COMPARE.format(env=env or database.env, more=more, progress=progress))
    project.sync()
    return project


def compared(project: Project, **options: Any) -> ComparedTable:
    (table,) = compare(project.config, ["orders"], **options).tables
    return table
