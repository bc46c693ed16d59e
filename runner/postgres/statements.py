"""Named SQL for Postgres: ``.sql`` files beside the modules, whose statements are filled with quoted names only.

A statement is text of ours: names go in as ``{table}`` through ``Identifier``, values as ``%(name)s`` parameters. So a
literal brace stands doubled there, and a literal percent sign too where the statement has parameters.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from psycopg.sql import SQL, Identifier

from runner.statements import statements

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["named_sql", "qualified"]


@cache
def named_sql(package: str, file: str) -> Mapping[str, SQL]:
    """The statements of a file by their names."""
    # The text is a file of the package, as literal as a string in the code.
    return {name: SQL(text) for name, text in statements(package, file).items()}


def qualified(schema: str | None, name: str) -> Identifier:
    """A table's name, quoted; with its schema unless that is None or ""."""
    return Identifier(schema, name) if schema else Identifier(name)
