"""CSV: quoting, line ends inside fields, encodings, headers, nulls; compared with Python's csv module."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_cases import fields, read, read_all, source

from runner.errors import LineError, SourceChanged
from runner.sources import streams
from runner.sources import text as text_reading

BODY = """
files = "events.csv"
aggregate_id = "id"
type = {constant = "t"}
"""


def payloads(found):
    return [json.loads(row["payload"]) for row in found.rows]


def test_quotes_line_ends_empty_and_null(tmp_path):
    (tmp_path / "events.csv").write_bytes(
        b'id;a;"b;c"\r\n1;"x;""y""\r\nz";\r\n\r\n2;"";back\\slash\ttab\r\n3;\xc3\xa9; spaced \r\n'
    )
    found = read_all(source(tmp_path, BODY + 'csv = {delimiter = ";"}\n'))
    assert payloads(found) == [
        {"id": "1", "a": 'x;"y"\r\nz', "b;c": None},
        {"id": "2", "a": "", "b;c": "back\\slash\ttab"},
        {"id": "3", "a": "é", "b;c": " spaced "},
    ]
    # Lines are those of the file, also behind a field with a line end in it and an empty line.
    assert found.places == [(0, 2), (0, 5), (0, 6)]


def test_escapes_and_files_without_quotes(tmp_path):
    (tmp_path / "events.csv").write_text('1,a\\,b\n2,"x\n3,y\n')
    body = BODY.replace('"id"', '"k"') + 'csv = {quote = "", escape = "\\\\", header = false, columns = ["k", "v"]}\n'
    assert payloads(read_all(source(tmp_path, body))) == [
        {"k": "1", "v": "a,b"},
        {"k": "2", "v": '"x'},
        {"k": "3", "v": "y"},
    ]


def test_columns_of_the_payload_and_a_payload_column(tmp_path):
    (tmp_path / "events.csv").write_text('id,n,data,a.b\ne,1,"{""x"":[1.50]}",dotted\nf,,,\n')
    chosen = read_all(
        source(tmp_path, BODY + 'payload = {columns = ["n", "a.b"]}\nversion = {path="n", optional=true}\n')
    )
    assert fields(chosen, "version", "payload") == [(1, '{"n":"1","a.b":"dotted"}'), (None, '{"n":null,"a.b":null}')]
    whole = read_all(
        source(tmp_path, BODY.replace('"id"', '["id", {path = "a.b", optional = true}]') + 'payload = "data"\n')
    )
    assert fields(whole, "aggregate_id", "payload") == [("e/dotted", '{"x":[1.50]}'), ("f", "{}")]


def test_a_column_that_is_not_there_is_named(tmp_path):
    (tmp_path / "events.csv").write_text("ident,n\ne,1\n")
    found = read(source(tmp_path, BODY))
    assert "events.csv has no column id (its columns are ident, n)" in str(found.error)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a,1,2\n", "the line has 3 fields, the columns are 2"),
        (b"a\n", "the line has 1 fields"),
        (b"a,1\r2\n", "a carriage return outside quotes"),
        (b"\xff,1\n", "byte 1 of the line is not text in utf-8"),
        (b",1\n", "aggregate_id: there is no id, id is empty"),
        (b'"",1\n', "aggregate_id: id is empty"),
        (b"a,x\n", "version: 'x' is not an integer"),
    ],
)
@pytest.mark.parametrize("policy", ["stop", "reject"])
def test_bad_lines(tmp_path, line, reason, policy):
    (tmp_path / "events.csv").write_bytes(b"id,v\na,1\n" + line + b"b,2\n" + line + b"\nc,3\n")
    found = read(source(tmp_path, BODY + f'version = "v"\non_bad_line = "{policy}"\n'))
    if policy == "stop":
        assert isinstance(found.error, LineError)
        assert (found.ids, found.error.line) == (["a"], 3)
        assert reason in found.error.reason
    else:
        assert found.error is None
        assert (found.ids, found.places) == (["a", "b", "c"], [(0, 2), (0, 4), (0, 7)])
        assert [b.line for b in found.rejected] == [3, 5]
        assert all(reason in b.reason and b.text for b in found.rejected)


def test_a_file_that_ends_inside_quotes(tmp_path):
    file = tmp_path / "events.csv"
    file.write_text('id,v\na,1\nb,"2\n')
    waiting = read_all(source(tmp_path, BODY))
    assert waiting.ids == ["a"]
    assert [(u.line, u.octets) for u in waiting.unfinished] == [(3, 5)]
    final = read_all(source(tmp_path, BODY + 'final = true\non_bad_line = "reject"\n'), waiting.mark)
    assert [(b.line, b.reason) for b in final.rejected] == [(3, "the file ends inside a quoted field")]
    file.write_text('id,v\na,1\nb,"2\n3"\nc,4\n')
    assert payloads(read_all(source(tmp_path, BODY), waiting.mark)) == [{"id": "b", "v": "2\n3"}, {"id": "c", "v": "4"}]


def test_grown_files_keep_their_header(tmp_path):
    file, config = tmp_path / "events.csv", source(tmp_path, BODY + 'encoding = "latin-1"\n')
    file.write_bytes("id,é\na,1\n".encode("latin-1"))
    found = read_all(config)
    file.write_bytes("id,é\na,1\nb,ü\n".encode("latin-1"))
    again = read_all(config, found.mark)
    assert (payloads(again), again.places) == ([{"id": "b", "é": "ü"}], [(0, 3)])
    file.write_bytes("id,e\na,1\nb,2\nc,3\n".encode("latin-1"))
    assert isinstance(read(config, again.mark).error, SourceChanged)


@pytest.mark.parametrize("header", ["", "id,v\n", "\n\nid,v\n", '"id","v"\r\n'])
def test_headers_alone(tmp_path, header, monkeypatch):
    monkeypatch.setattr(text_reading, "CHUNK", 1)
    monkeypatch.setattr(streams, "BLOCK", 1)
    file, config = tmp_path / "events.csv", source(tmp_path, BODY)
    file.write_text(header)
    found = read_all(config)
    assert found.rows == []
    file.write_text((header or "id,v\n") + "a,1\n")
    assert payloads(read_all(config, found.mark)) == [{"id": "a", "v": "1"}]


def test_a_header_that_names_a_column_twice(tmp_path):
    (tmp_path / "events.csv").write_text("id,v,v\na,1,2\n")
    assert "names column 'v' twice" in str(read(source(tmp_path, BODY)).error)


cells = st.text(st.sampled_from('ab1 ,;"\n\r\\é\t'), max_size=5)


@given(
    rows=st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), cells, cells), max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ending=st.sampled_from(["\n", "\r\n"]),
    chunk=st.integers(1, 80),
)
@settings(max_examples=120, deadline=None)
def test_what_python_writes_is_read(tmp_path_factory, rows, delimiter, quoting, ending, chunk):
    folder = tmp_path_factory.getbasetemp()
    if quoting == csv.QUOTE_MINIMAL and ending == "\n":
        # Python writes these unquoted then.
        rows = [(i, x.replace("\r", ""), y.replace("\r", "")) for i, x, y in rows]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=ending)
    writer.writerow(["id", "x", "y"])
    writer.writerows(rows)
    (folder / "events.csv").write_bytes(out.getvalue().encode())
    usual = text_reading.CHUNK, streams.BLOCK
    text_reading.CHUNK = streams.BLOCK = chunk
    try:
        found = read_all(source(folder, BODY + f"csv = {{delimiter = {json.dumps(delimiter)}}}\n"))
    finally:
        text_reading.CHUNK, streams.BLOCK = usual
    empty = "" if quoting == csv.QUOTE_ALL else None
    assert payloads(found) == [{"id": i, "x": x or empty, "y": y or empty} for i, x, y in rows]
