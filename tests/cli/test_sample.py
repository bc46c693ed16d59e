"""Samples of event files: formats, compressions, torn ends, clear errors."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from runner.cli import sample
from runner.cli.sample import sample_files
from runner.errors import ConfigError, LineError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [{"id": n, "type": "t", "data": {"n": n}} for n in range(5)]
TEXT = "".join(json.dumps(r) + "\n" for r in RECORDS).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.ndjson", TEXT),
        ("e.jsonl", TEXT.rstrip(b"\n")),
        ("e.ndjson.gz", gzip.compress(TEXT)),
        ("e.ndjson.zst", zstandard.ZstdCompressor().compress(TEXT)),
    ],
    ids=["plain", "jsonl", "gzip", "zstd"],  # gzip writes the time into its bytes
)
def test_ndjson_however_compressed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    got = sample_files(str(tmp_path / name))
    assert (list(got.records), got.whole, got.format) == (RECORDS, True, "ndjson")


def test_a_torn_last_line_and_a_cut_gzip_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / "torn.ndjson").write_bytes(TEXT + b'{"id": 6, "ty')
    (tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress(TEXT)[:-8])
    assert list(sample_files(str(tmp_path / "torn.ndjson")).records) == RECORDS
    assert list(sample_files(str(tmp_path / "cut.ndjson.gz")).records) == RECORDS


def test_a_large_file_is_sampled_further_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "RECORDS", 50)
    lines = [json.dumps({"n": n, "type": "late" if n > 5_000 else "early"}) + "\n" for n in range(10_000)]
    (tmp_path / "large.ndjson").write_text("".join(lines))
    got = sample_files(str(tmp_path / "large.ndjson"))
    assert not got.whole
    assert {r["type"] for r in got.records} == {"early", "late"}


def test_csv_delimiter_and_encoding(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_bytes('id;name\n1;"Mü;ller"\n2;x\n'.encode("latin-1"))
    got = sample_files(str(tmp_path / "e.csv"))
    assert (got.delimiter, got.encoding) == (";", "latin-1")
    assert got.records[0] == {"id": "1", "name": "Mü;ller"}


def test_parquet_and_arrow(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "at": pa.array([0, 1], pa.timestamp("us", tz="UTC")), "data": [{"n": 1}, {"n": 2}]})
    pq.write_table(table, tmp_path / "e.parquet")
    with pa.OSFile(str(tmp_path / "e.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    expected = {"id": 1, "at": "1970-01-01T00:00:00+00:00", "data": {"n": 1}}
    for name in ("e.parquet", "e.arrow"):
        got = sample_files(str(tmp_path / name))
        assert (got.records[0], len(got.records), got.whole) == (expected, 2, True), name


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file matches"):
        sample_files(str(tmp_path / "*.ndjson"))
    (tmp_path / "e.what").write_bytes(TEXT)
    with pytest.raises(ConfigError, match="--format"):
        sample_files(str(tmp_path / "e.what"))
    (tmp_path / "bad.ndjson").write_bytes(TEXT + b"nonsense\n" + TEXT)
    with pytest.raises(LineError, match=r"bad.ndjson:6: not JSON"):
        sample_files(str(tmp_path / "bad.ndjson"))
    (tmp_path / "empty.ndjson").write_bytes(b"")
    with pytest.raises(SourceError, match="no records"):
        sample_files(str(tmp_path / "empty.ndjson"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match="is it a parquet file"):
        sample_files(str(tmp_path / "bad.parquet"))


def test_a_cut_off_csv_gives_what_can_be_read(tmp_path: Path) -> None:
    text = "id,type\n" + "".join(f"a{k * 7919 % 10007},t{k}\n" for k in range(20_000))
    packed = gzip.compress(text.encode())
    file = tmp_path / "e.csv.gz"
    file.write_bytes(packed[: len(packed) // 2])
    got = sample_files(str(file))
    assert not got.whole
    assert got.records[1] == {"id": "a7919", "type": "t1"}
    file.write_bytes(packed[:14])
    with pytest.raises(SourceError):
        sample_files(str(file))


def test_a_name_with_glob_characters_is_a_name_first(tmp_path: Path) -> None:
    file = tmp_path / "a[1].ndjson"
    file.write_bytes(TEXT)
    assert sample_files(str(file)).files == (file,)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_column_of_bytes_is_left_out_and_the_rest_syncs(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runner.cli.app import run

    table = pa.table(
        {
            "id": [f"a{k}" for k in range(6)],
            "type": ["t"] * 6,
            "time": [f"2026-01-0{k + 1}T00:00:00Z" for k in range(6)],
            "n": list(range(6)),
            "bin": pa.array([b"\x00\xff"] * 6),
            "deep": pa.array([{"raw": b"x"}] * 6, pa.struct([("raw", pa.large_binary())])),
        }
    )
    file = tmp_path / f"e.{kind}"
    if kind == "parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    monkeypatch.chdir(tmp_path)
    assert run(["init", file.name, "--aggregate-id", "id"]) == 0
    text = (tmp_path / "runner.toml").read_text()
    assert '# Left out, since bytes are no JSON: "bin", "deep".' in text
    assert 'payload = { columns = ["id", "type", "time", "n"] }' in text
    assert "bin" not in (tmp_path / "events.py").read_text()
    assert run(["sync"]) == 0, capsys.readouterr().err
