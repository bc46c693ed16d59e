"""The projections that runner.toml names are imported and found by their read models' names."""

from __future__ import annotations

import sys

import pytest

from runner.config import load_config, load_definitions
from runner.errors import ConfigError, DefinitionError

MODULE = """
from runner import Event, Projection, on

class Opened(Event):
    amount: int

class {name}(Projection):
    total: int = 0

    @on(Opened)
    def opened(self, e):
        self.total += e.amount
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(modules, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        listed = ", ".join(f'"{m}"' for m in modules)
        (tmp_path / "runner.toml").write_text(f"[project]\nmodules = [{listed}]\n")
        return load_config(tmp_path / "runner.toml")

    return make


def test_all_or_some_in_the_order_asked_for(project):
    config = project(
        ["cfg_one", "cfg_two"], cfg_one=MODULE.format(name="CfgFirst"), cfg_two=MODULE.format(name="CfgSecond")
    )
    assert [d.name for d in load_definitions(config)] == ["cfg_first", "cfg_second"]
    assert [d.name for d in load_definitions(config, ["cfg_second"])] == ["cfg_second"]
    assert [d.name for d in load_definitions(config, ["cfg_second", "cfg_first", "cfg_second"])] == [
        "cfg_second",
        "cfg_first",
    ]
    with pytest.raises(ConfigError, match=r"no projection is called cfg_frist \(did you mean cfg_first\?\)"):
        load_definitions(config, ["cfg_frist"])


def test_a_class_that_two_modules_show_counts_once_and_two_classes_of_one_name_are_refused(project):
    config = project(
        ["cfg_shown", "cfg_shows"],
        cfg_shown=MODULE.format(name="CfgShown"),
        cfg_shows="from cfg_shown import CfgShown\n",
    )
    assert len(load_definitions(config)) == 1
    twice = project(["cfg_shown", "cfg_other"], cfg_other=MODULE.format(name="CfgShown"))
    with pytest.raises(ConfigError, match="two projections are called cfg_shown"):
        load_definitions(twice)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (None, ConfigError, "there is no module cfg_bad"),
        (
            "import not_there_at_all\n",
            DefinitionError,
            "cfg_bad.py:1: module cfg_bad cannot be imported: ModuleNotFound",
        ),
        ("x = (\n", DefinitionError, "cannot be imported: SyntaxError"),
        ("\n\nx = 1 / 0\n", DefinitionError, "cfg_bad.py:3: module cfg_bad cannot be imported: ZeroDivisionError"),
        ("from runner import Projection\nclass CfgNone(Projection):\n    n: int = 0\n", DefinitionError, "no handlers"),
    ],
)
def test_modules_that_cannot_be_used(project, text, error, said):
    sys.modules.pop("cfg_bad", None)
    config = project(["cfg_bad"], **({} if text is None else {"cfg_bad": text}))
    with pytest.raises(error) as raised:
        load_definitions(config)
    assert said in str(raised.value)


def test_modules_of_the_same_name_in_two_projects_are_not_mixed_up(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cfg_same.py").write_text(MODULE.format(name=f"Same{folder.upper()}"))
        (tmp_path / folder / "runner.toml").write_text('[project]\nmodules = ["cfg_same"]\n')
        found += [d.name for d in load_definitions(load_config(tmp_path / folder / "runner.toml"))]
    again = load_definitions(load_config(tmp_path / "a" / "runner.toml"))
    assert [*found, again[0].name] == ["same_a", "same_b", "same_a"]


def test_bundled_projections_are_found(project):
    names = [d.name for d in load_definitions(project(["projections.generic"]))]
    assert len(names) >= 2
