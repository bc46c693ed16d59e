"""Each step of the proofs, by an interleaving that is scripted: who draws, commits or looks when is no matter of luck.

The scenarios are run once with the rules as they are, where nothing may be lost, and with copies of the rules in which
one step is moved or left out, where at least the scenario named for it must see a loss. So the scenarios are known to
bite.
"""

from __future__ import annotations

import inspect
import sys
import types
from contextlib import closing
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from tail_cases import (
    PAIRS,
    PARTITIONED,
    PLAIN,
    WITH_TRANSACTION,
    Clock,
    Naive,
    Reader,
    Scripted,
    check,
    committed,
    write,
)

from runner.errors import SourceError
from runner.sources.postgres.tail import choose, fence, transactions

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from fixtures_postgres import Database

    Connection = psycopg.Connection[tuple[Any, ...]]

RULES = {"gaps": (PLAIN, ("pos",)), "xid": (WITH_TRANSACTION, PAIRS)}


class Scene:
    """A table, a reader, one writer in a transaction (``slow``) and one that commits at once (``quick``)."""

    def __init__(self, database: Database, rule: str, reader: Callable[..., Reader]) -> None:
        table, columns = RULES[rule]
        self.database = database
        database.sql("DROP TABLE IF EXISTS events; " + table)
        self.slow, self.quick = database.connect(), database.connect()
        self.reader = reader(database, rule, columns)
        self.slow.autocommit = False

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.slow.close()
        self.quick.close()
        self.reader.close()

    def settle(self) -> None:
        """Read until nothing is left, and check."""
        for _ in range(3):
            self.reader.step()
        check(self.reader, committed(self.database))


def holds_what_was_drawn_before(database: Database, reader: type[Reader], rule: str = "gaps") -> None:
    """The plainest case, which the naive reader loses."""
    with Scene(database, rule, reader) as s:
        write(s.slow, "slow")
        write(s.quick, "quick")
        s.reader.step()
        s.slow.commit()
        s.settle()


def holds_what_is_drawn_just_before_the_highest_is_read(
    database: Database, reader: type[Reader], rule: str = "gaps"
) -> None:
    """A writer draws, and another one behind it commits, right before step A (in a swapped copy: after step B)."""
    with Scene(database, rule, reader) as s:
        write(s.quick, "first")

        def both() -> None:
            write(s.slow, "slow")
            write(s.quick, "quick")

        script = {"before_newest" if rule == "gaps" else "before_snapshot": both}
        s.reader.looking = scripted = Scripted(s.reader.looking, **script)
        s.reader.step()
        assert scripted.done
        s.slow.commit()
        s.settle()


def sees_what_commits_between_the_steps(database: Database, reader: type[Reader], rule: str = "gaps") -> None:
    """A writer commits between A and B: not seen as a holder any more, so its row must come with this reading."""
    with Scene(database, rule, reader) as s:
        write(s.slow, "slow")
        write(s.quick, "quick")
        script = {"after_newest" if rule == "gaps" else "after_snapshot": s.slow.commit}
        s.reader.looking = scripted = Scripted(s.reader.looking, **script)
        s.reader.step()
        assert scripted.done
        s.settle()


def sees_what_commits_before_the_look(database: Database, reader: type[Reader], rule: str = "gaps") -> None:
    """A reader whose snapshot is older than the look misses what was committed between."""
    with Scene(database, rule, reader) as s:
        write(s.slow, "slow")
        write(s.quick, "quick")
        s.reader.step()
        s.reader.looking = scripted = Scripted(s.reader.looking, before_facts=s.slow.commit)
        s.reader.step()
        assert scripted.done
        s.settle()


def holds_what_is_prepared(database: Database, reader: type[Reader], rule: str = "gaps") -> None:
    """A noted session prepares, and goes on with other work: the gap is the prepared transaction's now."""
    with Scene(database, rule, reader) as s:
        write(s.slow, "slow")
        write(s.quick, "quick")
        s.reader.step()
        s.slow.execute("PREPARE TRANSACTION 'order-7'")
        s.slow.autocommit = True
        settled = s.reader.step()
        assert [h.what for h in settled.holders] == ["prepared transaction 'order-7'"]
        assert "ROLLBACK PREPARED 'order-7'" in settled.holders[0].ends
        write(s.slow, "other")
        s.reader.step()
        s.slow.execute("COMMIT PREPARED 'order-7'")
        s.settle()


def holds_after_a_rollback_to_a_savepoint(database: Database, reader: type[Reader], rule: str = "gaps") -> None:
    """One of two positions is given up, the other is not."""
    with Scene(database, rule, reader) as s:
        write(s.slow, "kept")
        s.slow.execute("SAVEPOINT one")
        write(s.slow, "given up")
        s.slow.execute("ROLLBACK TO SAVEPOINT one")
        write(s.quick, "quick")
        s.reader.step()
        write(s.slow, "later")
        s.slow.commit()
        s.settle()
        assert s.reader.step().holders == ()


def goes_on_from_the_mark(database: Database, reader: type[Reader], rule: str = "gaps") -> None:
    """Between all looks another process takes over, which knows the mark only."""
    with Scene(database, rule, reader) as s:
        write(s.slow, "slow")
        write(s.quick, "quick")
        s.reader.step()
        s.reader.again()
        s.reader.step()
        s.slow.commit()
        write(s.slow, "slow", 2)
        write(s.quick, "quick", 2)
        s.reader.again()
        s.reader.step()
        s.slow.rollback()
        s.reader.again()
        s.settle()


SCENARIOS = (
    holds_what_was_drawn_before,
    holds_what_is_drawn_just_before_the_highest_is_read,
    sees_what_commits_between_the_steps,
    sees_what_commits_before_the_look,
    holds_what_is_prepared,
    holds_after_a_rollback_to_a_savepoint,
    goes_on_from_the_mark,
)


@pytest.mark.parametrize("rule", ["gaps", "xid"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__)
def test_nothing_is_lost(each_database: Database, scenario: Callable[..., None], rule: str) -> None:
    scenario(each_database, Reader, rule)


class ReadsBeforeItLooks(Reader):
    """The reader with its steps swapped: a snapshot first, then the look."""

    def step(self, between: Callable[[], None] = lambda: None) -> Any:
        self.reading.autocommit = False
        self.reading.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self.reading.execute("SELECT count(*) FROM events")
        found = super().step(between)
        self.reading.rollback()
        self.reading.autocommit = True
        return found


MUTANTS: dict[str, tuple[types.ModuleType, str, list[tuple[str, str]]]] = {
    "the writers are listed before the highest position is read": (
        fence,
        "gaps",
        [
            ("        seen = self._newest(connection)  # A\n", ""),
            (
                "        present = self._present(connection, sequence)  # B\n",
                "        present = self._present(connection, sequence)\n        seen = self._newest(connection)\n",
            ),
        ],
    ),
    "nobody is noted": (fence, "gaps", [("self._clock(), present, floors)", "self._clock(), {}, floors)")]),
    "prepared transactions are no writers": (
        fence,
        "gaps",
        [("{row[0]: sight(*row) for row in rows}", "{row[0]: sight(*row) for row in rows if row[1] is not None}")],
    ),
    "gaps are walked over": (
        fence,
        "gaps",
        [("if position > at + 1 and (stop :=", "if False and (stop :=")],
    ),
    "running transactions are no bound": (transactions, "xid", [("*(x for x, _ in blocking)", "")]),
    "prepared transactions end with their session": (
        transactions,
        "xid",
        [("if not here or (holder.pid is None and not locked):", "if holder.pid is None:")],
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_moved_step_is_caught(database: Database, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, rule, changes = MUTANTS[name]
    source = inspect.getsource(module)
    for old, new in changes:
        assert source.count(old) == 1, f"the text to be changed is not there once: {old}"
        source = source.replace(old, new)
    copy = types.ModuleType("a_changed_copy")
    exec(compile(source, "a_changed_copy.py", "exec"), copy.__dict__)
    changed = copy.FenceRule if rule == "gaps" else copy.TransactionRule
    monkeypatch.setitem(choose._RULES, rule, changed)
    caught = _caught(database, Reader, rule, monkeypatch)
    assert caught, "no scenario sees the difference"
    sys.stdout.write(f"{name}: seen by {', '.join(caught)}\n")


def test_a_snapshot_from_before_the_look_is_caught(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "sees_what_commits_before_the_look" in _caught(database, ReadsBeforeItLooks, "gaps", monkeypatch)


def _caught(database: Database, reader: type[Reader], rule: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    caught = []
    for scenario in SCENARIOS:
        try:
            scenario(database, reader, rule)
        except AssertionError:
            caught.append(scenario.__name__)
            _clear(database)
    return caught


def _clear(database: Database) -> None:
    for (gid,) in database.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
        database.sql(f"ROLLBACK PREPARED '{gid}'")


def test_the_naive_reader_loses_what_the_plainest_case_holds(database: Database) -> None:
    with Scene(database, "gaps", Reader) as s, closing(Naive(database)) as naive:
        drawn = write(s.slow, "slow")
        write(s.quick, "quick")
        naive.poll()
        s.reader.step()
        s.slow.commit()
        naive.poll()
        s.settle()
        assert drawn not in naive.positions
        assert drawn in s.reader.positions


def test_paging_by_position_alone_loses_rows_of_transactions(database: Database) -> None:
    """What Emmett's own reader does: below xmin, but by position."""
    with Scene(database, "xid", Reader) as s:
        s.slow.execute("SELECT pg_current_xact_id()")
        write(s.quick, "quick")
        write(s.slow, "slow")
        write(s.quick, "quick", 2)
        got: list[int] = []
        query = (
            "SELECT pos FROM events WHERE pos > %s AND tx < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY tx LIMIT 2"
        )
        s.slow.commit()
        for _ in range(4):
            got += [p for (p,) in s.quick.execute(query, (got[-1] if got else 0,)).fetchall()]
        assert sorted(got) != [1, 2, 3]
        s.settle()
        assert s.reader.positions == [2, 1, 3]


# What holds, and for how long
# ------------------------------------------------------------------------------------------


def test_a_gap_holds_no_longer_than_the_writers_alive_when_it_was_seen(each_database: Database) -> None:
    with Scene(each_database, "gaps", Reader) as s, closing(each_database.connect()) as other:
        other.autocommit = False
        write(s.slow, "slow")
        write(s.quick, "quick")
        assert s.reader.step().upto is None
        write(other, "other")
        write(s.quick, "quick", 2)
        s.slow.rollback()
        settled = s.reader.step()
        assert settled.upto == (2,), "the first gap's writer is gone; the one that came later does not hold it"
        assert [h.pid for h in settled.holders] == [other.info.backend_pid]
        assert s.reader.positions == [2]
        other.rollback()
        s.settle()


def test_later_writers_without_end_do_not_hold_an_old_gap(database: Database) -> None:
    """Writers overlap, so that there is always one: what was seen first goes on all the same."""
    with Scene(database, "gaps", Reader) as s:
        chain = [database.connect() for _ in range(6)]
        for connection in chain:
            connection.autocommit = False
        seen = []
        write(chain[0], "w0")
        for i, (before, now) in enumerate(pairwise(chain)):
            write(now, f"w{i + 1}")
            write(s.quick, "quick", i + 1)
            before.rollback()
            seen.append(s.reader.step().upto)
        for connection in chain:
            connection.close()
        s.settle()
        assert [u for u in seen if u is not None] == sorted(u for u in seen if u is not None)
        assert len(set(seen)) == len(seen), f"each round goes on: {seen}"


def test_holders_are_named(each_database: Database) -> None:
    with Scene(each_database, "gaps", Reader) as s:
        s.slow.execute("SET LOCAL application_name = 'billing'")
        write(s.slow, "slow")
        write(s.quick, "quick")
        (holder,) = s.reader.step().holders
        assert (holder.pid, holder.application, holder.what) == (
            s.slow.info.backend_pid,
            "billing",
            "idle in transaction",
        )
        assert holder.since is not None
        assert holder.ends == f"SELECT pg_terminate_backend({holder.pid})"


def test_who_does_not_draw_does_not_hold(database: Database) -> None:
    """Updates, locks of maintenance, readers: they wait for nobody and nobody for them."""
    with Scene(database, "gaps", Reader) as s, closing(database.connect()) as other:
        write(s.quick, "first")
        other.autocommit = False
        other.execute("LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")
        s.slow.execute("UPDATE events SET version = 1")
        given_up = database.connect()
        given_up.autocommit = False
        write(given_up, "given up")
        given_up.close()
        write(s.quick, "quick")
        settled = s.reader.step()
        assert settled.upto == settled.newest == (3,)
        assert settled.holders == ()


def test_a_leaf_named_directly_and_one_attached_later(each_database: Database) -> None:
    database = each_database
    database.sql(PARTITIONED)
    reader = Reader(database, "gaps", known=True)
    with closing(database.connect()) as slow, closing(database.connect()) as quick, closing(reader):
        slow.autocommit = False
        write(slow, "leaf", table="events_1_a", part=1)
        write(quick, "parent")
        assert reader.step().upto is None
        slow.commit()
        reader.step()
        assert reader.positions == [1, 2]
        # A table that draws from the same sequence becomes a partition later, with rows.
        quick.execute("CREATE TABLE events_7 (LIKE events INCLUDING DEFAULTS)")
        write(slow, "later", table="events_7", part=7)
        write(quick, "parent", 2)
        reader.step()
        assert reader.positions == [1, 2]
        slow.commit()
        reader.step()
        assert reader.positions == [1, 2, 4]
        quick.execute("ALTER TABLE events ATTACH PARTITION events_7 FOR VALUES IN (7)")
        reader.again()
        assert reader.step().late == ((3, 3),)
        assert reader.positions == [1, 2, 4, 3]
        # Rows that only move to another partition come once.
        quick.execute("ALTER TABLE events DETACH PARTITION events_7")
        reader.step()
        quick.execute("ALTER TABLE events ATTACH PARTITION events_7 FOR VALUES IN (7)")
        reader.step()
        check(reader, committed(database))


def test_an_attached_partition_stops_a_reader_that_cannot_tell_what_is_new(database: Database) -> None:
    database.sql(PARTITIONED)
    with closing(Reader(database, "gaps")) as reader:
        database.sql("CREATE TABLE events_7 (LIKE events INCLUDING DEFAULTS)")
        database.sql("INSERT INTO events_7 (agg, version, part) VALUES ('a', 1, 7)")
        database.sql("INSERT INTO events (agg, version) VALUES ('b', 1)")
        reader.step()
        database.sql("ALTER TABLE events ATTACH PARTITION events_7 FOR VALUES IN (7)")
        for _ in range(3):
            # A sync that failed commits its mark too: the partition is not known by it.
            with pytest.raises(SourceError, match=r"events_7 was attached with 1 rows .* pos 1 to 1"):
                reader.step()
            reader.mark = reader.tail.mark()
            reader.again()


def test_a_look_in_a_transaction_is_refused(database: Database) -> None:
    with Scene(database, "gaps", Reader) as s:
        s.reader.looking.autocommit = False
        with pytest.raises(SourceError, match="needs a connection in autocommit"):
            s.reader.step()


def test_idle_sessions_of_other_databases_and_other_tables_do_not_hold_transactions(
    database: Database, databases: Callable[[], Database]
) -> None:
    """A session that wrote elsewhere keeps its transaction open for ever: xmin stays, the watermark does not."""
    elsewhere = databases()
    clock = Clock()
    with (
        Scene(database, "xid", partial(Reader, clock=clock)) as s,
        closing(elsewhere.connect()) as other,
    ):
        other.autocommit = False
        other.execute("SELECT pg_current_xact_id()")
        write(s.quick, "quick")
        settled = s.reader.step()
        assert settled.holders == ()
        assert len(s.reader.log) == 1
        # In this database, without a lock on the table: passed after a while, its rows come when it has ended.
        s.slow.execute("SELECT pg_advisory_xact_lock(1), pg_current_xact_id()")
        write(s.quick, "quick", 2)
        assert s.reader.step().wait is not None
        assert len(s.reader.log) == 1
        s.reader.tail._rule._clock = lambda: __import__("datetime").datetime.max.replace(
            tzinfo=__import__("datetime").UTC
        )
        s.reader.step()
        assert len(s.reader.log) == 2
        s.reader.again()
        write(s.slow, "leader")
        write(s.quick, "quick", 3)
        s.reader.step()
        assert len(s.reader.log) == 3, "it writes, but it was passed: the others are not held"
        s.slow.commit()
        s.reader.again()
        settled = s.reader.step()
        assert settled.late
        s.settle()
