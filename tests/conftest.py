"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from runner import secrets

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ("fixtures_object_store", "fixtures_postgres")

TOGETHER = ("tests/real",)
"""Folders whose files share what is dear to make."""

settings.register_profile("any machine", deadline=None)  # absolute times say nothing where others work too
settings.load_profile("any machine")

LONGEST = (
    "jobs/test_published_crashes.py",
    "postgres/test_tables_readers.py",
    "endtoend/test_crashes_of_commands.py",
    "jobs/test_job_crashes.py",
    "jobs/test_tables_reconciled.py",
)
"""The first of the dear ones: whichever is last leaves the other process idle for as long as it takes."""

HERE = Path(__file__).parent
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real event logs, beside the checkout; not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder with real event logs at {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """One test's password may be a word of another's error: a process knows those that it used itself."""
    monkeypatch.setattr(secrets, "_secrets", set())


def pytest_configure(config: pytest.Config) -> None:
    """What processes that tests start take over from this one.

    Ctrl-C: a shell's background job (``make test &``, nohup) ignores it, and so would they. Bytecode: where Python is
    told to write none, each of a hundred processes would compile the runner anew; it goes beside pytest's cache then.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = str(config.rootpath / ".pytest_cache" / "bytecode")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick files first, then those with something dear in them, the longest of these before the others."""
    dear = {item.path for item in items if any(item.get_closest_marker(name) for name in ("ray", "slow"))}
    order = {path: (1, len(LONGEST)) for path in dear} | {HERE / name: (1, n) for n, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, (0, 0)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """A file's tests run in one process, and so do those of folders that share what is dear to make.

    xdist's own groups (``xdist_group``) do not arrive: its release 3.8 writes them where pytest 9 does not look.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByPlace(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder, _, _file = nodeid.partition("::")[0].rpartition("/")
            return folder if folder in TOGETHER else nodeid.partition("::")[0]

    return ByPlace(config, log)
