"""The rule by time, with a clock that the test moves: what turns up in a gap that was passed is taken in, counted and
named."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores_of_libraries import read
from tail_cases import PLAIN, Clock, Reader, check, committed, relation, write

from runner.errors import ConfigError, SourceError
from runner.postgres import Identifier
from runner.sources.postgres.tail import Relation, TailConfig, gaps
from runner.sources.postgres.tail.choose import tail_for
from runner.sources.postgres.tail.durability import Durability
from runner.sources.postgres.tail.gaps import OpenGaps, positions_of, ranges_of
from runner.sources.postgres.tail.identity import StoreIdentity

if TYPE_CHECKING:
    from fixtures_postgres import Database

BY_TIME = """
    CREATE SEQUENCE drawn;
    CREATE TABLE events (pos bigint PRIMARY KEY, agg text NOT NULL, version int NOT NULL)
"""


def draw(database: Database) -> int:
    """A position in autocommit, as Marten's rich mode draws it: on another connection than the insert."""
    return int(database.sql("SELECT nextval('drawn')")[0][0])


def insert(database: Database, position: int, agg: str, version: int = 1) -> None:
    with database.connect() as connection:
        connection.execute("INSERT INTO events VALUES (%s, %s, %s)", (position, agg, version))


@pytest.mark.parametrize("each_look_a_process", [False, True])
def test_a_position_inserted_ten_minutes_later_is_taken_in_counted_and_named(
    database: Database, each_look_a_process: bool
) -> None:
    database.sql(BY_TIME)
    clock = Clock()
    reader = Reader(database, "time", clock=clock)

    def step() -> Any:
        if each_look_a_process:
            reader.again()
        return reader.step()

    with closing(reader):
        insert(database, draw(database), "first")
        drawn = draw(database)
        insert(database, draw(database), "quick")
        settled = step()
        assert settled.upto == (1,)
        assert settled.wait == 10.0
        assert "a gap after position 1" in settled.holders[0].what
        clock.move(seconds=9)
        assert step().upto == (1,)
        clock.move(seconds=1)
        assert step().upto == (3,)
        assert reader.positions == [1, 3]
        clock.move(minutes=10)
        assert step().open_gaps == 2  # position 0 too, below the first
        insert(database, drawn, "late")
        settled = step()
        assert settled.late == ((drawn, drawn),)
        assert settled.late_events == 1
        assert reader.late == [("late", 1)]
        settled = step()
        assert (settled.late, settled.late_events, settled.open_gaps) == ((), 1, 1)
        check(reader, committed(database))


def test_gaps_are_asked_for_a_week_and_no_longer(database: Database) -> None:
    database.sql(BY_TIME)
    clock = Clock()
    with closing(Reader(database, "time", clock=clock)) as reader:
        first, second = draw(database), draw(database)
        insert(database, draw(database), "quick")
        reader.step()
        clock.move(seconds=10)
        reader.step()
        clock.move(days=6, hours=23)
        insert(database, first, "late")
        assert reader.step().late == ((first, first),)
        clock.move(hours=2)
        insert(database, second, "too late")
        settled = reader.step()
        assert settled.late == ()
        assert settled.open_gaps == 0


def test_a_late_row_that_was_given_and_not_committed_is_given_again(database: Database) -> None:
    """A commit between the look and the late rows: the mark still owes them."""
    database.sql(BY_TIME)
    clock = Clock()
    with closing(Reader(database, "time", clock=clock)) as reader:
        drawn = [draw(database) for _ in range(3)]
        insert(database, draw(database), "quick")
        reader.step()
        clock.move(seconds=10)
        reader.step()
        for position in drawn:
            insert(database, position, f"late {position}")
        settled = reader.tail.look(reader.looking)
        assert settled.late == ((1, 3),)
        reader.tail.taken([np.array([1, 2])], late=True)
        reader.mark = reader.tail.mark()
        reader.again()
        assert reader.tail.look(reader.looking).late == ((3, 3),)


def test_old_gaps_of_a_first_reading_are_not_kept(database: Database) -> None:
    """The rows behind them were recorded long ago, so whoever drew them has had his week."""
    open_gaps = OpenGaps()
    clock = Clock()
    day = 86_400 * 1_000_000
    now = round(clock.now.timestamp() * 1_000_000)
    recorded = np.array([now - 9 * day, now - 8 * day, now - 6 * day, np.iinfo(np.int64).min])
    open_gaps.pass_over(0, np.array([5, 10, 20, 30]), recorded, clock.now, timedelta(days=7))
    assert [(a, b) for a, b, _ in open_gaps] == [(11, 19), (21, 29)]


def test_gaps_below_events_that_were_dated_back_are_asked_for_again(database: Database) -> None:
    """Only what the first look found may be as old as it says."""
    database.sql("CREATE TABLE events (pos bigint PRIMARY KEY, agg text, type text, at timestamptz, data jsonb)")
    keys: dict[str, Any] = {
        "preset": "custom",
        "table": "events",
        "position": "pos",
        "aggregate_id": "agg",
        "type": "type",
        "recorded_at": "at",
        "payload": "data",
        "tail": {"rule": "time", "grace": 0},
    }

    def came(mark: Any, *drawn: int) -> tuple[list[int], Any]:
        for n in drawn:
            database.sql(f"INSERT INTO events VALUES ({n}, 'a{n}', 't', now() - interval '30 days', '{{}}')")
        events, mark = read(database, mark, **keys)
        return [e["source_position_1"] for e in events], mark

    found, mark = came(None, 1, 3)
    assert found == [1, 3]
    found, mark = came(mark, 6, 9)
    assert found == [6, 9]
    found, mark = came(mark, 2, 4, 8)
    assert found == [4, 8], "position 2 was drawn before a row that was a month old at the first look"
    assert came(mark)[0] == []


def test_more_gaps_than_can_be_kept_are_given_up_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "MOST", 10)
    open_gaps, clock = OpenGaps(), Clock()
    open_gaps.pass_over(0, np.arange(2, 22, 2), None, clock.now, timedelta(days=7))
    clock.move(minutes=1)
    open_gaps.pass_over(20, np.arange(23, 33, 3), None, clock.now, timedelta(days=7))
    assert len(open_gaps) == 10
    assert open_gaps.given_up == 4
    assert OpenGaps(open_gaps.to_json()).given_up == 4
    assert open_gaps.hold(np.array([1, 21, 22, 30])).tolist() == [False, True, True, True]


@settings(max_examples=150, deadline=None)
@given(st.sets(st.integers(0, 80)), st.data())
def test_open_gaps_are_a_set_of_positions(there: set[int], data: st.DataObject) -> None:
    """Against the plain twin: the set of positions that were passed and have not turned up."""
    clock, window = Clock(), timedelta(days=7)
    open_gaps, twin = OpenGaps(), {}
    before = -1
    for position in sorted(there):
        if data.draw(st.booleans()):
            clock.move(hours=12)
        open_gaps.pass_over(before, np.array([position]), None, clock.now, window)
        twin |= dict.fromkeys(range(before + 1, position), clock.now)
        before = position
        turned_up = data.draw(st.sets(st.sampled_from(sorted(twin)))) if twin else set()
        if turned_up:
            open_gaps.take(np.array(sorted(turned_up)))
            twin = {p: t for p, t in twin.items() if p not in turned_up}
        open_gaps.expire(clock.now, window)
        twin = {p: t for p, t in twin.items() if clock.now - t <= window}
        open_gaps = OpenGaps(open_gaps.to_json())
        assert {p for a, b, _ in open_gaps for p in range(a, b + 1)} == set(twin)
        assert open_gaps.positions == len(twin)
        assert open_gaps.hold(np.arange(90)).tolist() == [p in twin for p in range(90)]


@given(st.sets(st.integers(-5, 50)))
def test_ranges_are_the_positions(positions: set[int]) -> None:
    array = np.array(sorted(positions), np.int64)
    ranges = ranges_of(array)
    assert positions_of(ranges).tolist() == sorted(positions)
    assert all(b + 1 < c for (_, b), (c, _) in pairwise(ranges))


# Which rule holds
# -------------------------------------------------------------------------------------------------------


def test_a_fence_is_refused_where_it_does_not_hold(database: Database) -> None:
    def look(table: str, **more: str) -> None:
        database.sql("DROP TABLE IF EXISTS events; DROP SEQUENCE IF EXISTS drawn; " + table)
        with closing(Reader(database, TailConfig("gaps", **more))) as reader:
            reader.step()

    with pytest.raises(SourceError, match=r"draws from no sequence .* gaps cannot be fenced .*tail\.sequence"):
        look(BY_TIME)
    look(BY_TIME, sequence="public.drawn")
    with pytest.raises(SourceError, match="there is no sequence nothing"):
        look(BY_TIME, sequence="nothing")
    with pytest.raises(SourceError, match=r"has CACHE 20: .*ALTER SEQUENCE events_pos_seq CACHE 1 .*\"sessions\""):
        look(PLAIN + "; ALTER SEQUENCE events_pos_seq CACHE 20")
    with pytest.raises(SourceError, match="cycles"):
        look(PLAIN + "; ALTER SEQUENCE events_pos_seq CYCLE")
    with pytest.raises(SourceError, match="descends"):
        look(PLAIN.replace("IDENTITY", "IDENTITY (INCREMENT -1)"))
    with pytest.raises(SourceError, match="is not there any more"):
        look("SELECT 1")


def test_wrong_rules_are_refused() -> None:
    one = Relation("[sources.x]", Identifier("events"), ("pos",))
    two = Relation("[sources.x]", Identifier("events"), ("a", "b"))
    for rule, rows, words in (
        ("xid", one, "transaction's column"),
        ("gaps", two, "two order the rows"),
        ("x", one, "x"),
    ):
        with pytest.raises(ConfigError, match=words):
            tail_for(TailConfig(rule), rows, None)


def test_alter_sequence_makes_sessions_drop_their_blocks(each_database: Database) -> None:
    """What the refusal advises is enough: no session goes on with a block from before."""
    each_database.sql(PLAIN + "; ALTER SEQUENCE events_pos_seq CACHE 10")
    with closing(each_database.connect()) as one, closing(each_database.connect()) as other:
        assert [write(one, "a"), write(other, "b")] == [1, 11]
        each_database.sql("ALTER SEQUENCE events_pos_seq CACHE 1")
        assert [write(one, "a", 2), write(other, "b", 2), write(one, "a", 3)] == [21, 22, 23]
        with closing(Reader(each_database, "gaps")) as reader:
            reader.step()
            check(reader, committed(each_database))


def test_sessions_that_had_a_block_hold_its_gap_until_they_end(each_database: Database) -> None:
    each_database.sql(PLAIN + "; ALTER SEQUENCE events_pos_seq CACHE 10")
    with closing(Reader(each_database, "sessions")) as reader, closing(each_database.connect()) as quick:
        idle = each_database.connect(application_name="idle pool")
        idle.execute("SELECT 1")
        slow = each_database.connect(application_name="pool")
        write(slow, "slow")
        write(quick, "quick")
        settled = reader.step()
        assert settled.upto == (1,)
        assert {h.application for h in settled.holders} == {"pool", "idle pool", ""}
        write(slow, "slow", 2)
        reader.step()
        assert reader.positions == [1, 2]
        # Who has been idle since before a gap was drawn does not hold it, however long he lives.
        slow.close()
        write(quick, "quick", 2)
        third = each_database.connect()
        write(third, "third")
        third.close()
        wait_until_gone(each_database, 2)
        settled = reader.step()
        assert settled.upto == (2,), "the idle pool may have the first block"
        idle.close()
        wait_until_gone(each_database, 1)
        settled = reader.step()
        quick.close()
        wait_until_gone(each_database, 0)
        reader.step()
        check(reader, committed(each_database))


def wait_until_gone(database: Database, left: int) -> None:
    """Until so many sessions other than readers are there: a closed connection's backend takes a moment to end."""
    end = time.monotonic() + 20
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND application_name NOT LIKE 'projection-runner:%' AND backend_type = 'client backend'"
    )
    while database.sql(count)[0][0] > left:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_serialised_appends_are_settled_as_they_are_seen(database: Database) -> None:
    """As the eventsourcing library appends: the table is locked before a position is drawn."""
    database.sql(PLAIN)
    config = TailConfig("serialised", reason="appends lock the table")
    with closing(Reader(database, config)) as reader, closing(database.connect()) as slow:
        slow.autocommit = False
        slow.execute("LOCK TABLE events IN EXCLUSIVE MODE")
        write(slow, "slow")
        with database.connect() as quick, pytest.raises(psycopg.errors.LockNotAvailable), quick.transaction():
            quick.execute("LOCK TABLE events IN EXCLUSIVE MODE NOWAIT")
        reader.step()
        slow.commit()
        settled = reader.step()
        assert settled.words == "exact: appends lock the table"
        check(reader, committed(database))


@pytest.mark.parametrize("rule", ["gaps", "sessions"])
def test_a_copied_table_is_read_by_time(database: Database, rule: str) -> None:
    """Its positions were not drawn from its sequence, so no lock tells who writes."""
    database.sql(
        PLAIN.replace("ALWAYS", "BY DEFAULT") + "; ALTER SEQUENCE events_pos_seq CACHE 2" * (rule == "sessions")
    )
    clock = Clock()
    with closing(Reader(database, rule, clock=clock)) as reader, closing(database.connect()) as slow:
        slow.autocommit = False
        write(slow, "slow", pos=1)
        database.sql("INSERT INTO events (pos, agg, version) VALUES (2, 'quick', 1)")
        settled = reader.step()
        assert "by time" in settled.words
        assert "the table is a copy" in settled.words
        assert reader.positions == []
        clock.move(seconds=10)
        reader.again()
        reader.step()
        assert reader.positions == [2]
        slow.commit()
        reader.again()
        reader.step()
        assert reader.positions == [2, 1]
        # From here on the sequence is used.
        database.sql("SELECT setval('events_pos_seq', 100)")
        write(slow, "drawn")
        slow.commit()
        slow.close()
        wait_until_gone(database, 0)
        settled = reader.step()
        assert "by time" not in settled.words
        check(reader, committed(database))


def test_a_role_that_may_only_select(each_database: Database) -> None:
    """Other roles' sessions show no state, the sequence no value: the rules are as safe, and holders are named."""
    each_database.sql(PLAIN)
    role = each_database.role("GRANT SELECT ON events TO {role}")
    with closing(Reader(each_database, "gaps")) as reader, closing(each_database.connect(application_name="b")) as slow:
        reader.looking.close()
        reader.looking = psycopg.connect(role.url, autocommit=True)
        StoreIdentity.read(reader.looking, relation())
        durability = Durability(reader.looking, "[sources.x]")
        slow.autocommit = False
        write(slow, "slow")
        with each_database.connect() as quick:
            write(quick, "quick")
        (holder,) = reader.step().holders
        assert (holder.pid, holder.application) == (slow.info.backend_pid, "b")
        assert "pg_read_all_stats" in holder.what
        slow.commit()
        reader.step()
        durability.note()
        durability.wait(30)
        check(reader, committed(each_database))
