"""The README does what it says: Python that runs and compiles, commands that work in the order given, true tables."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
from modules_in_files import module_in_file

from runner.authoring.definition import definition_of
from runner.cli import app
from runner.cli.exit_codes import MEANINGS
from runner.config import load_config
from runner.fold.plan import plan_fold

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
COMMANDS = [line[2:].split("#")[0].strip() for block in CONSOLE for line in block.splitlines() if line.startswith("$ ")]


def test_there_is_something_to_run() -> None:
    assert len(PYTHON) >= 4
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block_runs(number: int, tmp_path: Path) -> None:
    name = f"readme_block_{number}"
    try:
        module = module_in_file(PYTHON[number], tmp_path, name)
        classes = [c for c in vars(module).values() if isinstance(c, type) and "__definition__" in vars(c)]
        definitions = [definition_of(c) for c in classes]
        assert definitions
        types = sorted({t for d in definitions for h in d.handlers for t in h.event.types})
        assert plan_fold(definitions, types).compiled == tuple(d.name for d in definitions)
    finally:
        sys.modules.pop(name, None)


def test_first_screen_is_a_first_screen() -> None:
    first = README.split("## Your own events")[0]
    assert len(first.splitlines()) < 60
    example = PYTHON[0]
    assert sum(1 for line in example.splitlines() if line.strip() and not line.startswith("from")) <= 22


def test_commands_for_your_own_events_work_in_the_order_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    events = [
        {
            "stream": f"a-{n % 5}",
            "type": "opened" if n < 5 else "used",
            "time": f"2026-02-{1 + n // 5:02d}T09:00:00Z",
            "data": {"n": n},
        }
        for n in range(40)
    ]
    Path("events.ndjson").write_text("".join(json.dumps(e) + "\n" for e in events))
    ours = [c for c in COMMANDS if c.startswith("runner ") and "log.headers" not in c]
    assert [shlex.split(c)[1] for c in ours] == ["init", "inspect", "sync", "rebuild", "query"]
    for command in ours:
        assert app.run(shlex.split(command)[1:]) == 0, (command, capsys.readouterr().err)
    assert "a-0" in capsys.readouterr().out
    assert app.run(["query", "SELECT type, count(*) FROM log.headers GROUP BY type"]) == 0


def test_every_command_named_exists() -> None:
    for name in re.findall(r"runner ([a-z]+)\b", "\n".join(re.findall(r"`([^`\n]*)`", README))):
        assert name in app.COMMANDS or name == "prove", name
    assert {shlex.split(c)[1] for c in COMMANDS if c.startswith("runner ")} <= set(app.COMMANDS)


def test_what_is_shown_of_runner_toml_is_read(tmp_path: Path) -> None:
    text = "\n".join(re.findall(r"```toml\n(.*?)```", README, re.DOTALL))
    assert tomllib.loads(text)
    (tmp_path / "runner.toml").write_text(text)
    for env in ("", "prod"):
        assert {"orders", "bank"} <= set(load_config(tmp_path / "runner.toml", env).sources)


def test_the_table_of_exit_codes_is_the_one_of_the_code() -> None:
    found = re.search(r"<!-- exit codes.*?-->\n(.*?)<!-- end of exit codes -->", README, re.DOTALL)
    assert found is not None
    assert found.group(1) == "".join(f"| {code} | {meaning} |\n" for code, meaning in sorted(MEANINGS.items()))


def test_links_inside_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).strip().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(#([^)]*)\)", README):
        assert target in headings, target
