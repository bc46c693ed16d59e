"""Killed at each commit step: what is live is whole, old or new; the command again ends as if nothing had been."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pytest

from runner.sinks.claims import publishing
from runner.sinks.export import canonical
from runner.steps import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Accounts

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import Accounts
accounts = Accounts(Path({root!r}))
{action}
print("done")
"""
BEFORE = {f"a{i}": i for i in range(30)}
ACTIONS = {
    "rebuild": ("accounts.rebuild({'x': 1, 'y': 2}, 9)", {"x": 1, "y": 2}, 9),
    "update": ("accounts.update({'a1': 100, 'a2': None, 'z': 5}, 8)", {**BEFORE, "a1": 100, "z": 5}, 8),
    "settle": ("accounts.models.compact('accounts')", {**BEFORE, "a3": 33, "a4": 44}, 7),
    "rollback": ("accounts.models.rollback('accounts')", {"first": 1}, 1),
}
ACTIONS["update"][1].pop("a2")
SWITCH = {"rebuild": 7, "update": 4, "settle": 3, "rollback": 1}
"""From this step on the new state is live."""
OWN = [f"rebuild.{n}" for n in (6, 7, 8)] + [f"update.{n}" for n in (3, 4, 5)] + ["rollback.1", "rollback.2"]
OWN += [f"settle.{n}" for n in (1, 2, 3, 4)]
"""The steps of publishing; the others are the run's."""


def _run(root: Path, action: str, crash_at: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(tests=os.path.dirname(__file__), root=str(root), action=action)  # noqa: PTH120 - text for the script
    environment = {**os.environ, "RUNNER_CRASH_AT": crash_at}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _through_catalog(root: Path) -> dict[str, int]:
    """What a user of the catalog file sees."""
    with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as connection:
        return dict(connection.sql("SELECT aggregate_id, balance FROM accounts").fetchall())


def test_the_steps_are_named() -> None:
    assert set(OWN) < set(STEPS)


@pytest.mark.parametrize("step", OWN)
def test_a_crash_leaves_old_or_new_and_the_command_again_repairs(
    step: str, make_accounts: Callable[..., Accounts], root: Path
) -> None:
    accounts = make_accounts()
    accounts.rebuild({"first": 1}, 1)
    accounts.rebuild(BEFORE, 5)
    what, _, number = step.partition(".")
    action, after, position = ACTIONS[what]
    before = BEFORE
    if what == "settle":  # two deltas over each base; the rows stay what they are
        accounts.update({"a3": 3300, "a4": 44}, 6, compact=False)
        accounts.update({"a3": 33}, 7, compact=False)
        before = after
    killed = _run(root, action, step)
    assert (killed.returncode, killed.stdout) == (-9, ""), killed.stderr
    switched = int(number) >= SWITCH[what]
    # Who goes by current.json sees the switch at once; who opens the catalog file, old or new, never half.
    assert accounts.rows() == (after if switched else before)
    last = (what, int(number)) in (("rebuild", 8), ("update", 5), ("settle", 4), ("rollback", 2))
    assert _through_catalog(root) == (after if last else before)
    assert accounts.models.repair() == (switched and not last)
    assert not list(root.glob(".*")), "the catalog that was being made is left"
    assert _through_catalog(root) == (after if switched else before)
    if not (what == "rollback" and switched):  # a rollback that has happened is not done twice
        exec(action, {"accounts": make_accounts()})
    live = accounts.models.live("accounts")
    assert live is not None
    assert live.position == position
    assert (what == "settle") <= (live.deltas == ())
    assert accounts.rows() == _through_catalog(root) == after
    assert not list(root.glob(".*")), "temporary files are left"


def test_a_repair_leaves_the_files_of_one_who_publishes(accounts: Accounts, root: Path) -> None:
    accounts.rebuild(BEFORE)
    temporary = root / ".catalog.duckdb.1.abcd.tmp"
    temporary.write_bytes(b"half made")
    with publishing(root):
        assert not accounts.models.repair()
        assert temporary.exists()
    assert not accounts.models.repair()
    assert not temporary.exists()


def test_a_killed_update_leaves_nothing_that_a_later_one_takes(accounts: Accounts, root: Path) -> None:
    accounts.rebuild(BEFORE)
    killed = _run(root, "accounts.update({'a7': 7000}, 3)", "update.3")
    assert killed.returncode == -9
    files = _names(root / "accounts" / "v1")
    assert any(f.startswith("delta-1-") for f in files)
    accounts.update({"a1": 1000}, 4)
    assert accounts.rows() == {**BEFORE, "a1": 1000}
    live = accounts.models.live("accounts")
    assert live is not None
    expected = {f.name for f in live.files} | {"columns.parquet", "version-0.json", "version-1.json"}
    assert _names(live.directory) == expected


def test_an_unfinished_rebuild_is_cleared_or_resumed(accounts: Accounts, root: Path) -> None:
    whole = accounts.rebuild(BEFORE)
    killed = _run(root, "accounts.rebuild({'x': 1}, 3)", "rebuild.6")
    assert killed.returncode == -9
    table = canonical(accounts.models.table("accounts"))
    left = _names(root / "accounts" / "v2")
    with accounts.models.begin_rebuild(accounts.shape, resume=True) as claim:
        assert _names(claim.directory) == left
        kept = [f for f in whole.files if claim.has(f)]
        assert not kept, "another rebuild's file passed for a recorded one"
    with accounts.models.begin_rebuild(accounts.shape) as claim:
        assert (claim.number, _names(claim.directory)) == (2, set())
    assert canonical(accounts.models.table("accounts")) == table
