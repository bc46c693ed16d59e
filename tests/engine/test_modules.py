"""The author's modules in a process that does not have them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner.engine.modules import gather
from runner.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

HELPERS = "RATE = 3\n\n\ndef tripled(n):\n    return n * RATE\n"
FOLDS = """from shop_of_tests.helpers import tripled


def price(n):
    return tripled(n) + 1


class Shop:
    def total(self, n):
        return price(n)
"""

FAR = """
import inspect, linecache, pickle, sys
assert not any("shop" in entry for entry in sys.path)
from runner.engine.modules import install
modules, task = pickle.loads(bytes.fromhex(sys.stdin.read()))
install(modules)
install(modules)
shop = pickle.loads(task)
linecache.checkcache()
print(shop().total(5))
print(inspect.getsource(shop.total).strip().splitlines()[0], inspect.getsourcelines(shop.total)[1])
print(sys.modules["shop_of_tests.folds"].__file__)
assert shop().total.__code__.co_filename == sys.modules["shop_of_tests.folds"].__file__
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shop_of_tests"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "folds.py").write_text(FOLDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("shop_of_tests", "shop_of_tests.helpers", "shop_of_tests.folds"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def test_a_process_without_them_gets_modules_helpers_and_sources(package: Path, tmp_path: Path) -> None:
    from shop_of_tests.folds import Shop  # type: ignore[import-not-found]  # made by the fixture

    modules = gather(["shop_of_tests.folds"])
    assert [m.name for m in modules.modules] == ["shop_of_tests", "shop_of_tests.folds", "shop_of_tests.helpers"]
    task = pickle.dumps((modules, pickle.dumps(Shop)))
    for child in package.iterdir():  # the other machine has a file of that path too, with something else in it
        if child.is_file():
            child.write_text("raise SystemExit('the file of this machine was imported')\n")
    done = subprocess.run(
        [sys.executable, "-c", FAR], input=task.hex(), capture_output=True, text=True, cwd=tmp_path.parent, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["16", "def total(self, n): 9", str(package / "folds.py")]


def test_equal_texts_have_equal_digests(package: Path) -> None:
    import shop_of_tests.folds

    before = gather(["shop_of_tests.folds"])
    assert gather(["shop_of_tests.folds"]).digest == before.digest
    (package / "helpers.py").write_text(HELPERS.replace("3", "4"))
    assert gather(["shop_of_tests.folds"]).digest != before.digest
    assert shop_of_tests.folds.price(1) == 4


def test_what_workers_have_is_not_shipped() -> None:
    import numpy as np

    assert np.__name__
    assert gather(["runner.errors", "numpy", "pathlib", "sys"]).modules == ()


def test_the_started_script_is_refused() -> None:
    with pytest.raises(EngineError, match="started script"):
        gather(["__main__"])
