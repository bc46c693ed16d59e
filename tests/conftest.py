"""Fixtures for all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

TOGETHER = ("real",)
"""Folders whose files share what is dear to make."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real event logs, beside the checkout; not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder with real event logs at {SHARED}")
    return SHARED


def pytest_configure() -> None:
    """A shell's background job (``make test &``, nohup) ignores Ctrl-C, and so would every process that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first; what shares something dear (a Ray, the synced logs of a file) stays in one process."""
    items.sort(key=lambda item: any(item.get_closest_marker(name) for name in ("ray", "slow")))
    for item in items:
        folder = item.path.parent.name
        group = "ray" if item.get_closest_marker("ray") else folder if folder in TOGETHER else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
