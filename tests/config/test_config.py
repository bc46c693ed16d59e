"""runner.toml: what may stand there, what is refused and how that is said."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.config import FieldMapping, ObjectStorePath, Part, load_config, parse_path, path_text
from runner.errors import ConfigError

SOURCE = '[sources.s]\nfiles = "e.ndjson"\naggregate_id = "id"\ntype = "type"\n'


def load(folder, text):
    file = folder / "runner.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file)


def test_an_empty_file_has_all_defaults(tmp_path):
    config = load(tmp_path, "")
    assert (config.log.path, config.log.partitions) == (tmp_path / "log", 64)
    assert (config.state.path, config.read_models.path) == (tmp_path / "state", tmp_path / "read_models")
    assert (config.read_models.keep, config.engine.name, config.engine.workers) == (2, "auto", 0)
    assert (config.metrics.port, config.metrics.file, dict(config.sources)) == (0, None, {})


def test_everything_that_may_stand_there(tmp_path):
    config = load(
        tmp_path,
        """
[project]
modules = ["mine", "projections.generic"]
[log]
path = "/var/lib/log"
partitions = 8
segment_events = 1000
segment_megabytes = 16
[state]
path = "../state"
[read_models]
path = "rows"
keep = 0
[engine]
name = "ray"
workers = 3
address = "10.0.0.1:6379"
[metrics]
port = 9100
file = "runner.prom"
pushgateway = "http://gateway:9091"
[sources.shop]
files = ["a/*.csv.gz", "/abs/b.csv"]
format = "csv"
compression = "gzip"
encoding = "latin1"
namespace = "shared"
aggregate_id = ["region", {path = "order", optional = true}]
separator = "-"
type = {constant = "made"}
recorded_at = {path = "at", format = "%Y%m%d", zone = "Europe/Prague"}
version = "v"
position = {path = "n", ascending = true}
tenant = {paths = ["tenant", "customer"]}
payload = {columns = ["a", "b"]}
final = true
on_bad_line = "reject"
gone_files = "allow"
verify = "ends"
[sources.shop.csv]
delimiter = ";"
quote = "'"
escape = "\\\\"
header = false
columns = ["region", "order", "at", "v", "n", "tenant", "a", "b"]
""",
    )
    assert config.log.path == Path("/var/lib/log")
    assert config.metrics.file == tmp_path / "runner.prom"
    shop = config.sources["shop"]
    assert shop.files == (str(tmp_path / "a/*.csv.gz"), "/abs/b.csv")
    assert shop.aggregate_id == FieldMapping((Part((("region",),)), Part((("order",),), optional=True)), "-")
    assert shop.type.constant == "made"
    assert shop.recorded_at.coerce == "%Y%m%d@Europe/Prague"
    assert shop.tenant.parts[0].paths == (("tenant",), ("customer",))
    assert (shop.position_ascending, shop.encoding, shop.csv.quote, shop.csv.escape) == (True, "iso8859-1", "'", "\\")
    assert (shop.final, shop.on_bad_line, shop.gone_files, shop.verify) == (True, "reject", "allow", "ends")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[log]\npaht = 'x'\n", "log.paht is not a setting (did you mean path?)"),
        ("[logs]\n", "logs is not a setting (did you mean log?)"),
        ("[log]\npartitions = 48\n", "log.partitions is 48 (it takes a power of two"),
        ("[log]\npartitions = true\n", "log.partitions takes an integer, not True"),
        ("[log]\nsegment_events = 0\n", "log.segment_events is 0; the least is 1"),
        ("log = 5\n", "log takes a table, not 5"),
        ("[engine]\nname = 'tray'\n", "engine.name is 'tray' (did you mean ray?)"),
        ("[metrics]\nport = 70000\n", "metrics.port is 70000; the highest is 65535"),
        ("[project]\nmodules = [1]\n", "project.modules takes a string or a list of strings"),
        ("[log\n", "is not TOML"),
        ("[sources]\ns = 1\n", "sources.s takes a table, not 1"),
        ("[sources.s]\n", "sources.s.files is missing (write files ="),
        (SOURCE.replace('aggregate_id = "id"\n', ""), "sources.s.aggregate_id is missing (write aggregate_id ="),
        (SOURCE.replace("type =", "typ ="), "sources.s.typ is not a setting (did you mean type? there is "),
        (
            SOURCE.replace("aggregate_id", "agregate_id"),
            "sources.s.agregate_id is not a setting (did you mean aggregate_id?",
        ),
        (SOURCE.replace('type = "type"', ""), "sources.s.type is missing"),
        (
            SOURCE + "recorded_at = {path = 'x', formt = 'iso'}\n",
            "formt is not a setting (did you mean format? there is constant, format, optional, parts, path, paths, sep",
        ),
        (SOURCE + "tenant = {paht = 'x'}\n", "did you mean path? there is constant, optional, parts, path, paths, sep"),
        (SOURCE + "position = {path = 'x', ascend = true}\n", "did you mean ascending?"),
        (SOURCE + "payload = {zzz = 'x'}\n", "(there is columns, optional, path, paths)"),
        ("[log]\npath = 'read_models'\n", "read_models.path is the same directory as log.path"),
        ("[log]\npath = './state/../state'\n", "state.path is the same directory as log.path"),
        ("[log]\npath = 'read_models/log'\n", "log.path is inside read_models.path"),
        ("[read_models]\npath = 'log/rows'\n", "read_models.path is inside log.path"),
        ("[state]\npath = 'log/state'\n", "state.path is inside log.path"),
        (SOURCE.replace("e.ndjson", "e.log"), "sources.s.format is missing, and e.log does not tell"),
        (SOURCE + "format = 'json'\n", "sources.s.format is 'json' (did you mean ndjson?)"),
        (SOURCE + "recorded = 'x'\n", "sources.s.recorded is not a setting (did you mean recorded_at?"),
        (SOURCE + "recorded_at = {path = 'x', fromat = 'iso'}\n", "sources.s.recorded_at.fromat is not a setting"),
        (SOURCE + "recorded_at = {path = 'x', format = 'unix'}\n", "sources.s.recorded_at.format is 'unix'"),
        (SOURCE + "recorded_at = {path = 'x', zone = 'Europe/Prag'}\n", "'Europe/Prag', and there is no zone"),
        (SOURCE + "recorded_at = {path = 'x', format = 'epoch', zone = 'UTC'}\n", "does not go with an epoch"),
        (SOURCE + "version = ['a', 'b']\n", "sources.s.version takes one path"),
        (SOURCE + "position = {constant = '1'}\n", "sources.s.position takes one path"),
        (SOURCE + "tenant = {constant = 'x', path = 'y'}\n", "takes one of path, paths and constant"),
        (SOURCE + "tenant = []\n", "takes a list of parts"),
        (SOURCE + "tenant = 'a..b'\n", "is no path: 'a..b' has an empty key"),
        (SOURCE + "tenant = '\"a\"b'\n", "behind a quoted key"),
        (SOURCE + "tenant = 5\n", "sources.s.tenant takes a table, not 5"),
        (SOURCE + "payload = {columns = ['a']}\n", "takes columns of CSV, Parquet and Arrow only"),
        (SOURCE + "payload = {path = 'a', columns = ['a']}\n", "not both"),
        (SOURCE + "encoding = 'latin9000'\n", "sources.s.encoding is 'latin9000'"),
        (SOURCE + "on_bad_line = 'skip'\n", "sources.s.on_bad_line is 'skip' (there is reject, stop)"),
        (SOURCE + "final = 'yes'\n", "sources.s.final takes true or false"),
        (SOURCE + "csv = {delimiter = ';;'}\n", "sources.s.csv.delimiter takes one ASCII character"),
        (SOURCE + "csv = {header = false}\n", "columns are missing"),
        (SOURCE + "csv = {columns = ['a']}\n", "are for files without a header line"),
        (SOURCE + "csv = {header = false, columns = ['a', 'a']}\n", "name one column twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_key(tmp_path, text, said):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert str(tmp_path / "runner.toml") in str(raised.value)
    assert said in str(raised.value)


def test_log_and_read_models_may_lie_in_the_directory_of_the_state(tmp_path):
    config = load(tmp_path, "[state]\npath = 'd'\n[log]\npath = 'd/log'\n[read_models]\npath = 'd/rows'\n")
    assert config.log.path.parent == config.state.path


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"runner\.toml does not exist"):
        load_config(tmp_path / "runner.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3).map(tuple))
def test_paths_and_their_texts(path):
    if not any(0xD800 <= ord(c) < 0xE000 for key in path for c in key):
        assert parse_path(path_text(path)) == path


def test_reading_the_config_loads_little():
    program = (
        "import sys, runner.config; print([m for m in ('pyarrow', 'numpy', 'numba', 'pydantic') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_a_log_on_an_object_store(tmp_path: Path) -> None:
    file = tmp_path / "runner.toml"
    file.write_text(
        "[log]\npath = 's3://bucket/a//log/'\nkept = '2d'\nlease = 30\ncache_megabytes = 5\n[log.object_store]\n"
        "endpoint = 'http://localhost:9000'\nvirtual_hosted_style_request = true\nsecret_access_key_env = 'KEY'\n"
    )
    log = load_config(file).log
    assert isinstance(log.path, ObjectStorePath)
    assert str(log.path) == "s3://bucket/a/log"
    assert log.directory == log.path.cache == tmp_path / "state" / "log_cache"
    assert (log.path.kept_seconds, log.path.lease_seconds, log.path.cache_bytes) == (2 * 86400, 30, 5_000_000)
    assert log.path.options == {"endpoint": "http://localhost:9000", "virtual_hosted_style_request": "true"}
    assert log.path.secrets == {"secret_access_key": "KEY"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("path = 'ftp://bucket/log'", "log.path is no place of a log: a log cannot lie at ftp://"),
        ("path = 's3:///'", "log.path is no place of a log: s3:///: names no bucket"),
        ("path = 'az://account'", "names no bucket"),
        ("path = 's3://key:tr0ub4dor@bucket/log'", "holds more than a bucket and a prefix"),
        ("path = 's3://b/log'\n[log.object_store]\nsecret_access_key = 'tr0ub4dor'", "holds a secret in clear"),
        ("path = 's3://b/log'\n[log.object_store]\nsecret_access_key_env = 'tr0ub-4dor'", "takes the name of an envir"),
        ("path = 's3://b/log'\n[log.object_store]\nendpoint = 'http://k:tr0ub4dor@x'", "holds more than an address"),
        ("path = 's3://b/log'\n[log.object_store]\naccount_name = 'x'", "is not a setting of s3://"),
        ("path = 's3://b/log'\n[log.object_store]\nendpiont = 'x'", "did you mean endpoint"),
        ("path = 's3://b/log'\n[log.object_store]\nregion = [1]", "takes a string, a number, true or false"),
        ("path = 's3://b/log'\ncache = 'read_models'", "read_models.path is the same directory as log.path"),
        ("path = 'log'\ncache = 'x'", "log.cache"),
    ],
)
def test_bad_places_of_a_log_on_an_object_store(tmp_path: Path, lines: str, message: str) -> None:
    file = tmp_path / "runner.toml"
    file.write_text(f"[log]\n{lines}\n")
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_config(file)
    assert "tr0ub" not in str(caught.value)
