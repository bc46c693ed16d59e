"""The author's modules in a process that does not have them."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner.authoring.definition import definition_of
from runner.engine.modules import gather
from runner.errors import DefinitionError, EngineError

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


MODULES_OF_CONSTANTS = {
    "rates": "VAT = 23\n",
    "deep/__init__": "from . import limits\nfrom .limits import MOST\n",
    "deep/limits": "from ..rates import VAT\nMOST = VAT * 2\n",
    "deep/names": "import shop_of_tests.words\nWORD = shop_of_tests.words.WORD\n",
    "words": "WORD = 'w'\n",
}


def test_modules_of_constants_only_are_shipped(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "deep").mkdir()
    for name, text in MODULES_OF_CONSTANTS.items():
        (package / f"{name}.py").write_text(text)
    (package / "folds.py").write_text("from .deep.names import WORD\nfrom .rates import VAT\n")
    names = {f"shop_of_tests.{n.replace('/', '.').removesuffix('.__init__')}" for n in MODULES_OF_CONSTANTS}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = {m.name for m in gather(["shop_of_tests.folds"]).modules}
    assert found == names | {"shop_of_tests", "shop_of_tests.folds"}


LATE = """
from runner import Event, Projection, on


def rate():
    from shop_of_tests.rates import VAT
    return VAT


RATE = rate()


class Paid(Event, type="paid"):
    amount: int


class Taxes(Projection):
    tax: int = 0

    @on(Paid)
    def paid(self, e: Paid) -> None:
        self.tax += e.amount * {factor}
"""


def test_imports_inside_of_functions_are_shipped_where_they_run_at_import_and_refused_in_folds(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "rates.py").write_text("VAT = 23\n")
    (package / "folds.py").write_text(LATE.format(factor="RATE"))
    for name in ("rates", "folds"):
        monkeypatch.delitem(sys.modules, f"shop_of_tests.{name}", raising=False)
    found = {m.name for m in gather(["shop_of_tests.folds"]).modules}
    assert found == {"shop_of_tests", "shop_of_tests.folds", "shop_of_tests.rates"}
    (package / "late.py").write_text(LATE.format(factor="rate()"))
    with pytest.raises(DefinitionError, match=r"imports inside of the function .*import at the top of the module"):
        importlib.import_module("shop_of_tests.late")


CHANGED = """
from runner import Event, Projection, on
from shop_of_tests.rates import VAT


class Paid(Event, type="paid"):
    amount: int


class Taxes(Projection):
    tax: int = 0

    @on(Paid)
    def paid(self, e: Paid) -> None:
        self.tax += e.amount * VAT
"""

ARRIVES = """
import pickle, sys
from runner.engine.modules import install
from runner.errors import DefinitionError
modules, task = pickle.loads(bytes.fromhex(sys.stdin.read()))
install(modules)
try:
    print(pickle.loads(task).name)
except DefinitionError as error:
    print(error)
"""


def test_a_file_that_changed_since_the_fingerprint_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "rates.py").write_text("VAT = 23\n")
    (package / "folds.py").write_text(CHANGED)
    monkeypatch.delitem(sys.modules, "shop_of_tests.rates", raising=False)
    from shop_of_tests.folds import Taxes

    definition = definition_of(Taxes)
    assert definition.fingerprint

    def arrives() -> str:
        task = pickle.dumps((gather(["shop_of_tests.folds"]), pickle.dumps(definition)))
        done = subprocess.run([sys.executable, "-c", ARRIVES], input=task.hex(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert arrives() == f"{definition.name}\n"
    (package / "rates.py").write_text("VAT = 24  # saved while the run began\n")
    assert "has another fingerprint at a worker" in arrives()
    (package / "rates.py").write_text("VAT = 23\n")
    (package / "folds.py").write_text(CHANGED.replace("e.amount *", "e.amount +"))
    assert "has another fingerprint at a worker" in arrives()
    (package / "folds.py").write_text("def half(")
    with pytest.raises(EngineError, match=r"folds\.py: changed since it was imported"):
        gather(["shop_of_tests.folds"])


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
