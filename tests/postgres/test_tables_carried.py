"""What hangs on a live table goes over to the next with the switch, and back with the rollback, object by object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from published_tables import Published, settings_of, with_schema

from runner.errors import ReadModelError
from runner.postgres import connect
from runner.testing.read_model_rows import keyed_shape

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

SHAPE = replace(keyed_shape(), required=("aggregate_id",), indexes=(("balance",),))
ROWS = {(f"a{i}",): (i, f"n{i}") for i in range(20)}
LIVE = "'reads.accounts'::regclass"


@dataclass(frozen=True)
class Case:
    """made: what somebody does to the live table. looked: SQL that has to say the same after each switch."""

    made: str
    looked: str


def _column(what: str) -> str:
    return f"SELECT attname, {what} FROM pg_attribute WHERE attrelid = {LIVE} AND attnum > 0 ORDER BY 1"


CASES = {
    "grants": Case(
        "GRANT SELECT ON reads.accounts TO {role} WITH GRANT OPTION; GRANT UPDATE ON reads.accounts TO {other};"
        "REVOKE DELETE ON reads.accounts FROM {me}; GRANT SELECT ON reads.accounts TO PUBLIC",
        f"SELECT unnest(relacl)::text FROM pg_class WHERE oid = {LIVE} ORDER BY 1",
    ),
    "column grants": Case(
        "GRANT SELECT (balance), UPDATE (note) ON reads.accounts TO {role}", _column("attacl::text")
    ),
    "grants of nobody": Case(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA reads GRANT SELECT ON TABLES TO {role}; REVOKE ALL ON "
        "reads.accounts FROM {role}",
        "SELECT has_table_privilege('{role}', 'reads.accounts', 'SELECT')",
    ),
    "owner": Case(
        "GRANT CREATE, USAGE ON SCHEMA reads TO {role}; ALTER TABLE reads.accounts OWNER TO {role}",
        f"SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = {LIVE}",
    ),
    "comments": Case(
        "COMMENT ON TABLE reads.accounts IS 'it''s \"here\" {{x}} 100%'; COMMENT ON COLUMN reads.accounts.note "
        "IS 'n';"
        "COMMENT ON INDEX reads.accounts_pkey IS 'i'; COMMENT ON CONSTRAINT accounts_pkey ON reads.accounts IS 'c'",
        f"SELECT obj_description({LIVE}, 'pg_class'), col_description({LIVE}, 3),"
        " obj_description('reads.accounts_pkey'::regclass, 'pg_class'),"
        f" (SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conrelid = {LIVE} AND contype "
        f"= 'p')",
    ),
    "index": Case(
        'CREATE UNIQUE INDEX "Odd ""index""" ON reads.accounts USING btree (lower(note) DESC, balance)'
        " INCLUDE (aggregate_id) WITH (fillfactor = 70) WHERE balance > 3",
        f"SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index WHERE indrelid = {LIVE} ORDER BY 1",
    ),
    "unique constraint": Case(
        "ALTER TABLE reads.accounts ADD CONSTRAINT once UNIQUE (balance, note) DEFERRABLE INITIALLY DEFERRED",
        f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = {LIVE} AND contype IN "
        f"('u', 'p')",
    ),
    "exclusion": Case(
        "ALTER TABLE reads.accounts ADD CONSTRAINT apart EXCLUDE USING btree (balance WITH =)",
        f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = {LIVE} AND contype = 'x'",
    ),
    "check": Case(
        "ALTER TABLE reads.accounts ADD CHECK (balance >= 0), ADD CONSTRAINT short CHECK (length(note) < 9) NOT "
        "VALID",
        f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = {LIVE} AND contype = "
        f"'c' ORDER BY 1",
    ),
    "not null": Case("ALTER TABLE reads.accounts ALTER balance SET NOT NULL", _column("attnotnull")),
    "default": Case(
        "ALTER TABLE reads.accounts ALTER note SET DEFAULT 'none', ALTER balance SET DEFAULT 1 + 1",
        f"SELECT adnum, pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = {LIVE} ORDER BY 1",
    ),
    "owned sequence": Case(
        "CREATE SEQUENCE reads.numbers OWNED BY reads.accounts.balance;"
        "ALTER TABLE reads.accounts ALTER balance SET DEFAULT nextval('reads.numbers')",
        "SELECT pg_get_serial_sequence('reads.accounts', 'balance'),"
        f" (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = {LIVE})",
    ),
    "statistics": Case(
        "CREATE STATISTICS reads.together (ndistinct) ON balance, note FROM reads.accounts;"
        "ALTER TABLE reads.accounts ALTER note SET STATISTICS 37, ALTER balance SET (n_distinct = -0.5)",
        f"SELECT attname, attstattarget, attoptions, (SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext"
        f" WHERE stxrelid = {LIVE}) FROM pg_attribute WHERE attrelid = {LIVE} AND attnum > 0 ORDER BY 1",
    ),
    "storage": Case(
        "ALTER TABLE reads.accounts ALTER note SET STORAGE EXTERNAL, ALTER note SET COMPRESSION pglz;"
        "ALTER TABLE reads.accounts SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01,"
        " toast.autovacuum_enabled = false)",
        f"SELECT c.reloptions::text, t.reloptions::text, (SELECT attstorage::text || attcompression::text FROM "
        f"pg_attribute"
        f" WHERE attrelid = {LIVE} AND attname = 'note') FROM pg_class AS c JOIN pg_class AS t ON t.oid = "
        f"c.reltoastrelid"
        f" WHERE c.oid = {LIVE}",
    ),
    "unlogged": Case(
        "ALTER TABLE reads.accounts SET UNLOGGED", f"SELECT relpersistence::text FROM pg_class WHERE oid = {LIVE}"
    ),
    "clustered": Case(
        "ALTER TABLE reads.accounts CLUSTER ON accounts_pkey",
        f"SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = {LIVE} AND indisclustered",
    ),
    "replica identity": Case(
        "ALTER TABLE reads.accounts REPLICA IDENTITY USING INDEX accounts_pkey",
        f"SELECT relreplident::text, (SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = {LIVE}"
        f" AND indisreplident) FROM pg_class WHERE oid = {LIVE}",
    ),
    "replica identity full": Case(
        "ALTER TABLE reads.accounts REPLICA IDENTITY FULL",
        f"SELECT relreplident::text FROM pg_class WHERE oid = {LIVE}",
    ),
    "row-level security": Case(
        "ALTER TABLE reads.accounts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE TABLE reads.allowed (note text);"
        "CREATE POLICY \"Some's\" ON reads.accounts AS RESTRICTIVE FOR SELECT TO {role}, {other} USING "
        "(accounts.note IN"
        " (SELECT allowed.note FROM reads.allowed) AND balance < (SELECT max(a.balance) FROM reads.accounts AS a));"
        "CREATE POLICY writes ON reads.accounts FOR UPDATE USING (true) WITH CHECK (balance > 0);"
        "COMMENT ON POLICY writes ON reads.accounts IS 'who writes'",
        "SELECT polname, polcmd::text, polpermissive, polroles::text, pg_get_expr(polqual, polrelid),"
        " pg_get_expr(polwithcheck, polrelid), obj_description(p.oid, 'pg_policy'), relrowsecurity, "
        "relforcerowsecurity"
        f" FROM pg_policy AS p JOIN pg_class AS c ON c.oid = polrelid WHERE polrelid = {LIVE} ORDER BY 1",
    ),
    "trigger": Case(
        "CREATE FUNCTION reads.told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER \"a Trigger\" AFTER UPDATE OF note ON reads.accounts FOR EACH ROW WHEN (OLD.note <> NEW.note)"
        " EXECUTE FUNCTION reads.told('it''s');"
        "CREATE TRIGGER off BEFORE INSERT ON reads.accounts FOR EACH STATEMENT EXECUTE FUNCTION reads.told();"
        "ALTER TABLE reads.accounts DISABLE TRIGGER off, ENABLE ALWAYS TRIGGER \"a Trigger\";"
        "COMMENT ON TRIGGER off ON reads.accounts IS 'not now'",
        "SELECT tgname, pg_get_triggerdef(oid), tgenabled::text, obj_description(oid, 'pg_trigger') FROM pg_trigger"
        f" WHERE tgrelid = {LIVE} AND NOT tgisinternal ORDER BY 1",
    ),
    "rule": Case(
        "CREATE TABLE reads.audit (note text);"
        "CREATE RULE seen AS ON DELETE TO reads.accounts DO ALSO INSERT INTO reads.audit VALUES (OLD.note)",
        f"SELECT rulename, pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class = {LIVE}",
    ),
    "publication": Case(
        "CREATE PUBLICATION of_notes FOR TABLE reads.accounts (aggregate_id, note) WHERE (aggregate_id <> 'x');"
        "CREATE PUBLICATION plain FOR TABLE reads.accounts",
        "SELECT pubname, schemaname, tablename, attnames::text, rowfilter FROM pg_publication_tables ORDER BY 1",
    ),
    "foreign key from it": Case(
        "CREATE TABLE public.notes (note text PRIMARY KEY); INSERT INTO notes SELECT 'n' || i FROM "
        "generate_series(0, 50) AS i;"
        "ALTER TABLE reads.accounts ADD CONSTRAINT of_note FOREIGN KEY (note) REFERENCES notes ON DELETE CASCADE",
        "SELECT conname, convalidated, conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
        f" WHERE conrelid = {LIVE} AND contype = 'f'",
    ),
    "foreign key to it": Case(
        "CREATE TABLE public.cards (account text REFERENCES reads.accounts ON UPDATE CASCADE); INSERT INTO "
        "cards VALUES ('a3')",
        "SELECT conname, convalidated, confrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'cards'::regclass AND contype = 'f'",
    ),
    "policy of another table": Case(
        "CREATE TABLE public.letters (account text); ALTER TABLE letters ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY mine ON letters USING (account IN (SELECT aggregate_id FROM reads.accounts))"
        " WITH CHECK (EXISTS (SELECT FROM reads.accounts))",
        "SELECT pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) FROM pg_policy"
        " WHERE polrelid = 'letters'::regclass",
    ),
    "function": Case(
        "CREATE FUNCTION public.total() RETURNS numeric LANGUAGE sql BEGIN ATOMIC SELECT sum(balance) FROM "
        "reads.accounts; END;"
        "GRANT EXECUTE ON FUNCTION total() TO {role}",
        "SELECT proname, pg_get_functiondef(oid), proacl::text, (SELECT total() > 0) FROM pg_proc WHERE proname "
        "= 'total'",
    ),
    "views": Case(
        "CREATE VIEW public.plain AS SELECT * FROM reads.accounts;"
        "CREATE VIEW public.renamed (a, \"B b\") WITH (security_barrier = true, security_invoker = true) AS"
        " SELECT aggregate_id, sum(balance) FROM reads.accounts GROUP BY aggregate_id;"
        "CREATE VIEW public.above AS SELECT p.note, r.\"B b\" FROM plain AS p JOIN renamed AS r ON r.a = "
        "p.aggregate_id;"
        "CREATE VIEW reads.checked AS SELECT * FROM reads.accounts WHERE balance > 2 WITH CASCADED CHECK OPTION;"
        "CREATE VIEW public.functional AS SELECT aggregate_id, note FROM reads.accounts GROUP BY aggregate_id;"
        "CREATE VIEW public.either AS WITH accounts AS (SELECT 1 AS one) SELECT a.note, accounts.one FROM "
        "reads.accounts AS a,"
        " accounts UNION ALL SELECT note, 2 FROM plain;"
        "GRANT SELECT ON plain TO {role}; COMMENT ON VIEW plain IS 'p'; ALTER VIEW plain ALTER note SET DEFAULT 'x'",
        "SELECT relname, c.oid::int, pg_get_viewdef(c.oid), relacl::text, reloptions::text, "
        "obj_description(c.oid, 'pg_class'),"
        " (SELECT count(*) FROM pg_attrdef WHERE adrelid = c.oid)"
        " FROM pg_class AS c WHERE relkind = 'v' AND relname IN"
        " ('plain', 'renamed', 'above', 'checked', 'functional', 'either') ORDER BY 1",
    ),
    "materialised view": Case(
        "CREATE MATERIALIZED VIEW public.sums (\"of\", total) WITH (fillfactor = 80) AS"
        " SELECT note, sum(balance) FROM reads.accounts GROUP BY note;"
        "CREATE UNIQUE INDEX sums_of ON sums (\"of\"); CREATE MATERIALIZED VIEW reads.empty AS TABLE "
        "reads.accounts WITH NO DATA;"
        "CREATE VIEW public.of_sums AS SELECT total FROM sums; GRANT SELECT ON sums TO {role};"
        "COMMENT ON MATERIALIZED VIEW sums IS 's'; COMMENT ON COLUMN sums.total IS 't';"
        "CREATE VIEW public.between AS TABLE reads.accounts; CREATE MATERIALIZED VIEW public.far AS TABLE between",
        "SELECT c.relname, c.relispopulated, c.reloptions::text, pg_get_viewdef(c.oid), c.relacl::text,"
        " obj_description(c.oid, 'pg_class'), col_description(c.oid, 2), (SELECT "
        "string_agg(pg_get_indexdef(indexrelid), ';')"
        " FROM pg_index WHERE indrelid = c.oid) FROM pg_class AS c WHERE relkind IN ('m', 'v') AND relname IN"
        " ('sums', 'empty', 'of_sums', 'between', 'far') ORDER BY 1",
    ),
}  # fmt: skip


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Published:
    with_schema(database)
    return Published(tmp_path / "read_models", database.env)


@pytest.mark.parametrize("name", CASES)
def test_carried_over_and_back(name: str, published: Published, database: Database) -> None:
    _carried([CASES[name]], published, database)


# Things that do not go together with others: who may do what, and writes that triggers and policies forbid.
APART = (
    "grants of nobody",
    "owner",
    "unlogged",
    "replica identity",
    "replica identity full",
    "unique constraint",
    "default",
    "check",
)


def test_carried_over_and_back_all_at_once(each_database: Database, tmp_path: Path) -> None:
    with_schema(each_database)
    published = Published(tmp_path / "read_models", each_database.env)
    _carried([case for name, case in CASES.items() if name not in APART], published, each_database)


def _carried(cases: list[Case], published: Published, database: Database) -> None:
    fill = {"role": database.role().name, "other": database.role().name, "me": "current_user"}
    published.rebuild(SHAPE, ROWS)
    for case in cases:
        database.sql(case.made.format(**fill))
    looks = [case.looked.format(**fill) for case in cases]
    before = [database.sql(look) for look in looks]
    assert all(before)
    published.rebuild(SHAPE, {**ROWS, ("b",): (900, "n30")})
    assert [database.sql(look) for look in looks] == before
    published.update(SHAPE, {("a1",): (77, "n1")})
    published.tables.rollback(published.models.rollback("accounts"))
    assert [database.sql(look) for look in looks] == before
    # What the former table has left over does not keep it from being dropped.
    assert published.tables.drop_former({"accounts": [1]}) == ("reads.accounts__v2",)


def test_views_show_the_new_rows_at_once(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS)
    database.sql(CASES["views"].made.format(role=database.role().name))
    count = 'SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM above), (SELECT count(*) FROM "either")'
    assert database.sql(count) == [(20, 20, 40)]
    published.rebuild(SHAPE, {**ROWS, ("b",): (900, "n30")})
    assert database.sql(count) == [(21, 21, 42)]


def test_materialised_views_show_the_new_rows(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS)
    database.sql(CASES["materialised view"].made.format(role=database.role().name))
    published.rebuild(SHAPE, {**ROWS, ("b",): (900, "n30")})
    assert database.sql("SELECT total FROM sums WHERE \"of\" = 'n30'") == [(900,)]
    assert database.sql("SELECT max(total) FROM of_sums") == [(900,)]
    # Over a view it is as it was until it is refreshed, as ever.
    assert database.sql("SELECT count(*) FROM far") == [(20,)]
    database.sql("REFRESH MATERIALIZED VIEW far; REFRESH MATERIALIZED VIEW CONCURRENTLY sums")
    assert database.sql("SELECT count(*) FROM far") == [(21,)]
    left = "SELECT relname FROM pg_class WHERE relkind = 'm' ORDER BY 1"
    assert [name for (name,) in database.sql(left)] == ["empty", "far", "sums"]
    # A load that is given up leaves none behind.
    with published.built(SHAPE, ROWS, 3) as built:
        published.tables.load(built.version)
    assert len(database.sql(left)) == 5
    assert published.tables.drop_former({"accounts": [1]}) == ("reads.accounts__v3",)
    assert len(database.sql(left)) == 3


REFUSED = {
    "materialised view above another": (
        "CREATE MATERIALIZED VIEW one AS TABLE reads.accounts; CREATE MATERIALIZED VIEW two AS TABLE one",
        "materialised view public.two",
    ),
    "materialised view of a column that goes": (
        "CREATE MATERIALIZED VIEW m AS SELECT note FROM reads.accounts", "public.m",
    ),
    "foreign key of a partitioned table": (
        "CREATE TABLE parts (a text REFERENCES reads.accounts) PARTITION BY LIST (a)",
        "of public.parts: that is a part",
    ),
    "statistics elsewhere": (
        "CREATE STATISTICS public.s ON balance, note FROM reads.accounts", "statistics s: they are in another schema",
    ),
    "added column": ("ALTER TABLE reads.accounts ADD extra int", "column extra"),
    "other type": ("ALTER TABLE reads.accounts ALTER note TYPE varchar(20)", "column note"),
    "identity": (
        "ALTER TABLE reads.accounts ALTER balance SET NOT NULL, ALTER balance ADD GENERATED ALWAYS AS IDENTITY",
        "column balance",
    ),
    "child": ("CREATE TABLE reads.child () INHERITS (reads.accounts)", "inherits"),
    "row type": ("CREATE TABLE reads.other (a reads.accounts)", "table other: it is bound"),
    "function of its rows": (
        "CREATE FUNCTION reads.f(reads.accounts) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        r"function f\(accounts\): it is bound",
    ),
    "itself": (
        "ALTER TABLE reads.accounts ADD CONSTRAINT own FOREIGN KEY (note) REFERENCES reads.accounts NOT VALID",
        "foreign key own",
    ),
    "view of a column that goes": ("CREATE VIEW v AS SELECT note FROM reads.accounts", "view public.v"),
    "index of a column that goes": ("CREATE INDEX of_note ON reads.accounts (note)", "index of_note"),
    "check of a column that goes": ("ALTER TABLE reads.accounts ADD CONSTRAINT c CHECK (note <> '')", "CHECK c"),
    "policy of a column that goes": ("CREATE POLICY p ON reads.accounts USING (note <> '')", "policy p"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_the_run(name: str, published: Published, database: Database) -> None:
    made, said = REFUSED[name]
    published.rebuild(SHAPE, ROWS)
    _run(published, made)
    other = replace(SHAPE, schema=SHAPE.schema.remove(SHAPE.schema.get_field_index("note")))
    with pytest.raises(ReadModelError, match=said):
        published.tables.check([other if name.endswith("goes") else SHAPE])
    assert published.tables.states()["accounts"].version == 1


def _run(published: Published, text: str) -> None:
    with connect(settings_of(published.env), "test", read_only=False) as connection:
        connection.execute(text)
