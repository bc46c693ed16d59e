"""Where URLs and passwords come from, and that none of them is ever written anywhere."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.config import ConnectionSettings
from runner.errors import ConfigError, PostgresDenied, PostgresError, PostgresUnavailable, RunnerError
from runner.postgres import connect, password_command, redacted, translated
from runner.postgres.settings import parameters
from runner.secrets import cleared, keep_secret

if TYPE_CHECKING:
    from fixtures_postgres import Database

NASTY = "Zq'9 p@s/s\\w%41:\"wö#r?d&=x"
"""A password with everything that URLs, keyword strings, SQL and shells have a use for."""


def needs_own(database: Database) -> None:
    if not database.server.own:
        pytest.skip("how a named server checks passwords is not for the tests to say")


def of(env: str, **more: object) -> ConnectionSettings:
    return ConnectionSettings("[sources.bank]", url_env=env, **more)  # type: ignore[arg-type]


def pieces(secret: str) -> set[str]:
    """Parts of a secret that are telling."""
    return {secret[i : i + 5] for i in range(len(secret) - 4)} | {quote(secret, safe="")}


def who(settings: ConnectionSettings) -> str:
    with connect(settings, "test") as connection:
        found = connection.execute("SELECT current_user").fetchone()
        assert found is not None
        return str(found[0])


# Where they come from -------------------------------------------------------------------------------------------------


def test_a_url_and_keywords_with_a_nasty_password(database: Database) -> None:
    needs_own(database)
    role = database.role(password=NASTY)
    assert who(of(role.env)) == role.name
    escaped = NASTY.replace("\\", "\\\\").replace("'", "\\'")
    words = f"host={database.server.folder} dbname={database.name} user={role.name} password='{escaped}'"
    assert who(of(database.in_environment(words))) == role.name


def test_a_password_apart_from_the_address(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_own(database)
    role = database.role(password=NASTY)
    place = {"host": str(database.server.folder), "user": role.name, "database": database.name}
    monkeypatch.setenv("ONLY_PASSWORD", NASTY)
    assert who(ConnectionSettings("[x]", password_env="ONLY_PASSWORD", **place)) == role.name

    escaped = NASTY.replace("\\", "\\\\").replace(":", "\\:")
    (passfile := tmp_path / "pgpass").write_text(f"*:*:{database.name}:{role.name}:{escaped}\n", encoding="utf-8")
    passfile.chmod(0o600)
    assert who(ConnectionSettings("[x]", passfile=passfile, **place)) == role.name

    passfile.chmod(0o644)
    with pytest.raises(ConfigError, match=r"pgpass can be read by others \(chmod 600"):
        who(ConnectionSettings("[x]", passfile=passfile, **place))

    (service := tmp_path / "services").write_text(
        f"[bank]\nhost={database.server.folder}\ndbname={database.name}\nuser={role.name}\npassword={NASTY}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    assert who(ConnectionSettings("[x]", service="bank")) == role.name

    (secret := tmp_path / "secret").write_text(f"{NASTY}\nmore\n", encoding="utf-8")
    assert who(ConnectionSettings("[x]", password_command=("cat", str(secret)), **place)) == role.name


def test_a_url_with_odd_parts(database: Database) -> None:
    needs_own(database)
    folder = quote(str(database.server.folder), safe="")
    url = (
        f"postgresql://postgres@%2Fnowhere%2Fat%2Fall,{folder}/{database.name}"
        "?sslmode=disable&target_session_attrs=read-write&options=-c%20work_mem%3D5MB%20-c%20geqo%3Doff"
    )
    with connect(of(database.in_environment(url)), "test", read_only=False) as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("work_mem", "geqo", "TimeZone")]
    assert shown == [("5MB",), ("off",), ("UTC",)]


def test_single_settings_count_over_the_url(database: Database) -> None:
    role = database.role()
    settings = of(database.env, user=role.name, options={"options": "-c work_mem=7MB"})
    with connect(settings, "test") as connection:
        assert connection.execute("SELECT current_user, current_setting('work_mem')").fetchone() == (role.name, "7MB")


def test_a_session_as_the_runner_wants_it(database: Database) -> None:
    with connect(of(database.env), "sync bänk\n" + "x" * 99, statement_timeout=1.5, lock_timeout=0.25) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index]  # SHOW gives a row
            for name in (
                *("application_name", "statement_timeout", "lock_timeout", "client_encoding"),
                *("default_transaction_read_only", "TimeZone"),
            )
        }
        with pytest.raises(PostgresError, match="read-only"), translated("[sources.bank]"):
            connection.execute("CREATE TABLE t (a int)")
    name = shown.pop("application_name")
    assert name.startswith("projection-runner: sync b?nk?xxx")
    assert len(name) == 63
    assert shown == {
        "statement_timeout": "1500ms",
        "lock_timeout": "250ms",
        "client_encoding": "UTF8",
        "default_transaction_read_only": "on",
        "TimeZone": "UTC",
    }
    with connect(of(database.env), "load", read_only=False) as connection:
        connection.execute("CREATE TABLE t (a int)")


def test_a_password_command_is_asked_again_when_its_answer_ran_out(database: Database, tmp_path: Path) -> None:
    needs_own(database)
    role = database.role(password="first-token")
    (token := tmp_path / "token").write_text("first-token")
    command = (
        sys.executable,
        "-c",
        f"print(open({str(token)!r}).read()); open({str(tmp_path / 'n')!r}, 'a').write('x')",
    )
    settings = of(database.in_environment(database.url), user=role.name, password_command=command)
    assert who(settings) == who(settings) == role.name
    assert (tmp_path / "n").read_text() == "x"
    database.sql(f"ALTER ROLE {role.name} PASSWORD 'second-token'")
    token.write_text("second-token")
    assert who(settings) == role.name
    assert (tmp_path / "n").read_text() == "xx"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (["/no/such/program-of-hunter2"], "cannot be run: No such file"),
        ([sys.executable, "-c", "import sys; print('hunter2'); sys.exit('hunter2')"], "ended with exit code 1"),
        ([sys.executable, "-c", "print(); print('hunter2')"], "printed no password"),
    ],
)
def test_a_password_command_that_fails(program: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    settings = ConnectionSettings("[sources.bank]", host="h", password_command=tuple(program))
    with pytest.raises((ConfigError, PostgresDenied)) as raised:
        connect(settings, "test")
    assert str(raised.value).startswith("[sources.bank] password_command: ")
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value).replace("program-of-hunter2", "")
    assert "hunter2" not in "".join(capfd.readouterr())


def test_a_password_command_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_command, "COMMAND_SECONDS", 1.0)
    pid = tmp_path / "pid"
    command = ("/bin/sh", "-c", f"sleep 600 & echo $! > {pid}; wait")
    begun = time.monotonic()
    with pytest.raises(PostgresDenied, match="gave no password within 1 s"):
        connect(ConnectionSettings("[x]", host="h", password_command=command), "test")
    assert time.monotonic() - begun < 30
    until = time.monotonic() + 10
    while Path(f"/proc/{pid.read_text().strip()}").exists() and time.monotonic() < until:
        time.sleep(0.02)
        state = Path(f"/proc/{pid.read_text().strip()}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
    else:
        assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_a_shell_is_not_asked(tmp_path: Path) -> None:
    command = ("printf", "%s", f"$(touch {tmp_path / 'made'}); `id`")
    assert password_command.password_from_command("[x]", command) == f"$(touch {tmp_path / 'made'}); `id`"
    assert not (tmp_path / "made").exists()


# What is said when they are wrong -------------------------------------------------------------------------------------

BAD_URLS = [
    "postgresql://reader:{}@/bank",
    "postgresql://reader:{}@localhost:1/bank",
    "postgres://reader:{}@db.invalid:5432/bank?sslmode=require",
    "postgresql://reader:{}@h:port/bank",
    "postgresql://reader:{}@h/bank?nonsense=1",
    "postgresql://reader:{}@h/bank?password={}",
    "postgresql://{}@h/bank?sslmode=nonsense",
    "mysql://reader:{}@h/bank",
    "jdbc:postgresql://h/bank?user=reader&password={}",
    "host=/nowhere user=reader password={}",
    "host=/nowhere user=reader password='{}",
    "host=/nowhere user=reader password='{}' dbname=x",
    "host=/nowhere nonsense={}",
    "reader {}",
    "{}",
]


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize(
    "secret", [NASTY, "p@ss-word-9", "pa/ss-word-9", "pa ss-word-9", "hunter2-plain", "%zz-word-9"]
)
@pytest.mark.parametrize("encoded", [False, True])
def test_no_bad_url_is_repeated(url: str, secret: str, encoded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_URL", url.replace("{}", quote(secret, safe="") if encoded else secret))
    settings = of("BANK_URL")
    with pytest.raises(RunnerError) as raised:
        connect(settings, "test", connect_timeout=2)
    # With --debug, what came before is shown too.
    said = "".join(traceback.format_exception(raised.value)) + repr(raised.value.__dict__)
    assert "[sources.bank]" in said
    assert [piece for piece in pieces(secret) if piece in said] == []


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANK_URL", raising=False)
    with pytest.raises(ConfigError, match=r"\[sources.bank\]: the environment variable BANK_URL is not set"):
        connect(of("BANK_URL"), "test")
    monkeypatch.setenv("BANK_URL", " ")
    with pytest.raises(ConfigError, match="BANK_URL is empty"):
        connect(of("BANK_URL"), "test")


def test_an_at_sign_left_as_it_is_is_told_how_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("postgresql://u:p@ss@h/d", "postgresql://u:pa/ss@h/d"):
        monkeypatch.setenv("BANK_URL", url)
        with pytest.raises(ConfigError, match="percent-encoded: %40 for @"):
            parameters(of("BANK_URL"))


def test_a_wrong_password_and_an_absent_server(database: Database) -> None:
    needs_own(database)
    role = database.role(password="right-one")
    wrong = database.server.url_of(database.name, user=role.name, password=NASTY)
    with pytest.raises(PostgresDenied, match="password authentication failed") as denied:
        connect(of(database.in_environment(wrong)), "test")
    assert [piece for piece in pieces(NASTY) if piece in str(denied.value)] == []
    with pytest.raises(PostgresUnavailable, match="is the server up"):
        connect(of(database.in_environment(f"postgresql:///x?host={database.server.folder}/none")), "test")


def test_settings_hold_nothing_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_URL", f"postgresql://u:{quote(NASTY, safe='')}@h/d")
    settings = of("BANK_URL", password_command=("cat", "file"))
    parameters(of("BANK_URL"))
    for text in (repr(settings), str(settings), repr(pickle.dumps(settings))):
        assert [piece for piece in pieces(NASTY) if piece in text] == []
    assert pickle.loads(pickle.dumps(settings)) == settings


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=12))
def test_texts_are_cleared_of_a_secret_in_every_form(secret: str) -> None:
    keep_secret(secret)
    for form in (
        secret,
        quote(secret, safe=""),
        repr(secret)[1:-1],
        secret.replace("'", "''"),
        secret.replace("\\", "\\\\").replace("'", "\\'"),
    ):
        assert form not in cleared(f"<<{form}>>").replace("***", "") or form in "<<>>"


def test_what_looks_like_a_secret_is_cleared_too() -> None:
    said = redacted(
        "failed: postgresql://bob:never@seen-1@h/d and host=h password='never seen 2' x\n sslpassword=never3"
    )
    assert "never" not in said
    assert "seen" not in said
    assert "postgresql://bob:***@h/d and host=h" in said
    assert "\n" not in said


def test_the_servers_words_for_a_lacking_privilege(database: Database) -> None:
    database.sql("CREATE TABLE t (a int)")
    with (
        connect(of(database.role().env), "test") as connection,
        pytest.raises(
            PostgresDenied, match=r"\[sources.bank\]: permission denied for table t \(`runner doctor`"
        ) as raised,
        translated("[sources.bank]"),
    ):
        connection.execute("SELECT * FROM t")
    assert raised.value.sqlstate == "42501"


# What other processes and files see -----------------------------------------------------------------------------------


def test_nothing_is_written_or_shown_by_whole_commands(database: Database, tmp_path: Path) -> None:
    """Commands run with a right URL, a wrong one, and keywords; all that they wrote, and what ps shows, is searched."""
    needs_own(database)
    database.sql(
        "CREATE TABLE bank_events (originator_id uuid, originator_version bigint, topic text, state bytea, "
        "notification_id bigserial PRIMARY KEY); "
        """INSERT INTO bank_events VALUES (gen_random_uuid(), 1, 'a:B.C', '{"a": 1}')"""
    )
    role = database.role("GRANT SELECT ON bank_events TO {role}", password=NASTY)
    good = database.server.url_of(database.name, user=role.name, password=NASTY)
    urls = {
        "good": good,
        "nowhere": f"postgresql://{role.name}:{quote(NASTY, safe='')}@/x?host={tmp_path}/none",
        "broken": f"postgresql://{role.name}:{NASTY}@h/x",
        "keywords": f"host={tmp_path}/none user={role.name} password={NASTY}",
    }
    (tmp_path / "runner.toml").write_text(
        '[sources.bank]\npreset = "eventsourcing"\nurl_env = "BANK_URL"\n'
        '[read_models.postgres]\nurl_env = "READS_URL"\n'
    )
    outputs = []
    for url in urls.values():
        environment = {**os.environ, "BANK_URL": url, "READS_URL": url}
        for command in (["doctor", "--json"], ["sync", "--debug"]):
            done = subprocess.run(
                [sys.executable, "-m", "runner", *command],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env=environment,
                timeout=120,
                check=False,
            )
            outputs.append(done.stdout + done.stderr)
    outputs += [place.read_bytes().decode("utf-8", "replace") for place in tmp_path.rglob("*") if place.is_file()]
    written = "\n".join(outputs)
    assert [piece for piece in pieces(NASTY) if piece in written] == []
    assert "[sources.bank]" in written
    assert (tmp_path / "log" / "manifest.json").exists()
    assert list((tmp_path / "state").iterdir())


def test_the_process_list_shows_no_secret(database: Database) -> None:
    needs_own(database)
    role = database.role(password=NASTY)
    program = (
        "import sys, os\n"
        "from runner.postgres import ConnectionSettings, connect\n"
        "with connect(ConnectionSettings('[x]', url_env='BANK_URL'), 'sync bank') as connection:\n"
        "    print('up', flush=True); sys.stdin.read()\n"
    )
    url = database.server.url_of(database.name, user=role.name, password=NASTY)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BANK_URL": url},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        lines = [p.read_bytes().decode("utf-8", "replace") for p in Path("/proc").glob("[0-9]*/cmdline") if readable(p)]
        names = database.sql(
            "SELECT application_name || query FROM pg_stat_activity WHERE usename = '" + role.name + "'"
        )
        process.communicate("", timeout=30)
    seen = "\n".join([*lines, *(str(name) for (name,) in names)])
    assert "projection-runner: sync bank" in seen
    assert [piece for piece in pieces(NASTY) if piece in seen] == []


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True
