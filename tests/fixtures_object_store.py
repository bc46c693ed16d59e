"""Fixtures of an object store: moto's S3 in a process of its own, one a test process, begun when it is first asked for.

- ``object_store``: the one that ``RUNNER_TEST_S3`` names (an endpoint, with a bucket ``runner-test`` and the
  credentials in AWS's variables), else moto's. ``object_store.log()`` is a new log's place there.
- ``faulty_object_store``: moto's in every case, whose requests can be made to fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner.config import ObjectStorePath
from runner.log.storage.client import ObjectClient

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED = os.environ.get("RUNNER_TEST_S3", "")
BUCKET = "runner-test"
KEYS = {"access_key_id": "RUNNER_TEST_S3_KEY", "secret_access_key": "RUNNER_TEST_S3_SECRET"}
_numbers = count(1)


@dataclass(frozen=True)
class ObjectStores:
    """A server and where its logs' caches go."""

    endpoint: str
    directory: Path
    secrets: dict[str, str] = field(default_factory=lambda: dict(KEYS))

    def log(self, **changes: Any) -> ObjectStorePath:
        """A new log's place; its machine has nothing cached."""
        number = next(_numbers)
        path = ObjectStorePath(
            f"s3://{BUCKET}/{os.getpid()}/logs/{number}",
            self.directory / f"cache-{number}",
            options={"endpoint": self.endpoint, "region": "us-east-1", "timeout_seconds": "20"},
            secrets=self.secrets,
        )
        return replace(path, **changes)

    def elsewhere(self, path: ObjectStorePath) -> ObjectStorePath:
        """The same log, as a machine sees it that has nothing cached."""
        return replace(path, cache=self.directory / f"cache-{next(_numbers)}")

    def keys(self, path: ObjectStorePath, prefix: str = "segments/") -> set[str]:
        """Of all objects below a prefix of the log's."""
        return {o.key.removeprefix(prefix) for o in ObjectClient(path).listed(prefix)}

    def fail(self, method: str, key: str, how: str, *, times: int = 1, seconds: float = 0) -> None:
        """Make the next requests fail (``object_store_server.py``)."""
        self._ask("faults", [{"method": method, "key": key, "how": how, "times": times, "seconds": seconds}])

    def heal(self) -> None:
        self._ask("faults", [])

    def asked(self) -> list[str]:
        """The requests since this was asked last: "METHOD /bucket/key"."""
        found: list[str] = json.loads(self._ask("requests", None))
        return found

    def _ask(self, what: str, body: Any) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.endpoint}/-/{what}", data, timeout=60) as answer:
            found: bytes = answer.read()
            return found


@pytest.fixture(scope="session")
def _moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStores]:
    program = Path(__file__).with_name("object_store_server.py")
    # It ends with its input, so also when this process is killed.
    server = subprocess.Popen([sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line, f"no S3 server: it ended with {server.wait(60)}"
        endpoint = f"http://127.0.0.1:{int(line)}"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT"), timeout=60).close()
        yield ObjectStores(endpoint, tmp_path_factory.mktemp("object-store"))
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def faulty_object_store(_moto: ObjectStores, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStores]:
    for variable in KEYS.values():
        monkeypatch.setenv(variable, f"{variable}-value")
    yield _moto
    _moto.heal()


@pytest.fixture
def object_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStores:
    if not NAMED:
        moto: ObjectStores = request.getfixturevalue("faulty_object_store")
        return moto
    with suppress(OSError):  # it is there already
        urllib.request.urlopen(urllib.request.Request(f"{NAMED}/{BUCKET}", method="PUT"), timeout=60).close()
    return ObjectStores(NAMED, tmp_path, {})
