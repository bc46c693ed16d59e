"""[[schedule]] and [scheduler]: what may stand there, what is refused and how that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.config import Config, ScheduleConfig, SchedulerConfig, load_config
from runner.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def load(directory: Path, text: str, env: str = "") -> Config:
    file = directory / "runner.toml"
    file.write_text(text)
    return load_config(file, env)


def test_defaults_and_all_that_may_stand_there(tmp_path: Path) -> None:
    config = load(tmp_path, '[[schedule]]\nname = "a"\nrun = "runner sync"\nevery = "15min"\n')
    assert config.schedule == (ScheduleConfig("a", (("sync",),), every=900.0),)
    assert config.scheduler == SchedulerConfig("127.0.0.1", 9465, 4, 60.0)
    full = load(
        tmp_path,
        """
[scheduler]
address = "::1"
port = 0
runs = 2
stop_wait = "5min"
[[schedule]]
name = "nightly.balances"
run = ["sync", "rebuild accounts 'of all' --workers 2", "compact"]
cron = "30 0 * * mon-fri"
zone = "Europe/Berlin"
as_of = "start of day"
jitter = "2min"
missed = "skip"
grace = "5min"
retries = 3
retry_pause = "10s"
retry_pause_most = "1h"
limit = "2h"
[[schedule]]
name = "b"
run = "audit"
cron = "0 6 L * *"
""",
    )
    assert full.scheduler == SchedulerConfig("::1", 0, 2, 300.0)
    assert full.schedule[0] == ScheduleConfig(
        name="nightly.balances",
        run=(("sync",), ("rebuild", "accounts", "of all", "--workers", "2"), ("compact",)),
        cron="30 0 * * mon-fri",
        zone="Europe/Berlin",
        as_of="start of day",
        jitter=120.0,
        missed="skip",
        grace=300.0,
        retries=3,
        retry_pause=10.0,
        retry_pause_most=3600.0,
        limit=7200.0,
    )
    assert [entry.name for entry in full.schedule] == ["nightly.balances", "b"]


def test_an_overlay_takes_the_place_of_all_entries(tmp_path: Path) -> None:
    text = """
[[schedule]]
name = "a"
run = "sync"
every = "1h"
[[env.prod.schedule]]
name = "b"
run = "sync"
every = "1min"
"""
    assert [entry.name for entry in load(tmp_path, text, "prod").schedule] == ["b"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('run = "sync"', "neither cron nor every"),
        ('run = "sync"\nevery = "1h"\ncron = "* * * * *"', "cron and every"),
        ('every = "1h"', "run is missing"),
        ('run = "synch"\nevery = "1h"', "did you mean sync"),
        ('run = "demo"\nevery = "1h"', "'demo' is no step"),
        ('run = "rebuild \'a"\nevery = "1h"', "No closing quotation"),
        ('run = "update --follow"\nevery = "1h"', "--follow may not stand there"),
        ('run = "sync --config=x"\nevery = "1h"', "--config=x may not stand there"),
        ('run = "sync"\nevery = "200ms"', "the least is one second"),
        ('run = "sync"\nevery = "1min"\njitter = "1min"', "as long as every"),
        ('run = "sync"\ncron = "* * * * * *"', "6 fields, not 5"),
        ('run = "sync"\ncron = "60 * * * *"', "bad minute"),
        ('run = "sync"\ncron = "0 0 31 2 *"', "bad day-of-month"),
        ('run = "sync"\ncron = "0 0 * * mon#6"', "bad day-of-week"),
        ('run = "sync"\nevery = "1h"\nzone = "Europe/Nowhere"', "no zone of that name"),
        ('run = "sync"\nevery = "1h"\nmissed = "onze"', "did you mean once"),
        ('run = "sync"\nevery = "1h"\nas_of = "start of day"', "as_of is of no use"),
        ('run = "update --to=3"\nevery = "1h"\nas_of = "start of day"', "so does --to"),
        ('run = "update"\nevery = "1h"\nas_of = "midnight"', "as_of is 'midnight'"),
        ('run = "sync"\nevery = "1h"\nlimits = "1h"', "did you mean limit"),
    ],
)
def test_what_is_refused(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError) as found:
        load(tmp_path, f'[[schedule]]\nname = "x"\n{line}\n')
    said = str(found.value)
    assert words in said
    assert "runner.toml: schedule.x" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[schedule]\nname = "x"\n', "with two brackets"),
        ('[[schedule]]\nrun = "sync"\n', "schedule 1.name is missing"),
        ('[[schedule]]\nname = "a/b"\n', "schedule 1.name is 'a/b'"),
        ('[[schedule]]\nname = "a"\nrun = "sync"\nevery = 60\n' * 2, "another entry's"),
        ("[scheduler]\nport = 70000\n", "scheduler.port"),
        ("[scheduler]\nruns = 0\n", "scheduler.runs"),
    ],
)
def test_what_is_refused_of_the_tables(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as found:
        load(tmp_path, text)
    assert words in str(found.value)
