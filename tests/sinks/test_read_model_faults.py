"""Damage, missing files, full disks, odd places: a clear error, and what is live stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pytest

from runner.errors import ReadModelError
from runner.sinks.shape import directory_name
from runner.testing.read_model_rows import keys_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Accounts

ROWS = {f"a{i}": i for i in range(40)}


def _saved(accounts: Accounts) -> int:
    live = accounts.models.live("accounts")
    assert live is not None
    keys = keys_for(accounts.shape, [(k,) for k in ROWS])
    hi, lo = keys["_hash_hi"].to_numpy(), keys["_hash_lo"].to_numpy()
    order = np.argsort(hi)
    return accounts.models.saved_rows(live)("accounts", hi[order], lo[order]).num_rows


def test_a_flipped_bit_is_found(accounts: Accounts) -> None:
    version = accounts.rebuild(ROWS)
    path = version.directory / version.files[0].name
    whole = path.read_bytes()
    for place in range(4, len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ReadModelError, match="not what was written"):
            accounts.models.table("accounts")
    path.write_bytes(whole)
    accounts.models.verify("accounts")


@pytest.mark.parametrize("small", [True, False])
def test_a_flipped_bit_is_found_by_a_catch_up(small: bool, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    if not small:  # as for a large file: footer and page checksums, not the whole
        monkeypatch.setattr("runner.sinks.saved.SMALL", 0)
    version = accounts.rebuild(ROWS)
    path = version.directory / version.files[0].name
    whole = path.read_bytes()
    found = passed = 0
    for place in range(4, len(whole), 31):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            assert _saved(accounts) == len(ROWS)
            passed += 1
        except ReadModelError as error:
            found += "damaged" in str(error)
    assert found > 50
    assert passed == 0 if small else passed < found  # page headers have no checksum; their statistics are not used


@pytest.mark.parametrize("how", ["missing", "truncated", "empty"])
def test_a_missing_or_truncated_file_is_named(how: str, accounts: Accounts) -> None:
    version = accounts.rebuild(ROWS)
    path = version.directory / version.files[0].name
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 100 if how == "truncated" else 0])
    for read in (lambda: accounts.models.table("accounts"), lambda: _saved(accounts)):
        with pytest.raises(ReadModelError, match=path.name):
            read()
    # The way out works.
    accounts.rebuild({"a": 1})
    assert accounts.rows() == {"a": 1}
    with pytest.raises(ReadModelError, match=path.name):
        accounts.models.rollback("accounts")
    assert accounts.rows() == {"a": 1}


def test_nothing_is_published_whose_files_are_gone(accounts: Accounts) -> None:
    accounts.rebuild(ROWS)
    with accounts.models.begin_rebuild(accounts.shape) as claim:
        built = claim.built(2, accounts.models.live("accounts").files)
        with pytest.raises(ReadModelError, match="missing"):
            accounts.models.publish_rebuild([built])
    assert accounts.rows() == ROWS


@pytest.mark.parametrize("file", ["current.json", "accounts/v1/version-0.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', "\x00\x00"])
def test_damaged_documents_are_named(file: str, content: str, accounts: Accounts, root: Path) -> None:
    accounts.rebuild(ROWS)
    (root / file).write_text(content, "utf-8")
    with pytest.raises(ReadModelError, match=Path(file).name):
        accounts.models.table("accounts")
    with pytest.raises(ReadModelError, match=Path(file).name):
        accounts.models.connect()


@pytest.mark.parametrize("content", [None, b"", b"no database"])
def test_a_lost_catalog_is_made_again(content: bytes | None, accounts: Accounts, root: Path) -> None:
    accounts.rebuild(ROWS)
    catalog = root / "catalog.duckdb"
    catalog.unlink()
    if content is not None:
        catalog.write_bytes(content)
    assert accounts.rows() == ROWS
    assert accounts.models.repair()
    with duckdb.connect(str(catalog), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchall() == [(40,)]
    assert not accounts.models.repair()


def test_a_moved_directory_works_and_gets_its_catalog_made_again(
    accounts: Accounts, make_accounts: Callable[..., Accounts], root: Path
) -> None:
    accounts.rebuild(ROWS)
    there = root.with_name("else where")
    shutil.move(root, there)
    moved = make_accounts()
    moved.models.root = there
    assert moved.rows() == ROWS
    assert moved.models.repair()
    with duckdb.connect(str(there / "catalog.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchall() == [(40,)]


@pytest.mark.parametrize("place", ["it's", "a*b", "[x]", 'quo"te', "%41", "ünï", "sp ace"])
def test_odd_places(place: str, tmp_path: Path, make_accounts: Callable[..., Accounts]) -> None:
    accounts = make_accounts()
    accounts.models.root = (tmp_path / place).resolve()
    accounts.rebuild(ROWS)
    accounts.update({"a1": None})
    assert len(accounts.rows()) == 39
    with duckdb.connect(str(tmp_path / place / "catalog.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchall() == [(39,)]


def test_a_place_that_duckdb_cannot_open_is_refused(tmp_path: Path, make_accounts: Callable[..., Accounts]) -> None:
    accounts = make_accounts()
    accounts.models.root = tmp_path / "q?"
    with pytest.raises(ReadModelError, match="question mark"):
        accounts.rebuild(ROWS)


@pytest.mark.parametrize("name", ["..", "a/b", "current.json", "Übung", "a%2Eb", "x\ny", ".", "v1"])
def test_a_name_stays_one_directory_inside(name: str) -> None:
    made = directory_name(name)
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%")
    assert made not in ("", ".", "..")
    others = {directory_name(n) for n in ["a.b", "b", "ubung", "x", "v2"]}
    assert made not in others


LIMITED = """
import resource, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import Accounts
accounts = Accounts(Path({root!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    accounts.{action}
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("limit", [0, 3000])
@pytest.mark.parametrize(
    "action",
    ["rebuild({'x' * 50 + str(i): i for i in range(400)}, 2)", "update({'a1': 5}, 2)", "models.compact('accounts')"],
)
def test_files_that_cannot_be_written_leave_what_is_live(
    action: str, limit: int, accounts: Accounts, root: Path
) -> None:
    accounts.rebuild(ROWS, 1)
    accounts.update({"a0": 7}, 1)
    current = (root / "current.json").read_bytes()
    script = LIMITED.format(tests=os.path.dirname(__file__), root=str(root), limit=limit, action=action)  # noqa: PTH120 - text for the script
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stdout.startswith("ReadModelError cannot "), run.stdout + run.stderr
    assert "live is untouched" in run.stdout
    assert (root / "current.json").read_bytes() == current
    assert accounts.rows() == {**ROWS, "a0": 7}
    accounts.update({"a1": None}, 2)
    assert len(accounts.rows()) == 39


def test_a_full_disk(tmp_path: Path, make_accounts: Callable[..., Accounts]) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        accounts = make_accounts()
        accounts.models.root = place / "read_models"
        accounts.rebuild(ROWS, 1)
        names = np.random.default_rng(1).bytes(3_000_000).hex()
        with pytest.raises(ReadModelError, match=os.strerror(errno.ENOSPC)):
            accounts.rebuild({names[i * 100 : i * 100 + 100]: i for i in range(50_000)}, 2)
        assert accounts.rows() == ROWS
        left = place / "rest"
        with left.open("wb") as file:  # fill what is left but a little: some files fit, the catalog does not
            free = shutil.disk_usage(place).free
            file.write(b"x" * (free - 8_192))
        with pytest.raises(ReadModelError, match="cannot"):
            accounts.update({"b": 1}, 2)
        assert accounts.rows() == ROWS
        assert json.loads((accounts.models.root / "current.json").read_text())["generation"] == 1
        left.unlink()
        accounts.rebuild({"b": 1}, 2)
        assert accounts.rows() == {"b": 1}
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
