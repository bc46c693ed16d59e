"""Files of rows: found again by hash (against a plain lookup), sorted, the newest of a key, compacted by the policy."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import ReadModelError
from runner.positions import Position
from runner.sinks import rows as rows_module
from runner.sinks import saved as saved_module
from runner.sinks.compaction import MANY, due
from runner.sinks.export import canonical
from runner.sinks.newest import in_hashes, newest_of, rows_with_keys
from runner.sinks.rows import Target, read_file, write_rows
from runner.sinks.saved import KeptFiles, SavedFiles
from runner.sinks.shape import HASH, FileInfo, Shape, Version
from runner.testing.read_model_rows import child_shape, every_type_shape, keyed_shape, rows_for

if TYPE_CHECKING:
    from conftest import Accounts

WORDS = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
PAIRS = st.lists(st.tuples(WORDS, WORDS), max_size=12)


def _words(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs], np.uint64), np.array([p[1] for p in pairs], np.uint64)


@given(have=PAIRS, want=PAIRS)
def test_hashes_are_compared_in_both_words(have: list[tuple[int, int]], want: list[tuple[int, int]]) -> None:
    found = in_hashes(*_words(have), *_words(sorted(want)))
    assert found.tolist() == [pair in want for pair in have]


Key = tuple[str | None, int | None]
KEYS = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None])), max_size=15)


@given(keys=KEYS)
def test_the_newest_of_a_key_is_its_last_row(keys: list[Key]) -> None:
    table = pa.table(
        {
            "text": pa.array([k[0] for k in keys], pa.string()),
            "number": pa.array([k[1] for k in keys], pa.int64()),
            "place": pa.array(range(len(keys)), pa.int64()),
        }
    )
    expected = sorted({key: place for place, key in enumerate(keys)}.values())
    assert newest_of(table, ["text", "number"])["place"].to_pylist() == expected
    assert newest_of(table, [])["place"].to_pylist() == list(range(len(keys)))[-1:]


@given(keys=KEYS, wanted=KEYS)
def test_rows_are_found_by_their_keys(keys: list[Key], wanted: list[Key]) -> None:
    def table(of: list[Key]) -> pa.Table:
        return pa.table({"t": pa.array([k[0] for k in of], pa.string()), "n": pa.array([k[1] for k in of], pa.int64())})

    found = rows_with_keys(table(keys), table(wanted), ["t", "n"])
    assert [tuple(r.values()) for r in found.to_pylist()] == [k for k in keys if k in wanted]


def _hashed(shape: Shape, pairs: list[tuple[int, int]]) -> pa.Table:
    """One or more child rows per aggregate, their hashes given."""
    hi, lo = _words(pairs)
    count = len(pairs)
    columns = {
        "source": pa.array(["s"] * count),
        "tenant": pa.array(["t"] * count),
        "aggregate_id": pa.array([f"{h}/{low}" for h, low in pairs]),
        "sku": pa.array([str(i) for i in range(count)]),
        "n": pa.array(range(count), pa.int64()),
        HASH[0]: pa.array(hi),
        HASH[1]: pa.array(lo),
    }
    return pa.table(columns).cast(shape.schema)


@settings(max_examples=60, deadline=None)
@given(pairs=PAIRS, want=PAIRS, group=st.sampled_from([1, 2, 5]))
def test_saved_rows_are_those_a_plain_search_finds(
    pairs: list[tuple[int, int]], want: list[tuple[int, int]], group: int
) -> None:
    shape = replace(child_shape(), partitions=1)
    table = _hashed(shape, pairs)
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "ROW_GROUP", group)  # so that few rows make many row groups
        info = write_rows(_target(Path(root), shape), 0, table)
        version = Version(shape, 1, 0, Position(1), Path(root), "", "", "", (info,) if info else ())
        saved = SavedFiles((version,))(shape.name, *_words(sorted(want)))
        some = SavedFiles((version,), KeptFiles())(shape.name, *_words(sorted(want)), {"sku", "n"})
        patch.setattr(saved_module, "SMALL", 0)  # as for a large file, whose pages Arrow reads
        assert SavedFiles((version,))(shape.name, *_words(sorted(want))).equals(saved)
    found = [(row[HASH[0]], row[HASH[1]], row["n"]) for row in saved.to_pylist()]
    assert found == sorted((h, low, n) for n, (h, low) in enumerate(pairs) if (h, low) in want)
    assert some.equals(saved.select(["sku", "n", *HASH]))


def _target(directory: Path, shape: Shape, revision: int = 0) -> Target:
    return Target(str(directory), shape.name, revision, shape.full_key, shape.schema)


@pytest.mark.parametrize("seed", [1, 2])
def test_files_are_sorted_by_hash_and_do_not_depend_on_the_order_of_rows(seed: int, tmp_path: Path) -> None:
    shape = keyed_shape()
    table = rows_for(shape, {(f"a{i}",): (i, "") for i in range(500)})
    mixed = table.take(pa.array(np.random.default_rng(seed).permutation(500)))
    encoded = mixed.set_column(0, "aggregate_id", mixed["aggregate_id"].dictionary_encode())
    first, second, third = (write_rows(_target(tmp_path, shape), 0, t) for t in (table, mixed, encoded))
    assert first == second == third
    assert first is not None
    hi = read_file(tmp_path, first)[HASH[0]].to_numpy()
    assert bool(np.all(hi[1:] > hi[:-1]))


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    shape = keyed_shape()
    target, table = _target(tmp_path, shape), rows_for(shape, {("a",): (1, "")})
    for wrong, words in [
        (table.remove_column(1), "columns"),
        (table.set_column(1, "balance", pa.array(["x"])), "do not fit"),
    ]:
        with pytest.raises(ReadModelError, match=words):
            write_rows(target, 0, wrong)
    with pytest.raises(ReadModelError, match="no deletions"):
        write_rows(target, 0, table, table)
    with pytest.raises(ReadModelError, match="lack"):
        write_rows(_target(tmp_path, shape, 1), 0, table, table.select(["aggregate_id"]))
    assert write_rows(target, 0, table.slice(0, 0)) is None
    assert list(tmp_path.iterdir()) == []


def _file(partition: int, rows: int, revision: int) -> FileInfo:
    return FileInfo(f"{partition}-{revision}", revision > 0, partition, revision, rows, 0, 1, "", "")


def test_the_policy_of_compaction() -> None:
    def version(*files: FileInfo) -> Version:
        return Version(keyed_shape(), 1, 9, Position(1), Path(), "", "", "", files)

    assert due(version(_file(0, 100, 0), *(_file(0, 1, n) for n in range(1, MANY + 1)))) == {}
    assert due(version(_file(0, 100, 0), *(_file(0, 1, n) for n in range(1, MANY + 2)))) == {0: False}
    assert due(version(_file(0, 100, 0), _file(0, 20, 1), _file(0, 20, 2), _file(1, 3, 1))) == {0: True}
    assert due(version(_file(3, 7, 1))) == {}


def test_deltas_stay_few_and_a_compaction_changes_no_row(accounts: Accounts) -> None:
    expected = {f"a{i}": i for i in range(300)}
    accounts.rebuild(expected, 1)
    for n in range(24):
        change: dict[str, int | None] = {f"a{n * 3 + i}": None if i == 1 else n for i in range(3)}
        version = accounts.update(change, n + 2)
        expected = {k: v for k, v in {**expected, **change}.items() if v is not None}
        for partition in {f.partition for f in version.deltas}:
            assert sum(f.partition == partition for f in version.deltas) <= MANY
    assert accounts.rows() == expected
    before = accounts.models.live("accounts")
    table = canonical(accounts.models.table("accounts"))
    after = accounts.models.compact("accounts")
    assert before is not None
    assert (after.position, after.fingerprint, after.deltas) == (before.position, before.fingerprint, ())
    assert canonical(accounts.models.table("accounts")) == table
    assert accounts.models.compact("accounts").revision == after.revision, "nothing to do was done"
    accounts.update({"a0": 77}, 99)
    assert accounts.rows() == {**expected, "a0": 77}


def test_a_version_goes_through_its_document() -> None:
    shape = replace(
        every_type_shape(), indexes=(("whole",),), types=("a",), scopes=(("s", "t"),), key=("aggregate_id",)
    )
    files = (_file(0, 1, 0),)
    version = Version(shape, 3, 2, Position(5), Path("x"), "2024-01-01T00:00:00+00:00", "", "job", files)
    with tempfile.TemporaryDirectory() as place:
        written = replace(version, directory=Path(place))
        written.document.write_bytes(written.to_bytes())
        assert Version.read(Path(place), 2) == written
