"""Run as a script: whole command lines killed at commit steps, each in a forked child of a clean process.

Forked, since a new process takes a second to import what all of them need; the child then is what ``runner`` is.

``command_walk.py PLACES WORK`` reads a list of walks from stdin, {"step", "before": a directory in PLACES, "command",
"again"}, does them in WORK, and writes a JSON line for each.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import pkgutil
import shutil
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from shop import NAMES, Shop

import runner
from runner.cli import app
from runner.config import load_config, load_definitions
from runner.fold.plan import plan_fold
from runner.log import Log
from runner.sinks.export import canonical
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from collections.abc import Callable


def forked(work: Callable[[], int], *, crash: str = "") -> int:
    """The exit code of a child that does ``work``; minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        os.environ["RUNNER_CRASH_AT"] = crash
        try:
            os._exit(work())
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def command(shop: Shop, arguments: list[str]) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        return app.run([*arguments, "--config", str(shop.config)])


def told(shop: Shop, file: Path) -> int:
    """What users see, and what the log holds."""
    models = ReadModels(shop.root / "read_models")
    found: dict[str, Any] = {}
    for name in NAMES:
        live = models.live(name)
        found[name] = live and [
            hashlib.sha256(canonical(models.table(name, live), live.shape.key)).hexdigest(),
            int(live.position),
            live.number,
        ]
    with models.connect() as connection:
        rows = {n: connection.execute(f"SELECT count(*) FROM {n}").fetchall()[0][0] for n in NAMES if found[n]}
    with Log.open(shop.root / "log") as log:
        content = [log.events, log.digest]
    file.write_text(json.dumps({"read_models": found, "rows": rows, "log": content}))
    return 0


def seen(shop: Shop, *lines: list[str], crash: str = "") -> tuple[list[int], Any]:
    """Give the commands, each in a child of its own; their exit codes, and what users see then."""
    file = shop.root.with_name("seen.json")
    file.unlink(missing_ok=True)

    def last(line: list[str]) -> int:
        code = command(shop, line)
        told(shop, file)
        return code

    codes = [forked(partial(command, shop, line), crash=crash) for line in (lines if crash else lines[:-1])]
    codes += [forked(partial(last, line)) for line in lines[-1:] if not crash]
    if not file.exists():
        forked(partial(told, shop, file))
    return codes, json.loads(file.read_text())


def import_all() -> None:
    """What the commands import when they need it: no child then has to. Ray alone is of no use here."""
    for module in pkgutil.walk_packages(runner.__path__, "runner."):
        if module.name not in ("runner.__main__", "runner.engine.ray"):
            importlib.import_module(module.name)
    for name in ("rich.console", "rich.table"):
        importlib.import_module(name)
    pa.array([0])  # at its first array pyarrow imports what it may be given


def main() -> None:
    import_all()
    places = {place.name: place for place in Path(sys.argv[1]).iterdir()}
    work = Path(sys.argv[2]) / "shop"
    shutil.copytree(places["built"], work)
    shop = Shop(work)
    with Log.open(work / "log") as log:
        # Every child would load the kernel; loading starts no thread.
        plan_fold(load_definitions(load_config(shop.config)), log.types).load()
    before: dict[str, Any] = {}
    for walk in json.load(sys.stdin):
        shutil.rmtree(work)
        shutil.copytree(places[walk["before"]], work)
        if walk["before"] not in before:
            _, before[walk["before"]] = seen(shop)
        (killed,), after_crash = seen(shop, walk["command"], crash=walk["step"])
        again, after = seen(shop, *walk["again"])
        left = [str(path.relative_to(work)) for path in work.rglob("*") if path.suffix in (".tmp", ".new")]
        result = {
            "step": walk["step"],
            "before": before[walk["before"]],
            "killed": killed,
            "after_crash": after_crash,
            "again": again,
            "after": after,
            "left": left,
        }
        print(json.dumps(result), flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
