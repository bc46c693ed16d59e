"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real event logs, beside the checkout; not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder with real event logs at {SHARED}")
    return SHARED
