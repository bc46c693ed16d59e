"""Files that grow, end badly, change or go: every event once, and what changed behind a mark is named."""

from __future__ import annotations

import gzip
import json
import os

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from source_cases import LEDGER, ids, lines, read, read_all, source

from runner.errors import LineError, SourceChanged, SourceError
from runner.sources import open_source, streams
from runner.sources import text as text_reading


@pytest.fixture(params=[7, 64, 8 << 20], ids=["tiny chunks", "small chunks", "usual chunks"])
def chunk(request, monkeypatch):
    monkeypatch.setattr(text_reading, "CHUNK", request.param)
    monkeypatch.setattr(streams, "BLOCK", min(streams.BLOCK, request.param))
    monkeypatch.setattr(streams, "COMPRESSED_BLOCK", min(streams.COMPRESSED_BLOCK, request.param))


def append(file, text):
    with file.open("ab") as stream:
        stream.write(text.encode())


@pytest.mark.usefixtures("chunk")
def test_appended_lines_and_new_files_are_read_once(tmp_path):
    config = source(tmp_path)
    one, two = tmp_path / "events-b.ndjson", tmp_path / "events-a.ndjson"
    one.write_text(lines(0, 30))
    found = read_all(config)
    assert (found.ids, found.places) == (ids(0, 30), [(0, k + 1) for k in range(30)])
    assert read_all(config, found.mark).rows == []
    append(one, lines(30, 40))
    two.write_text(lines(100, 105))
    again = read_all(config, found.mark)
    # A new file comes behind the known ones, whatever its name: positions keep their meaning.
    assert again.ids == ids(30, 40) + ids(100, 105)
    assert again.places == [(0, k + 1) for k in range(30, 40)] + [(1, k + 1) for k in range(5)]
    assert [f["path"] for f in again.mark["files"]] == ["events-b.ndjson", "events-a.ndjson"]


@pytest.mark.usefixtures("chunk")
def test_an_unfinished_line_waits_and_is_reported(tmp_path):
    file, config = tmp_path / "events.ndjson", source(tmp_path)
    file.write_text(lines(0, 3) + '{"id":"e3",')
    found = read_all(config)
    assert found.ids == ids(0, 3)
    assert [(u.file, u.line, u.octets) for u in found.unfinished] == [("events.ndjson", 4, 11)]
    untouched = read_all(config, found.mark)
    assert (untouched.rows, untouched.unfinished) == ([], found.unfinished)
    append(file, '"type":"t"}\n')
    finished = read_all(config, found.mark)
    assert (finished.ids, finished.places, finished.unfinished) == (["e3"], [(0, 4)], ())


def test_a_final_file_ends_with_a_line(tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_text(lines(0, 3).removesuffix("\n"))
    waiting = read_all(source(tmp_path))
    assert waiting.ids == ids(0, 2)
    final = source(tmp_path, LEDGER + "final = true\n")
    found = read_all(final, waiting.mark)
    assert (found.ids, found.unfinished) == (["e2"], ())
    os.utime(file, ns=(1, 1))
    assert read_all(final, found.mark).rows == []
    append(file, "\n" + lines(3, 4))
    assert read_all(final, found.mark).ids == ["e3"]


def test_a_torn_last_line_of_a_final_file_is_a_bad_line(tmp_path):
    (tmp_path / "events.ndjson").write_text(lines(0, 3) + '{"id":')
    found = read(source(tmp_path, LEDGER + "final = true\n"))
    assert isinstance(found.error, LineError)
    assert (found.ids, found.error.line) == (ids(0, 3), 4)


# Behind the mark ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("e5", "x5"), "are not what was read"),
        (lambda t: t[:-20], "shorter than"),
        (lambda t: "", "shorter than"),
        (lambda t: lines(50, 51) + t, "are not what was read"),
        (lambda t: t.replace("e5", "x5") + lines(30, 40), "are not what was read"),
    ],
    ids=["edited", "cut", "emptied", "prepended", "edited and grown"],
)
def test_a_file_that_changed_behind_its_mark_is_named(tmp_path, change, said):
    file, config = tmp_path / "events.ndjson", source(tmp_path)
    file.write_text(lines(0, 30))
    found = read_all(config)
    file.write_text(change(lines(0, 30)))
    again = read(config, found.mark)
    assert isinstance(again.error, SourceChanged)
    assert str(file) in str(again.error)
    assert said in str(again.error)
    assert (again.rows, again.mark) == ([], found.mark)


def test_an_edit_in_the_same_moment_and_of_the_same_length_is_seen_by_its_inode_times(tmp_path):
    file, config = tmp_path / "events.ndjson", source(tmp_path)
    file.write_text(lines(0, 30))
    found = read_all(config)
    stat = file.stat()
    file.write_text(lines(0, 30).replace("e5", "x5"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert isinstance(read(config, found.mark).error, SourceChanged)


def test_a_touched_file_is_compared_and_found_unchanged(tmp_path):
    file, config = tmp_path / "events.ndjson", source(tmp_path)
    file.write_text(lines(0, 30))
    found = read_all(config)
    os.utime(file, ns=(5, 5))
    again = read_all(config, found.mark)
    assert again.rows == []
    assert again.mark != found.mark
    assert read_all(config, again.mark).mark == again.mark


def test_verify_ends_sees_the_ends_only(tmp_path, monkeypatch):
    monkeypatch.setattr("runner.sources.marks.END", 100)
    file, config = tmp_path / "events.ndjson", source(tmp_path, LEDGER + 'verify = "ends"\n')
    whole = lines(0, 100)
    file.write_text(whole)
    found = read_all(config)
    for edited, seen in ((whole.replace("e50", "x50"), False), (whole.replace("e0", "x0"), True)):
        file.write_text(edited + lines(100, 110))
        again = read(config, found.mark)
        assert isinstance(again.error, SourceChanged) == seen
        assert again.ids == ([] if seen else ids(100, 110))
    file.write_text(whole.replace("e99", "x99"))
    assert isinstance(read(config, found.mark).error, SourceChanged)
    # A mark by ends is understood by a full check, and the other way round.
    file.write_text(whole + lines(100, 101))
    full = read_all(source(tmp_path, LEDGER), found.mark)
    assert full.ids == ["e100"]
    append(file, lines(101, 102))
    assert read_all(config, full.mark).ids == ["e101"]


def test_gone_and_renamed_files(tmp_path):
    one, two = tmp_path / "events-1.ndjson", tmp_path / "events-2.ndjson"
    one.write_text(lines(0, 3))
    two.write_text(lines(3, 6))
    found = read_all(source(tmp_path))
    one.unlink()
    with pytest.raises(SourceChanged, match=r"events-1\.ndjson is gone"):
        read(source(tmp_path), found.mark)
    allowing = source(tmp_path, LEDGER + 'gone_files = "allow"\n')
    append(two, lines(6, 7))
    again = read_all(allowing, found.mark)
    assert again.places == [(1, 4)]
    two.rename(tmp_path / "events-3.ndjson")
    with pytest.raises(SourceChanged, match=r"renamed to .*events-3\.ndjson"):
        read(allowing, again.mark)


def text_of(kind, text):
    return gzip.compress(text.encode()) if kind == "gz" else text.encode()


@pytest.mark.parametrize("verify", ["full", "ends"])
@pytest.mark.parametrize("kind", ["plain", "gz"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lines(0, 20), lines(0, 20)),
        (lines(0, 400), lines(0, 400)),
        (lines(0, 400), lines(0, 500)),
        (lines(0, 400), lines(0, 300)),
        (lines(0, 400), lines(0, 20)),
        (lines(0, 9_000), lines(0, 9_000)),
    ],
    ids=["equal, short", "equal", "longer", "shorter", "shorter than a head", "longer than two ends"],
)
def test_a_new_file_that_holds_anothers_events_is_refused_by_name(tmp_path, first, second, kind, verify, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK", 1000)
    monkeypatch.setattr(streams, "COMPRESSED_BLOCK", 1000)
    settings_ = LEDGER + f'verify = "{verify}"\n'
    one, two = tmp_path / "events-1.ndjson", tmp_path / "events-2.bak"
    one.write_text(lines(700_000, 700_010))
    (tmp_path / "events-1b.ndjson").write_text(first)
    found = read_all(source(tmp_path, settings_))
    two.write_bytes(text_of(kind, second))
    both = settings_.replace("events*.ndjson", "events*")
    again = read(source(tmp_path, both), found.mark)
    assert isinstance(again.error, SourceChanged)
    assert "events-2.bak holds the events of" in str(again.error)
    assert "events-1b.ndjson that were read already" in str(again.error)
    assert (again.rows, again.mark) == ([], found.mark)
    allowed = read_all(source(tmp_path, both + 'copied_files = "allow"\n'), found.mark)
    assert len(allowed.rows) == second.count("\n")


def test_the_copy_is_seen_in_the_first_reading_and_where_the_first_file_grew_or_is_gone(tmp_path):
    one, two = tmp_path / "events-1.ndjson", tmp_path / "events-2.ndjson.gz"
    one.write_text(lines(0, 200))
    two.write_bytes(text_of("gz", lines(0, 200)))
    both = LEDGER.replace("events*.ndjson", "events*")
    first = read(source(tmp_path, both))
    assert isinstance(first.error, SourceChanged)
    assert first.ids == ids(0, 200)
    two.rename(tmp_path / "other")
    append(one, lines(200, 210))
    grown = read_all(source(tmp_path, both), first.mark)
    (tmp_path / "other").rename(two)
    assert isinstance(read(source(tmp_path, both), grown.mark).error, SourceChanged)
    two.write_bytes(text_of("gz", lines(0, 210)))
    one.unlink()
    gone = read(source(tmp_path, both + 'gone_files = "allow"\n'), grown.mark)
    assert isinstance(gone.error, SourceChanged)
    assert gone.rows == []


def test_files_that_begin_alike_and_then_differ_are_no_copies(tmp_path):
    same = lines(0, 300)
    for k in range(3):
        (tmp_path / f"events-{k}.ndjson").write_text(same + lines(1000 + k, 1010 + k))
    (tmp_path / "events-4.ndjson").write_text("\n\n")
    (tmp_path / "events-5.ndjson").write_text("")
    found = read_all(source(tmp_path))
    assert len(found.rows) == 3 * 310
    # A mark of an older runner has no digest of the head.
    older = found.mark | {"files": [f | {"head": ""} for f in found.mark["files"]]}
    (tmp_path / "events-6.ndjson").write_text(same + lines(5, 6))
    assert len(read_all(source(tmp_path), older).rows) == 301
    (tmp_path / "events-7.ndjson").write_text(same + lines(1001, 1011))
    assert isinstance(read(source(tmp_path), older).error, SourceChanged)


def test_csv_files_of_a_header_line_alone_are_no_copies(tmp_path):
    body = LEDGER.replace("ndjson", "csv")
    for name, text in (("1", "id,type\n"), ("2", "id,type\na,t\n"), ("3", "id,type\nb,t\n"), ("4", "id,type\n")):
        (tmp_path / f"events-{name}.csv").write_text(text)
    found = read_all(source(tmp_path, body))
    assert found.ids == ["a", "b"]
    (tmp_path / "events-5.csv").write_text("id,type\nb,t\nc,t\n")
    assert "events-5.csv holds the events of" in str(read(source(tmp_path, body), found.mark).error)


def test_a_file_that_files_no_longer_names_is_read_on_and_told(tmp_path):
    one, two = tmp_path / "events-1.ndjson", tmp_path / "events-2.ndjson"
    one.write_text(lines(0, 30))
    two.write_text(lines(30, 40))
    found = read_all(source(tmp_path))
    append(one, lines(50, 51))
    reader = open_source(source(tmp_path, LEDGER.replace("events*", "events-2")), found.mark)
    assert [piece.events.num_rows for piece in reader.pieces()] == [1]
    assert reader.notes() == ("events-1.ndjson is no longer named by files, but read before: read on as long as there",)
    assert open_source(source(tmp_path), found.mark).notes() == ()


def test_a_name_with_glob_characters_is_a_name_first(tmp_path):
    (tmp_path / "events[1].ndjson").write_text(lines(0, 3))
    (tmp_path / "events1.ndjson").write_text(lines(3, 5))
    body = LEDGER.replace("events*.ndjson", "events[1].ndjson")
    assert read_all(source(tmp_path, body)).ids == ids(0, 3)
    (tmp_path / "events[1].ndjson").unlink()
    assert read_all(source(tmp_path, body)).ids == ids(3, 5)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(SourceError, match="no file matches"):
        read(source(tmp_path))
    with pytest.raises(SourceError, match=r"other\.ndjson is not a file"):
        read(source(tmp_path, LEDGER.replace("events*", "other")))
    (tmp_path / "other.ndjson").mkdir()
    with pytest.raises(SourceError, match=r"other\.ndjson is not a file"):
        read(source(tmp_path, LEDGER.replace("events*", "other")))


def test_a_list_of_files_and_globs_keeps_its_order_and_names_each_file_once(tmp_path):
    for k in range(4):
        (tmp_path / f"events-{k}.ndjson").write_text(lines(k, k + 1))
    body = LEDGER.replace('"events*.ndjson"', '["events-3.ndjson", "events-*.ndjson", "./events-0.ndjson"]')
    assert read_all(source(tmp_path, body)).ids == ["e3", "e0", "e1", "e2"]


def test_another_mapping_is_refused_once_events_are_in_the_log(tmp_path):
    (tmp_path / "events.ndjson").write_text(lines(0, 3))
    found = read_all(source(tmp_path))
    with pytest.raises(SourceError, match="aggregate_id is n, but the events in the log were read with id"):
        read(source(tmp_path, LEDGER.replace('"id"', '"n"')), found.mark)
    other = found.mark | {"format": 99}
    with pytest.raises(SourceError, match="another version"):
        read(source(tmp_path), other)


# Compression ----------------------------------------------------------------------------------------------------------


def packed(kind, text):
    data = text.encode()
    return gzip.compress(data) if kind == "gz" else zstandard.ZstdCompressor().compress(data)


BOTH = pytest.mark.parametrize("kind", ["gz", "zst"])
PACKED = LEDGER.replace("events*.ndjson", "events*")


@BOTH
@pytest.mark.usefixtures("chunk")
def test_compressed_files_grow_by_streams_and_by_replacement(tmp_path, kind):
    file, config = tmp_path / f"events.ndjson.{kind}", source(tmp_path, PACKED)
    file.write_bytes(packed(kind, lines(0, 20)) + packed(kind, lines(20, 30)))
    found = read_all(config)
    assert found.ids == ids(0, 30)
    file.write_bytes(file.read_bytes() + packed(kind, lines(30, 40)))
    again = read_all(config, found.mark)
    assert again.ids == ids(30, 40)
    file.write_bytes(packed(kind, lines(0, 50)))
    assert read_all(config, again.mark).ids == ids(40, 50)
    file.write_bytes(packed(kind, lines(0, 50).replace("e7", "x7")))
    assert isinstance(read(config, again.mark).error, SourceChanged)


@BOTH
@pytest.mark.usefixtures("chunk")
def test_a_compressed_file_that_is_cut_off_keeps_what_was_whole(tmp_path, kind):
    file, config = tmp_path / f"events.ndjson.{kind}", source(tmp_path, PACKED)
    whole = packed(kind, lines(0, 10)) + packed(kind, "".join(lines(k, k + 1) for k in range(10, 4_000)))
    file.write_bytes(whole[: len(whole) // 2])
    found = read(config)
    assert type(found.error) is SourceError
    assert f"{file} is cut off" in str(found.error)
    assert found.ids == ids(0, len(found.ids))
    assert len(found.ids) >= 10
    file.write_bytes(whole)
    assert read_all(config, found.mark).ids == ids(len(found.ids), 4_000)


@BOTH
def test_a_damaged_compressed_file_is_named(tmp_path, kind):
    file, config = tmp_path / f"events.ndjson.{kind}", source(tmp_path, PACKED)
    whole = bytearray(packed(kind, lines(0, 10)) + packed(kind, lines(10, 4_000)))
    whole[-40] ^= 0xFF
    file.write_bytes(bytes(whole))
    found = read(config)
    assert type(found.error) is SourceError
    assert str(file) in str(found.error)
    assert found.ids == ids(0, len(found.ids))


def test_a_wide_zstd_window(tmp_path):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28, enable_ldm=True)
    file = tmp_path / "events.ndjson.zst"
    with file.open("wb") as raw, zstandard.ZstdCompressor(compression_params=parameters).stream_writer(raw) as stream:
        stream.write(lines(0, 1_000).encode())
    assert zstandard.get_frame_parameters(file.read_bytes()).window_size == 1 << 28
    assert read_all(source(tmp_path, PACKED)).ids == ids(0, 1_000)


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "cp1252"])
@pytest.mark.usefixtures("chunk")
def test_encodings_and_byte_order_marks(tmp_path, encoding):
    file = tmp_path / "events.ndjson"
    text = lines(0, 20).replace("e1", "é1")
    file.write_bytes(text.encode(encoding))
    config = source(tmp_path, LEDGER + f'encoding = "{encoding}"\n')
    found = read_all(config)
    assert found.ids == [i.replace("e1", "é1") for i in ids(0, 20)]
    file.write_bytes((text + lines(20, 25)).encode(encoding))
    assert read_all(config, found.mark).ids == ids(20, 25)


def test_bytes_that_an_encoding_does_not_know_are_a_bad_line(tmp_path):
    (tmp_path / "events.ndjson").write_bytes(
        lines(0, 2).encode() + b'{"id":"\x81","type":"t"}\n' + lines(2, 3).encode()
    )
    found = read_all(source(tmp_path, LEDGER + 'encoding = "cp1252"\non_bad_line = "reject"\n'))
    assert (found.ids, [b.line for b in found.rejected]) == (ids(0, 3), [3])
    assert "not text in cp1252" in found.rejected[0].reason


def test_a_line_of_ten_megabytes(tmp_path):
    long = json.dumps({"id": "long", "type": "t", "text": "é" * 5_000_000}, ensure_ascii=False)
    (tmp_path / "events.ndjson").write_text(lines(0, 2) + long + "\n" + lines(2, 3), encoding="utf-8")
    found = read_all(source(tmp_path))
    assert found.ids == ["e0", "e1", "long", "e2"]
    assert found.rows[2]["payload"] == long


def test_a_line_without_an_end_in_sight_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("runner.sources.chunks.LONGEST_LINE", 1_000)
    monkeypatch.setattr(text_reading, "CHUNK", 500)
    monkeypatch.setattr(streams, "BLOCK", 100)
    (tmp_path / "events.ndjson").write_text(lines(0, 2) + "x" * 2_000)
    found = read(source(tmp_path))
    assert isinstance(found.error, LineError)
    assert (found.ids, found.error.line) == (ids(0, 2), 3)


@given(
    sizes=st.lists(st.integers(0, 60), max_size=6),
    cuts=st.lists(st.integers(0, 400), max_size=4),
    chunk=st.integers(1, 200),
    bad=st.sets(st.integers(0, 40), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_however_a_file_grows_each_line_is_read_once(tmp_path_factory, sizes, cuts, chunk, bad):
    folder = tmp_path_factory.mktemp("grown")
    file, config = folder / "events.ndjson", source(folder, LEDGER + 'on_bad_line = "reject"\n')
    whole = "".join(lines(k, k + 1) if k not in bad else "{bad\n" for k in range(20)) + "\n" * (len(sizes) % 3)
    places = sorted({min(c, len(whole)) for c in cuts} | {0, len(whole)})
    mark, found, rejected = None, [], []
    usual = text_reading.CHUNK, streams.BLOCK
    text_reading.CHUNK = streams.BLOCK = chunk
    try:
        for place in places:
            file.write_text(whole[:place])
            reading = read_all(config, mark)
            mark = reading.mark
            found += reading.rows
            rejected += reading.rejected
    finally:
        text_reading.CHUNK, streams.BLOCK = usual
    good = [k for k in range(20) if k not in bad]
    assert [row["aggregate_id"] for row in found] == [f"e{k}" for k in good]
    assert [row["source_position_1"] for row in found] == [k + 1 for k in good]
    assert [b.line for b in rejected] == [k + 1 for k in range(20) if k in bad]
    assert mark["files"][0]["lines"] == whole.count("\n")
