"""One writer per version: refused in this process and in another, released by death, apart for update and rebuild."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import pytest

from runner.errors import FingerprintChanged, ReadModelError, VersionBusy
from runner.positions import Position
from runner.sinks.rows import write_partial, write_rows
from runner.testing.read_model_rows import merged_shape, partitioned, rows_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Accounts

HOLDER = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import Accounts
accounts = Accounts(Path({root!r}))
claim = accounts.models.{begin}(accounts.shape, job_id="job-7")
print("held", flush=True)
sys.stdin.read()
"""


def _holder(root: Path, begin: str) -> subprocess.Popen[str]:
    script = HOLDER.format(tests=os.path.dirname(__file__), root=str(root), begin=begin)  # noqa: PTH120 - text for the script
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("begin", ["begin_rebuild", "begin_update"])
def test_a_second_run_is_refused_until_the_first_is_dead(begin: str, accounts: Accounts, root: Path) -> None:
    accounts.rebuild({"a": 1})
    holder = _holder(root, begin)
    try:
        with pytest.raises(VersionBusy, match=rf"job job-7, process {holder.pid} on .* since "):
            getattr(accounts.models, begin)(accounts.shape)
    finally:
        holder.kill()
        holder.communicate()
    getattr(accounts.models, begin)(accounts.shape).release()


@pytest.mark.parametrize("begin", ["begin_rebuild", "begin_update"])
def test_a_second_run_of_the_same_process_is_refused(begin: str, accounts: Accounts) -> None:
    accounts.rebuild({"a": 1})
    with getattr(accounts.models, begin)(accounts.shape, job_id="job-8"):
        with pytest.raises(VersionBusy, match="job-8"):
            getattr(accounts.models, begin)(accounts.shape)
        # Looking for the holder must not have let go of the lock.
        lock = str(_lock(accounts, begin))
        script = f"import fcntl; f = open({lock!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "BlockingIOError" in other.stderr
    getattr(accounts.models, begin)(accounts.shape).release()


def _lock(accounts: Accounts, begin: str) -> Path:
    return accounts.models.root / "accounts" / ("v2.lock" if begin == "begin_rebuild" else "v1.lock")


def test_a_catch_up_goes_on_while_a_rebuild_builds_the_next(accounts: Accounts, root: Path) -> None:
    accounts.rebuild({"a": 1}, 1)
    holder = _holder(root, "begin_rebuild")
    try:
        accounts.update({"a": 2}, 2)
        assert accounts.rows() == {"a": 2}
    finally:
        holder.kill()
        holder.communicate()
    accounts.rebuild({"a": 3}, 3)
    assert accounts.rows() == {"a": 3}


def test_a_catch_up_of_a_version_that_is_no_longer_live_cannot_publish(accounts: Accounts) -> None:
    accounts.rebuild({"a": 1}, 1)
    with accounts.models.begin_update(accounts.shape) as claim:
        accounts.rebuild({"a": 10}, 2)
        with pytest.raises(ReadModelError, match="no longer version 1"):
            accounts.models.publish_update([claim.built(Position(3), [])])
    assert accounts.rows() == {"a": 10}
    live = accounts.models.live("accounts")
    assert live is not None
    assert live.position == 2


def test_rows_folded_from_an_older_state_cannot_publish(accounts: Accounts) -> None:
    """The lock keeps others away; this refuses them where a lock does not hold, and a claim that publishes twice."""
    accounts.rebuild({"a": 1}, 1)
    with accounts.models.begin_update(accounts.shape) as claim:
        accounts.models.publish_update([claim.built(Position(2), [])])
        with pytest.raises(ReadModelError, match="revision 1 is live, no longer version 1, revision 0"):
            accounts.models.publish_update([claim.built(Position(3), [])])
    live = accounts.models.live("accounts")
    assert live is not None
    assert (live.revision, live.position) == (1, 2)


def test_two_rebuilds_one_after_another_cannot_publish_one_version_twice(accounts: Accounts) -> None:
    with accounts.models.begin_rebuild(accounts.shape) as claim:
        built = claim.built(Position(1), [])
        accounts.models.publish_rebuild([built])
        with pytest.raises(ReadModelError, match="published already"):
            accounts.models.publish_rebuild([built])
    with pytest.raises(ReadModelError, match="given back"):
        claim.built(Position(1), [])


def test_rows_that_cannot_be_continued_are_refused(accounts: Accounts) -> None:
    accounts.rebuild({"a": 1})
    shape = accounts.shape
    with pytest.raises(FingerprintChanged, match="runner rebuild accounts"):
        accounts.models.begin_update(replace(shape, fingerprint="0" * 64))
    for other, words in [
        (replace(shape, log_id="log-2"), "log-2"),
        (replace(shape, partitions=8), "4 partitions, the log has 8"),
        (replace(shape, schema=shape.schema.remove(2)), "columns"),
    ]:
        with pytest.raises(ReadModelError, match=words):
            accounts.models.begin_update(other)
    with accounts.models.begin_update(replace(shape, types=("a", "b"), scopes=(("s", ""), ("t", "")))) as claim:
        accounts.models.publish_update([claim.built(Position(2), [])])
    live = accounts.models.live("accounts")
    assert live is not None
    assert live.shape.types == ("a", "b")


def test_shapes_that_cannot_be_read_models_are_refused_before_the_run(accounts: Accounts) -> None:
    accounts.rebuild({"a": 1})
    schema = accounts.shape.schema
    for other, words in [
        (replace(accounts.shape, name="Accounts"), "case"),
        (replace(accounts.shape, name=""), "name"),
        (replace(accounts.shape, schema=schema.append(schema.field("note").with_name("Note"))), "case"),
        (replace(accounts.shape, schema=schema.append(schema.field("note").with_name("_deleted"))), "taken"),
        (replace(accounts.shape, key=("nothing",)), "key"),
        (replace(accounts.shape, partitions=3), "power of two"),
        (replace(accounts.shape, schema=schema.remove(4)), "_hash_lo"),
    ]:
        with pytest.raises(ReadModelError, match=words):
            accounts.models.begin_rebuild(other)


def test_workers_of_other_processes_write_with_a_target_alone(accounts: Accounts) -> None:
    parts = partitioned(accounts.shape, rows_for(accounts.shape, {(f"a{i}",): (i, "") for i in range(100)}))
    with accounts.models.begin_rebuild(accounts.shape) as claim:
        target = pickle.loads(pickle.dumps(claim.target))
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            files = list(pool.map(write_rows, [target] * 4, parts, parts.values()))
        again = [write_rows(target, p, part) for p, part in parts.items()]
        assert again == files, "the same rows gave other bytes"
        accounts.models.publish_rebuild([claim.built(Position(1), files)])
    assert accounts.rows() == {f"a{i}": i for i in range(100)}
    live = accounts.models.live("accounts")
    assert live is not None
    saved = pickle.loads(pickle.dumps(accounts.models.saved_rows(live)))
    assert saved == accounts.models.saved_rows(live)
    one = parts[0].slice(0, 1)
    assert saved("accounts", one["_hash_hi"].to_numpy(), one["_hash_lo"].to_numpy()).to_pylist() == one.to_pylist()


def test_parts_of_merged_keys_are_kept_until_all_are_merged(accounts: Accounts) -> None:
    shape = merged_shape()
    rows = rows_for(shape, {("t", None): (1,)})
    with accounts.models.begin_rebuild(shape) as claim:
        part = write_partial(claim.target, 3, rows)
        assert part is not None
        with pytest.raises(ReadModelError, match="merged"):
            claim.built(Position(1), [part])
    with accounts.models.begin_rebuild(shape, resume=True) as claim:
        assert claim.has(part)
        accounts.models.publish_rebuild([claim.built(Position(1), [write_rows(claim.target, 0, rows)])])
        assert not claim.has(part)
    live = accounts.models.live(shape.name)
    assert live is not None
    keys = rows.select(["type", "day"])
    assert accounts.models.saved_rows(live).by_keys(shape.name, keys).to_pylist() == rows.to_pylist()
    with pytest.raises(ReadModelError, match="merged"):
        accounts.models.saved_rows(live)(shape.name, np.zeros(1, np.uint64), np.zeros(1, np.uint64))


def test_runs_of_different_read_models_publish_at_the_same_time(accounts: Accounts) -> None:
    names = [f"model_{n}" for n in range(4)]

    def build(name: str) -> None:
        for position in range(1, 4):
            with accounts.models.begin_rebuild(replace(accounts.shape, name=name)) as claim:
                accounts.models.publish_rebuild([claim.built(Position(position), [])])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(build, names))
    with accounts.models.connect() as connection:
        rows = connection.execute("SELECT read_model, version, position FROM runner.checkpoints ORDER BY 1").fetchall()
        assert rows == [(name, 3, 3) for name in names]
        assert connection.execute("SELECT generation FROM runner.catalog").fetchall() == [(12,)]


def test_several_read_models_switch_together(make_accounts: Callable[..., Accounts]) -> None:
    accounts = make_accounts()
    other = replace(accounts.shape, name="other")
    with accounts.models.begin_rebuild(accounts.shape) as one, accounts.models.begin_rebuild(other) as two:
        accounts.models.publish_rebuild([one.built(Position(4), []), two.built(Position(4), [])])
    with accounts.models.connect() as connection:
        assert connection.execute("SELECT read_model, position FROM runner.checkpoints ORDER BY 1").fetchall() == [
            ("accounts", 4),
            ("other", 4),
        ]
        assert connection.execute("SELECT generation FROM runner.catalog").fetchall() == [(1,)]


def test_an_update_does_not_set_the_checkpoint_back(accounts: Accounts) -> None:
    accounts.rebuild({"a": 1}, 5)
    with accounts.models.begin_update(accounts.shape) as claim:
        with pytest.raises(ReadModelError, match="at position 5, not to be set back to 4"):
            claim.built(Position(4), [])
        claim.built(Position(5), [])
