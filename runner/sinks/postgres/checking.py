"""What is looked at before a run begins: may the role do all of it, and can everything be carried over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from runner.errors import ReadModelError
from runner.postgres import translated
from runner.sinks.postgres.belongings import BELONGINGS, belongings, former_at, rehearsed
from runner.sinks.postgres.bookkeeping import ensure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.postgres import AnyConnection
    from runner.sinks.postgres.belongings import Belonging
    from runner.sinks.postgres.columns import Layout
    from runner.sinks.postgres.port import TablePlace

__all__ = ["check_place", "check_rights"]

OLDEST = 15
_COUNTED = (
    "index", "constraint", "statistics", "CHECK", "foreign key", "policy", "trigger", "rule", "publication", "view",
    "materialised view", "function", "sequence", "default", "grants", "comment",
)  # fmt: skip


def check_rights(connection: AnyConnection, schemas: Sequence[str]) -> None:
    """Raise ReadModelError with the GRANTs that are missing; makes the bookkeeping where it can be made."""
    missing: dict[str, None] = {}
    for schema in schemas:
        row = connection.execute(BELONGINGS["rights"], {"schema": schema}).fetchone()
        assert row is not None
        version, exists, may_create, temporary, on_database, in_own, on_own, role, database, quoted = row
        if version < OLDEST * 10_000:
            raise ReadModelError(
                f"read models need Postgres {OLDEST} or newer, this server is {version // 10_000}",
                hint="publish them on a newer server",
            )
        if not exists:
            raise ReadModelError(
                f"there is no schema {schema!r} for read models", hint=f"CREATE SCHEMA {quoted} AUTHORIZATION {role}"
            )
        if not may_create:
            missing[f"GRANT USAGE, CREATE ON SCHEMA {quoted} TO {role}"] = None
        if not temporary:
            missing[f"GRANT TEMPORARY ON DATABASE {database} TO {role}"] = None
        if on_own is None and not (in_own if in_own is not None else on_database):
            missing[f"CREATE SCHEMA projection_runner AUTHORIZATION {role}"] = None
        if on_own is False:
            missing[
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON projection_runner.tables, projection_runner.loaded TO {role}"
            ] = None
    if missing:
        raise ReadModelError("the role lacks privileges for read models", hint="; ".join(missing))
    ensure(connection)


def check_place(connection: AnyConnection, place: TablePlace, layout: Layout) -> str:
    """What a switch will do there, in words. Raises ReadModelError where it cannot."""
    with translated(place.words), connection.transaction():
        former = former_at(connection, place)
        if former is None:
            return f"{place.words}: a new table"
        items = belongings(connection, place, former, layout)
        refused = rehearsed(connection, place, items, layout)
    if refused:
        raise ReadModelError(
            f"{place.words} cannot be switched: {'; '.join(refused)}",
            hint="nothing was changed; the table stays as it is",
        )
    told = _counted(items)
    return f"{place.words}: a new table takes the place of version {former.version}" + (
        f", with {told}" if told else ""
    )


def _counted(items: Sequence[Belonging]) -> str:
    found: Counter[str] = Counter()
    for item in items:
        if item.phase in ("create", "index", "load", "matview", "switch"):
            kind = next((k for k in _COUNTED if item.name.startswith(k)), "")
            if kind and not (kind == "comment" and item.statement.endswith(" IS NULL")):
                found[kind] += 1
    return ", ".join(
        f"{number} {kind}{'' if kind.endswith('s') or number == 1 else 's'}" for kind, number in found.items()
    )
