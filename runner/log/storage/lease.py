"""Who may write a log on an object store: one object, ``writer.json``, that is only ever replaced under a condition.

It holds the writer's fencing number and until when it counts. A writer that lives renews it from a thread; one that is
paused does not, and once the time and a margin for clocks that differ are over, the next one takes it with a higher
number. A writer that died on this very machine is seen to be dead, and its lease is taken at once.

The lease keeps two writers from working for nothing. That the log stays whole does not depend on it: of two that both
think that they have it, one publishes the next manifest, because that can be created only once (``object_writing.py``).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil

from runner.errors import LogDamaged, LogError, LogLocked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.log.storage.client import ObjectClient, Tag

__all__ = ["KEY", "Lease", "known_number"]

KEY = "writer.json"

CLOCKS = 15.0
"""By how many seconds clocks of two machines may differ before a lease is taken from a writer that lives."""


class Lease:
    """A writer's lease; ``release`` lets the next one in."""

    def __init__(self, client: ObjectClient, seconds: float) -> None:
        """Take it. Raises LogLocked where another writer has it."""
        self.number = 0
        self.token = secrets.token_hex(4)
        self._client = client
        self._seconds = seconds
        self._manifest, self._collected = 0, 0.0
        self._lost = False
        self._guard = threading.Lock()
        self._ended = threading.Event()
        found = client.get_tagged(KEY)
        before = _read(found[0], client) if found else {}
        if before and not _over(before, seconds):
            raise LogLocked(f"{client.name}: another writer has it{_owner(before)}", hint=_wait(before))
        self.number, self._before = int(before.get("fence", 0)), before
        self._manifest, self._collected = int(before.get("manifest", 0)), float(before.get("collected", 0.0))
        tag = client.replace(KEY, self._body(), found[1] if found else None)
        if tag is None:
            raise LogLocked(f"{client.name}: another writer was quicker", hint="wait until it is done")
        self._tag: Tag = tag
        threading.Thread(target=self._renewing, name="lease", daemon=True).start()

    def claim(self, above: int) -> None:
        """Take a number above ``above`` and above that of every earlier lease. Raises LogLocked, LogError."""
        with self._guard:
            self.number = max(above, self.number) + 1
            self._renew()

    def check(self) -> None:
        """Raise LogLocked where another writer has taken over."""
        found = self._client.get(KEY)
        now = _read(found, self._client) if found else {}
        if now.get("token") != self.token:
            self._lost = True
            raise LogLocked(
                f"{self._client.where(KEY)}: another writer has taken over{_owner(now)}",
                hint="nothing of this run was published; run it again",
            )

    def noted(self, manifest: int) -> None:
        """That manifest ``manifest`` is published: with the next renewal, readers look from there on."""
        self._manifest = max(manifest, self._manifest)

    @property
    def collected(self) -> float:
        """When garbage was last looked for, by some writer's clock."""
        return self._collected

    def now_collected(self) -> None:
        self._collected = time.time()

    def release(self) -> None:
        self._ended.set()
        with self._guard, suppress(LogError):
            if not self._lost:
                # What cannot be given back ends by itself.
                self._client.replace(KEY, self._body(over=True), self._tag)

    def _renewing(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            with self._guard:
                if self._lost or self._ended.is_set():
                    return
                with suppress(LogError):
                    self._renew()

    def _renew(self) -> None:
        tag = self._client.replace(KEY, self._body(), self._tag)
        if tag is None:
            self._lost = True
            raise LogLocked(
                f"{self._client.where(KEY)}: another writer has taken over",
                hint="nothing of this run was published; run it again",
            )
        self._tag = tag

    def _body(self, *, over: bool = False) -> bytes:
        # The nonce makes each body, and with it each tag, one of its own.
        body = {
            "fence": self.number,
            "token": self.token,
            "until": 0 if over else time.time() + self._seconds,
            "manifest": self._manifest,
            "collected": self._collected,
            "nonce": secrets.token_hex(8),
            **_process(),
        }
        return json.dumps(body).encode()


def known_number(client: ObjectClient) -> int:
    """A manifest that was published, by its number, as a writer said last; 0 where nobody did."""
    with suppress(LogDamaged):
        found = client.get(KEY)
        return int(_read(found, client).get("manifest", 0)) if found else 0
    return 0


def _read(raw: bytes, client: ObjectClient) -> dict[str, Any]:
    try:
        body = json.loads(raw)
        assert isinstance(body, dict)
        float(body["until"]), int(body["fence"]), int(body["manifest"])
    except (ValueError, TypeError, KeyError, AssertionError):
        raise LogDamaged(
            f"{client.where(KEY)}: is no lease of a writer", hint="remove it, when no writer of this log runs"
        ) from None
    return body


def _over(lease: Mapping[str, Any], seconds: float) -> bool:
    """Whether nobody writes under this lease any more."""
    if lease["until"] == 0:
        return True
    return time.time() > lease["until"] + min(CLOCKS, seconds / 4) or _dead(lease)


def _process() -> dict[str, object]:
    """This process, told from any other on any machine; boot and space say where its number means anything."""
    boot, space = "", ""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as f:  # noqa: PTH123
        boot = f.read().strip()
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "boot": boot, "space": space, "started": started}


def _dead(lease: Mapping[str, Any]) -> bool:
    """Whether the lease is of a process of this machine that is there no more."""
    here = _process()
    if not here["boot"] or any(lease.get(key) != here[key] for key in ("host", "boot", "space")):
        return False
    try:
        return bool(abs(psutil.Process(int(lease["pid"])).create_time() - float(lease["started"])) > 1)
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, ValueError):
        return False


def _owner(lease: Mapping[str, Any]) -> str:
    return f" (process {lease['pid']} on {lease.get('host')})" if "pid" in lease else ""


def _wait(lease: Mapping[str, Any]) -> str:
    ends = datetime.fromtimestamp(lease["until"], UTC)
    return f"wait until it is done; had it died on another machine, its lease would end at {ends:%H:%M:%S} UTC"
