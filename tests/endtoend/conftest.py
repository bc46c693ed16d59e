"""A shop in an empty directory, and one that is synced and built."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from shop import FIRST, Shop, history, text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose first events are synced and folded; to be copied."""
    made = Shop(tmp_path_factory.mktemp("built") / "shop")
    made.file.write_text(text(history(FIRST)))
    made.good("sync")
    made.good("rebuild", "--all", "--prove", "all")
    return made.root


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Shop:
    """The built shop, a copy of its own."""
    root = tmp_path / "shop"
    shutil.copytree(built_once, root)
    made = Shop(root)
    made.events = history(FIRST)
    return made
