"""runner.toml of Postgres: places and their secrets, stores, tables, overlays; what is refused and how that is said."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from runner.config import Config, PostgresSourceConfig, load_config
from runner.errors import ConfigError

STORE = '[sources.bank]\npreset = "eventsourcing"\nurl_env = "BANK_URL"\n'
READS = '[read_models.postgres]\nurl_env = "READS_URL"\n'
SECRET = "hunter2%40x"


def load(folder: Path, text: str, env: str = "") -> Config:
    file = folder / "runner.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, env)


def store(config: Config, name: str = "bank") -> PostgresSourceConfig:
    found = config.sources[name]
    assert isinstance(found, PostgresSourceConfig)
    return found


def test_a_store_and_files_stand_side_by_side(tmp_path: Path) -> None:
    config = load(tmp_path, STORE + '[sources.s]\nfiles = "e.ndjson"\naggregate_id = "id"\ntype = "t"\n' + READS)
    assert (store(config).preset, store(config).connection.url_env) == ("eventsourcing", "BANK_URL")
    assert config.sources["s"].format == "ndjson"
    assert config.read_models.postgres is not None
    assert (config.read_models.postgres.schema, config.read_models.postgres.connection.where) == (
        "public",
        "[read_models.postgres]",
    )


def test_without_its_table_read_models_are_embedded_only(tmp_path: Path) -> None:
    assert load(tmp_path, STORE).read_models.postgres is None


def test_all_that_says_where_a_server_is(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
[sources.bank]
preset = "emmett"
host = "db.internal"
port = 6432
user = "reader"
database = "bank"
password_command = ["pass", "show", "bank"]
options = {sslmode = "verify-full", connect_timeout = 3}
namespace = "money"
[sources.other]
preset = "marten"
service = "other"
passfile = "secrets/pgpass"
[publish.orders]
table = "orders_view"
publish = "in-place"
[compare.orders]
table = "Orders"
schema = "Sales"
url_env = "APP_URL"
""",
    )
    bank = store(config)
    assert (bank.namespace, bank.connection.host, bank.connection.port) == ("money", "db.internal", 6432)
    assert bank.connection.password_command == ("pass", "show", "bank")
    assert dict(bank.connection.options) == {"sslmode": "verify-full", "connect_timeout": "3"}
    assert store(config, "other").connection.passfile == tmp_path / "secrets/pgpass"
    assert (config.publish["orders"].table, config.publish["orders"].publish) == ("orders_view", "in-place")
    compared = config.compare["orders"]
    assert (compared.schema, compared.table) == ("Sales", "Orders")
    assert compared.connection is not None
    assert pickle.loads(pickle.dumps(bank)) == bank


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STORE + "urlenv = 'X'\n", "sources.bank.urlenv is not a setting (did you mean url_env?"),
        ('[sources.bank]\npreset = "emmett"\n', 'sources.bank.url_env is missing (write url_env = "BANK_URL"'),
        ('[sources.bank]\nurl_env = "X"\n', "sources.bank.preset is"),
        (STORE + "files = 'x.ndjson'\n", "sources.bank.files and preset are both set"),
        (STORE + "service = 'x'\n", "sources.bank.url_env and service are both set"),
        (STORE.replace('"BANK_URL"', '"$BANK_URL"'), "is '$BANK_URL' (write the name alone: url_env = \"BANK_URL\")"),
        (STORE.replace('"BANK_URL"', '"${BANK_URL}"'), 'write the name alone: url_env = "BANK_URL"'),
        (STORE + "password_env = 'A'\npassfile = 'b'\n", "sources.bank.passfile and password_env are both set"),
        (STORE + "password_command = 'pass show x'\n", "password_command takes a list, the program and its arguments"),
        (STORE + "password_command = []\n", "password_command takes a list"),
        (STORE + "port = 70000\n", "sources.bank.port is 70000; the highest is 65535"),
        (
            STORE + "options = {sslmod = 'x'}\n",
            "options.sslmod is not an option of a connection (did you mean sslmode?",
        ),
        (STORE + "options = {sslmode = true}\n", "sources.bank.options.sslmode takes a string or a number, not True"),
        (READS + "shema = 'x'\n", "read_models.postgres.shema is not a setting (did you mean schema?"),
        (READS + f"schema = '{'x' * 64}'\n", "Postgres takes names of at most 63 bytes"),
        (READS + "lock_timeout = 'soon'\n", "takes a time, not 'soon' (write seconds, or"),
        ("[read_models.postgres]\n", 'read_models.postgres.url_env is missing (write url_env = "READS_URL"'),
        ("[publish.orders]\npublish = 'inplace'\n", "publish.orders.publish is 'inplace' (did you mean in-place?)"),
        ("[publish.orders]\ntabel = 'x'\n", "publish.orders.tabel is not a setting (did you mean table?)"),
        ("[compare.orders]\n", "compare.orders.table is missing"),
        ("[compare.orders]\ntable = 'x'\ncolumsn = 1\n", "compare.orders.columsn is not a setting"),
        ("publish = 5\n", "publish takes a table, not 5"),
        (
            "[compare.orders]\ntable = 'x'\nprogress = { table = 'p', column = 'c', where = 'n = 1' }\n",
            "compare.orders.progress.where takes a table, not 'n = 1' (where = { projection = \"tickets\" }, say",
        ),
        ("[sources.s]\npreset = 'emmett'\nurl_env = 'X'\ntail = 'foo'\n", "tail.rule is 'foo' (there is gaps, "),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert str(tmp_path / "runner.toml") in str(raised.value)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f'[sources.bank]\npreset = "emmett"\nurl = "postgresql://u:{SECRET}@h/d"\n', "sources.bank.url "),
        (f'[sources.bank]\npreset = "emmett"\nurl_env = "postgres://u:{SECRET}@h/d"\n', "sources.bank.url_env "),
        (f'[sources.bank]\npreset = "emmett"\nurl_env = ["postgres://u:{SECRET}@h/d"]\n', "sources.bank.url_env "),
        (f'[sources.bank]\npreset = "emmett"\nurl_env = "host=h password={SECRET}"\n', "sources.bank.url_env "),
        (f'[sources.bank]\npreset = "emmett"\nurl_env = ["{SECRET}"]\n', "sources.bank.url_env "),
        (f'[sources.bank]\npreset = "emmett"\nhost = "h"\npassword = "{SECRET}"\n', "sources.bank.password "),
        (f'[sources.bank]\npreset = "emmett"\nhost = "u:{SECRET}@h"\n', "sources.bank.host "),
        (f'[sources.bank]\npreset = "emmett"\nhost = ["u:{SECRET}@h"]\n', "sources.bank.host "),
        (f'[sources.bank]\npreset = "emmett"\ndsn = "host=h password={SECRET}"\n', "sources.bank.dsn "),
        (f'[sources.bank]\npreset = "emmett"\npassword_env = "{SECRET}"\nhost = "h"\n', "sources.bank.password_env "),
        (f'{STORE}password_command = "vault --token={SECRET}"\n', "sources.bank.password_command "),
        (f'{STORE}options = {{password = "{SECRET}"}}\n', "sources.bank.options.password "),
        (f'[read_models.postgres]\nurl = "postgresql://u:{SECRET}@h/d"\n', "read_models.postgres.url "),
        (f'{STORE}query = " postgresql+psycopg://u:{SECRET}@h/d"\n', "sources.bank.query "),
        (f'[env.prod.sources.bank]\nurl = "postgresql://u:{SECRET}@h/d"\n', "env.prod.sources.bank.url "),
        (f'[sources]\nbank = "postgresql://u:{SECRET}@h/d"\n', "sources.bank "),
    ],
)
def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    said = str(raised.value)
    assert SECRET not in said
    assert "hunter2" not in said
    assert f"runner.toml: {place}" in said
    hint = raised.value.hint
    assert "_URL" in hint or "without a shell" in hint or "_PASSWORD" in hint


def test_the_variable_proposed_is_named_for_the_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='write url_env = "OLD_BANK_URL"'):
        load(tmp_path, '[sources.old-bank]\npreset = "emmett"\nurl = "postgresql://u:p@h/d"\n')
    with pytest.raises(ConfigError, match='write url_env = "READ_MODELS_URL"'):
        load(tmp_path, '[read_models.postgres]\nurl = "postgresql://u:p@h/d"\n')


# Overlays -------------------------------------------------------------------------------------------------------------

OVERLAID = (
    STORE
    + READS
    + """
[project]
modules = ["a", "b"]
[env.prod.sources.bank]
url_env = "PROD_BANK_URL"
schema = "live"
[env.prod.project]
modules = ["c"]
[env.prod.log]
path = "/var/lib/log"
[env.test]
"""
)


def test_an_overlay_is_laid_over_the_base_table_by_table(tmp_path: Path) -> None:
    base, prod, test = (load(tmp_path, OVERLAID, env) for env in ("", "prod", "test"))
    assert (store(base).connection.url_env, base.project.modules, base.env) == ("BANK_URL", ("a", "b"), "")
    assert (store(prod).connection.url_env, prod.project.modules, prod.env) == ("PROD_BANK_URL", ("c",), "prod")
    assert (store(prod).preset, store(prod).store.schemas) == ("eventsourcing", ("live",))
    assert prod.log.path == Path("/var/lib/log")
    assert prod.read_models == base.read_models
    assert store(test) == store(base)


@pytest.mark.parametrize(
    ("text", "env", "said"),
    [
        (OVERLAID, "prd", "there is no [env.prd] (did you mean prod?)"),
        (STORE, "prod", "there is no [env.prod] (write [env.prod.log]"),
        ("[env.prod.log]\npaht = 'x'\n", "prod", "env.prod.log.paht is not a setting (did you mean path?)"),
        ("[env.prod.lgo]\npath = 'x'\n", "prod", "env.prod.lgo is not a setting (did you mean log?)"),
        ("[env.prod.log]\npartitions = 3\n", "prod", "env.prod.log.partitions is 3"),
        ("[log]\npartitions = 3\n[env.prod.log]\npath = 'x'\n", "prod", "runner.toml: log.partitions is 3"),
        (STORE + "[env.prod.sources.bank]\nport = 'x'\n", "prod", "env.prod.sources.bank.port takes an integer"),
        (STORE + "[env.prod.env.a]\n", "", "env.prod.env stands in another env"),
        ("[env]\nprod = 1\n", "", "env.prod takes a table, not 1"),
        ("env = 1\n", "", "env takes a table, not 1"),
    ],
)
def test_what_is_wrong_in_an_overlay_is_said_to_be_there(tmp_path: Path, text: str, env: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text, env)
    assert said in str(raised.value)
