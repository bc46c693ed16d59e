"""The systemd units: what systemd reads in them, and command lines that there are."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import app
from runner.config import SchedulerConfig

UNITS = sorted((Path(__file__).resolve().parents[2] / "deploy/systemd").glob("*.service"))


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's names have capitals
    parser.read_string(unit.read_text())
    return parser


def test_there_are_units() -> None:
    assert [unit.stem for unit in UNITS] == ["projection-follow", "projection-schedule"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_command_line_is_one_of_the_runners(unit: Path) -> None:
    words = shlex.split(read(unit)["Service"]["ExecStart"])
    assert words[0] == "/opt/projection/bin/runner"
    context = app.application.make_context("runner", app._common_behind(words[1:]))
    name, command, rest = app.application.resolve_command(context, [*context._protected_args, *context.args])
    assert name is not None
    assert command is not None
    with command.make_context(name, rest, parent=context) as parsed:
        assert parsed.params["config_path"] == Path("/srv/projection/runner.toml")
        assert not parsed.args


def test_a_scheduler_has_time_to_end_its_runs() -> None:
    (unit,) = (unit for unit in UNITS if "schedule" in unit.stem)
    service = read(unit)["Service"]
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > SchedulerConfig().stop_wait


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_reads_them_without_a_word(unit: Path, tmp_path: Path) -> None:
    # The command and the user are not on this machine: what systemd says of the rest is what counts.
    text = (
        unit.read_text().replace("/opt/projection/bin/runner", sys.executable).replace("User=projection", "User=root")
    )
    copy = tmp_path / unit.name
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, said) == (0, [])
    copy.write_text(text.replace("ProtectSystem=strict", "ProtectSystems=strict"))
    bitten = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert "ProtectSystems" in bitten.stderr
