"""The comparison itself: two relations joined by key, the cells that differ, and the pattern of each."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from runner.errors import ReadModelError
from runner.sinks.differences.domains import differs, literal, text_of
from runner.sinks.differences.model import Domain, Found, Group, Sample
from runner.sinks.differences.patterns import OTHER, Family, Pattern, families_of, patterns_of
from runner.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runner.sinks.differences.model import Compared

__all__ = ["Comparing", "comparing"]

SQL = statements("runner.sinks.differences", "find.sql")
SAMPLES = 5
SIZES = 5
"""Of a family, how many sizes become patterns of their own."""


@contextmanager
def comparing(scratch: Path, *, threads: int = 0) -> Iterator[Comparing]:
    """A comparison at work. scratch: a directory for what does not fit into memory, which is not emptied afterwards.

    Raises ReadModelError where DuckDB fails, as for want of space.
    """
    try:
        with duckdb.connect(str(scratch / "comparison.duckdb")) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET threads = {threads or len(os.sched_getaffinity(0))}")
            connection.execute(f"SET temp_directory = {literal(str(scratch))}")
            yield Comparing(connection)
    except duckdb.Error as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ReadModelError(f"the comparison failed: {' '.join(lines[:2])}") from error


@dataclass
class Comparing:
    """key, columns: of the last ``find``. Its table ``differing`` stays for who goes on with it: k0.. (keys, x0.. as
    they stand there), a0.. (here), b0.. and t0.. (there, and as text), d0.. (different), here_too, there_too.
    """

    connection: duckdb.DuckDBPyConnection
    key: tuple[Compared, ...] = ()
    columns: tuple[Compared, ...] = ()

    def find(
        self, here: str, there: str, key: Sequence[Compared], columns: Sequence[Compared], *, samples: int = SAMPLES
    ) -> Found:
        """Compare two relations (queries of DuckDB) whose rows are known by ``key``.

        A key that the table has several times is a difference of its own; its rows are left out of the others.
        """
        self.key, self.columns = tuple(key), tuple(columns)
        self._load(here, there)
        rows_here, rows_there = self._count("here"), self._count("there")
        groups = [*self._twice(samples)]
        self._join()
        changed = self._count("differing", "here_too AND there_too")
        missing_there = self._count("differing", "NOT there_too")
        missing_here = self._count("differing", "NOT here_too")
        groups += self._rows(samples)
        for i, column in enumerate(self.columns):
            groups += self._cells(i, column, samples)
        twice = self._one("here_of_twice", same_key=self._same_key("here", "twice"))
        equal = rows_here - changed - missing_there - twice
        return Found(rows_here, rows_there, equal, changed, missing_there, missing_here, tuple(groups))

    # Loading and joining ----------------------------------------------------------------------------------------------

    def _load(self, here: str, there: str) -> None:
        keys, cells = list(enumerate(self.key)), list(enumerate(self.columns))
        mine = [f"{c.here} AS k{i}" for i, c in keys] + [f"{c.here} AS a{i}" for i, c in cells]
        theirs = [f"{c.there} AS k{i}" for i, c in keys] + [f"{c.there} AS b{i}" for i, c in cells]
        # What is no text there becomes one only where it differs: a million times it would be most of the work.
        theirs += [f"{c.there_text} AS x{i}" for i, c in keys if c.there_text]
        theirs += [f"{c.there_text} AS t{i}" for i, c in cells if c.there_text]
        self._run("load", side="here", columns=", ".join(mine), rows=here)
        self._run("load", side="there", columns=", ".join(theirs), rows=there)
        self._run("twice", keys=self._keys())

    def _join(self) -> None:
        cells = list(enumerate(self.columns))
        different = [f"(here_too AND there_too AND {_of_cell(differs(c), i)}) AS d{i}" for i, c in cells]
        keys = list(enumerate(self.key))
        joined = [f"coalesce(here.k{i}, there.k{i}) AS k{i}" for i, _ in keys]
        joined += [f"there.x{i} AS x{i}" for i, c in keys if c.there_text]
        joined += ["here.here_too IS NOT NULL AS here_too", "there.there_too IS NOT NULL AS there_too"]
        joined += [f"a{i}, b{i}" + (f", t{i}" if c.there_text else "") for i, c in cells]
        different += [f"{text_of(f'k{i}', c.domain)} AS x{i}" for i, c in keys if not c.there_text]
        different += [f"{text_of(f'b{i}', c.domain)} AS t{i}" for i, c in cells if not c.there_text]
        self._run(
            "differing",
            different="".join(f", {condition}" for condition in different),
            joined=", ".join(joined),
            here_twice=self._same_key("here", "twice"),
            there_twice=self._same_key("there", "twice"),
            same_key=self._same_key("here", "there"),
            any_different=" OR ".join(["NOT here_too", "NOT there_too", *(f"d{i}" for i, _ in cells)]),
        )

    def _same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.k{i} IS NOT DISTINCT FROM {right}.k{i}" for i in range(len(self.key)))

    def _keys(self, form: str = "k{i}") -> str:
        return ", ".join(form.format(i=i) for i in range(len(self.key)))

    # Rows -------------------------------------------------------------------------------------------------------------

    def _twice(self, samples: int) -> Iterator[Group]:
        rows = self._one("rows_twice")
        if rows:
            found = self._run("samples_twice", keys=self._keys(), samples=samples).fetchall()
            shown = tuple(Sample(tuple(row[:-1]), None, f"{row[-1]} rows") for row in found)
            yield Group("", "several rows of one key there", f"{self._count('twice')} keys", rows, shown)

    def _rows(self, samples: int) -> Iterator[Group]:
        """Rows that one side alone has; first those whose key is only written in another way."""
        rewritten = self._rewritten()
        if rewritten:
            found = self._run("samples_rewritten", keys=self._keys(), samples=samples).fetchall()
            shown = tuple(Sample(tuple(row[:-2]), row[-2], row[-1]) for row in found)
            yield Group("", "key written otherwise", "spaces or case", rewritten, shown)
        for side, pattern, here, there in (
            ("there_too", "missing there", "a row", None),
            ("here_too", "missing here", None, "a row"),
        ):
            mine = "mine" if side == "there_too" else "theirs"
            condition = f"NOT {side}" + (f" AND rowid NOT IN (FROM rewritten SELECT {mine})" if rewritten else "")
            rows = self._count("differing", condition)
            if not rows:
                continue
            found = self._run(
                "samples_missing", keys=self._keys("k{i}, x{i}"), condition=condition, samples=samples
            ).fetchall()
            # A key that cannot be read as one is shown as it stands there.
            shown = tuple(
                Sample(tuple(x if k is None else k for k, x in zip(row[::2], row[1::2], strict=True)), here, there)
                for row in found
            )
            yield Group("", pattern, "", rows, shown)

    def _rewritten(self) -> int:
        texts = [i for i, c in enumerate(self.key) if c.domain in (Domain.TEXT, Domain.UUID)]
        if not texts:
            return 0
        same = " AND ".join(
            f"lower(trim(m.k{i})) = lower(trim(t.k{i}))" if i in texts else f"m.k{i} IS NOT DISTINCT FROM t.k{i}"
            for i in range(len(self.key))
        )
        here, there = (
            " || ', ' || ".join(f"coalesce({side}.k{i}::VARCHAR, '')" for i in range(len(self.key))) for side in "mt"
        )
        self._run("rewritten", keys=self._keys("m.k{i} AS k{i}"), here=here, there=there, same=same)
        return self._count("rewritten")

    # Cells ------------------------------------------------------------------------------------------------------------

    def _cells(self, i: int, column: Compared, samples: int) -> Iterator[Group]:
        keys = self._keys()
        if not self._count("differing", f"d{i}"):
            return
        self._run("cells", keys=keys, i=i)
        ordered = self._by_what_they_explain(column)
        cases = " ".join(f"WHEN coalesce(TRY({p.condition}), false) THEN {n}" for n, p in enumerate(ordered))
        self._run("named", cases=cases or "WHEN false THEN 0", other=len(ordered))
        for number, rows in self._run("groups").fetchall():
            pattern = ordered[number] if number < len(ordered) else Pattern(OTHER, "")
            detail = self._value("detail", detail=pattern.detail, number=number) if pattern.detail else None
            here = text_of("a", column.domain)
            shown = self._run("samples_named", keys=keys, here=here, number=number, samples=samples).fetchall()
            examples = tuple(Sample(tuple(row[:-2]), row[-2], row[-1]) for row in shown)
            yield Group(column.name, pattern.name, str(detail or ""), rows, examples)

    def _by_what_they_explain(self, column: Compared) -> list[Pattern]:
        """The patterns that some cell is an example of: those that leave nothing else to be said, then by how many."""
        patterns = [*patterns_of(column)]
        settled = " OR ".join(f"coalesce(TRY({p.condition}), false)" for p in patterns if p.first)
        for family in families_of(column):
            patterns += self._sizes(family, f"NOT ({settled})")
        counts = self._run(
            "explained", counts=", ".join(f"count(*) FILTER (coalesce(TRY({p.condition}), false))" for p in patterns)
        ).fetchone()
        assert counts is not None
        ranked = [(p, n, at) for at, (p, n) in enumerate(zip(patterns, counts, strict=True)) if n]
        others = sorted((r for r in ranked if not r[0].first), key=lambda r: (-r[1], r[2]))
        return [p for p, _, _ in ranked if p.first] + [p for p, _, _ in others]

    def _sizes(self, family: Family, rest: str) -> list[Pattern]:
        found = self._run(
            "sizes",
            words=family.words,
            size=family.size,
            rest=rest,
            least=family.least,
            varied="AND count(DISTINCT a) > 1" if family.varied else "",
            sizes=SIZES,
        ).fetchall()
        return [
            Pattern(family.name, f"({family.size})::VARCHAR = {literal(size)}", literal(words))
            for size, words, _ in found
        ]

    # Helping ----------------------------------------------------------------------------------------------------------

    def _run(self, name: str, **parts: object) -> duckdb.DuckDBPyConnection:
        return self.connection.execute(SQL[name].format(**parts))

    def _value(self, name: str, **parts: object) -> Any:
        row = self._run(name, **parts).fetchone()
        return None if row is None else row[0]

    def _one(self, name: str, **parts: object) -> int:
        return int(self._value(name, **parts))

    def _count(self, table: str, condition: str = "true") -> int:
        return self._one("count", table=table, condition=condition)


def _of_cell(condition: str, i: int) -> str:
    """A condition over a, b, t (``differs``, which holds no other texts) as one over the i-th column."""
    return re.sub(r"\b([abt])\b", rf"\g<1>{i}", condition)
