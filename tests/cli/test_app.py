"""The command line as a whole: what is loaded when, how errors end, what the help says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from runner import errors
from runner.cli import app, exit_codes
from runner.cli.output import report_error

if TYPE_CHECKING:
    from collections.abc import Callable


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_help_loads_nothing_heavy() -> None:
    loaded = python(
        "import sys\n"
        "from runner.cli.app import run\n"
        "run(['--help'])\n"
        "print('LOADED', sorted({m.partition('.')[0] for m in sys.modules}))\n"
    )
    assert "rebuild" in loaded
    modules = loaded.rpartition("LOADED")[2]
    for heavy in ("ray", "numba", "duckdb", "pyarrow", "numpy", "pydantic", "prometheus_client", "rich"):
        assert f"'{heavy}'" not in modules, heavy


def test_importing_the_package_loads_nothing_heavy() -> None:
    modules = python("import sys, runner\nprint(sorted({m.partition('.')[0] for m in sys.modules}))")
    for heavy in ("ray", "numba", "duckdb", "psycopg", "pyarrow"):
        assert f"'{heavy}'" not in modules, heavy


@pytest.mark.parametrize("name", list(app.COMMANDS))
def test_every_command_has_help_common_options_and_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    for needed in ("--config", "--json", "--debug", "Exit codes:", "130"):
        assert needed in shown, needed


def test_exit_codes_of_all_errors_have_a_meaning() -> None:
    def walk(cls: type[errors.RunnerError]) -> set[int]:
        return {cls.exit_code}.union(*(walk(c) for c in cls.__subclasses__()))

    assert walk(errors.RunnerError) <= exit_codes.MEANINGS.keys()


def test_mistakes_on_the_command_line_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["rebuilt"]) == 2
    assert "no command 'rebuilt'" in capsys.readouterr().err
    assert app.run(["rebuild", "--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().err


def test_without_a_config_the_error_says_what_to_do(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["status", "--config", f"{tmp_path}/runner.toml", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "runner init" in captured.err
    assert json.loads(captured.out)["error"]["exit_code"] == 2


@pytest.mark.parametrize("before", [["--json"], ["--json", "--debug"]])
def test_common_options_may_stand_before_the_command(
    before: list[str], tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    (config := Path(f"{tmp_path}/runner.toml")).write_text("")
    for common in (["--config", str(config)], [f"--config={config}"]):
        assert app.run([*before, *common, "status"]) == 0
        assert json.loads(capsys.readouterr().out)["read_models"] == []
        assert app.run([*before, *common, "jobs", "list"]) == 0
        assert json.loads(capsys.readouterr().out)["jobs"] == []
        assert app.run(["jobs", *before, *common, "list"]) == 0
        assert json.loads(capsys.readouterr().out)["jobs"] == []


def test_an_overlay_is_chosen_by_option_or_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (config := tmp_path / "runner.toml").write_text("[env.prod.log]\npaht = 'x'\n")
    common = ["--config", str(config)]
    assert app.run([*common, "status"]) == 0
    for given in (["--env", "prod", *common, "status"], ["status", *common, "--env=prod"]):
        assert app.run(given) == 2
        assert "env.prod.log.paht is not a setting" in capsys.readouterr().err
    monkeypatch.setenv("RUNNER_ENV", "prod")
    assert app.run([*common, "status"]) == 2
    assert app.run(["--env", "", *common, "status"]) == 0


ERRORS: list[tuple[Exception, int, str]] = [
    (errors.ConfigError("it is wrong", hint="make it right"), 2, "error: it is wrong\n  make it right\n"),
    (errors.LineError("f", 3, "torn"), 5, "error: f:3: torn\n"),
    (OSError(28, "No space left on device", "/full"), 1, "error: No space left on device: /full\n  free some space"),
    (ValueError("first\nsecond"), 1, "error: ValueError: first\n"),
    (click.UsageError("so not"), 2, "error: so not\n  see `runner --help`\n"),
]


@pytest.mark.parametrize(("error", "code", "text"), ERRORS)
def test_errors_are_one_clear_line(error: Exception, code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(error, as_json=False) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(text)
    assert captured.out == ""


def test_errors_as_json_carry_their_data(capsys: pytest.CaptureFixture[str]) -> None:
    failure = errors.FoldFailure("accounts", "paid", 17, "a-1", "money.paid", "OverflowError: too large", 3)
    assert report_error(errors.FoldError((failure,)), as_json=True) == 7
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["exit_code"]) == ("FoldError", 7)
    assert error["failures"][0]["position"] == 17


def raising(error: BaseException) -> Callable[..., None]:
    def main(**_arguments: object) -> None:
        raise error

    return main


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(app.application, "main", raising(KeyboardInterrupt()))
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    monkeypatch.setattr(app.atexit, "register", lambda *_: None)
    assert app.run(["rebuild", "--all"]) == 130
    assert capsys.readouterr().err.startswith("interrupted")


def test_debug_shows_where_an_error_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.application, "main", raising(errors.LogError("no log")))
    assert app.run(["audit"]) == 6
    with pytest.raises(errors.LogError):
        app.run(["audit", "--debug"])


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m runner --help | head -n 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        capture_output=True,
        text=True,
        executable="/bin/bash",
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_a_file_that_ends_too_early_is_an_error_and_no_interruption(monkeypatch, capsys, tmp_path):
    from runner.cli.app import run

    def cut_off(*_arguments, **_settings):
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")

    monkeypatch.setattr("runner.cli.sample.sample_files", cut_off)
    monkeypatch.setattr("runner.cli.init.sample_files", cut_off, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.csv.gz").write_bytes(b"x")
    assert run(["init", "e.csv.gz"]) != 130
    assert "ended before the end-of-stream" in capsys.readouterr().err
