"""Run as a script: walks jobs through crashes at commit steps, each try in a forked child of a process that is clean.

Clean: it has imported everything and run nothing, so no thread is missing in the children.

``crash_walk.py DIRECTORY`` reads a list of walks from stdin and writes what each child did: one JSON line a walk.
A walk: {"name", "before": [[job, arguments]...], "crash": step, "run": [job, arguments], "again": [job, arguments]}.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import pickle
import shutil
import sys
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from job_project import ALL, TINY, Project, history
from numba.core.dispatcher import Dispatcher

from runner.config import load_definitions
from runner.fold.plan import plan_fold
from runner.jobs.folding import catch_up
from runner.jobs.publishing.rollback import rollback
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update

EVENTS = 240


def forked(work: Any, *, crash: str = "") -> int:
    """The exit code of a child that does ``work``; minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        os.environ["RUNNER_CRASH_AT"] = crash
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def do(project: Project, job: str, arguments: dict[str, Any]) -> None:
    if job == "append":
        events = history(77, EVENTS)
        project.append(events[arguments["from"] : arguments["to"]], room=TINY)
    elif job == "rebuild":
        rebuild(project.config, engine="in-process", **arguments)
    elif job == "update":
        # By partition, as many events are; none of these logs has many.
        catch_up.TOGETHER = arguments.pop("together", catch_up.TOGETHER)
        update(project.config, engine="in-process", **arguments)
    else:
        rollback(project.config, **arguments)


def digests(project: Project, path: Path) -> None:
    """What users see, through the truth and through the catalog; whether all checkpoints are equal."""
    found: dict[str, Any] = {}
    for name in ALL:
        live = project.models.live(name)
        if live is None:
            continue
        found[name] = [hashlib.sha256(project.bytes(name)[name]).hexdigest(), int(live.position), live.number]
    with project.models.connect() as connection:
        for name in found:
            count = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()
            assert count is not None
            found[name].append(count[0])
    path.write_text(json.dumps(found))


def seen(project: Project) -> Any:
    path = project.root.with_name("digests.json")
    code = forked(partial(digests, project, path))
    return json.loads(path.read_text()) if code == 0 else {"failed": code}


def prepared(project: Project, aside: Path, before: list[Any]) -> dict[str, Any]:
    """Run what comes before the crash, once, and keep a copy of the directory aside."""
    project.root.mkdir()
    codes = [forked(partial(do, project, *one)) for one in before]
    live = seen(project)
    project.root.rename(aside)
    return {"before": codes, "live_before": live}


def walked(project: Project, walk: dict[str, Any]) -> dict[str, Any]:
    job, arguments = walk["run"]
    again, its_arguments = walk["again"]
    return {
        "name": walk["name"],
        "crash": forked(partial(do, project, job, arguments), crash=walk["crash"]),
        "live_after_crash": seen(project),
        "again": forked(partial(do, project, again, its_arguments)),
        "live_after": seen(project),
        "left": [str(path.relative_to(project.root)) for path in project.root.rglob("*.tmp")],
    }


def main() -> None:
    root = Path(sys.argv[1])
    # Always the same path: the catalog's views name files by it.
    project = Project(root / "work")
    warm(project, digests)
    before: dict[str, dict[str, Any]] = {}
    for walk in json.load(sys.stdin):
        name = json.dumps(walk["before"])
        aside = root / f"before-{len(before) if name not in before else before[name]['number']}"
        if name not in before:
            before[name] = {"number": len(before), **prepared(project, aside, walk["before"])}
        shutil.copytree(aside, project.root, symlinks=True)
        told = {**before[name], **walked(project, walk)}
        shutil.rmtree(project.root)
        print(json.dumps(told), flush=True)  # noqa: T201  # what the test reads


def warm(project: Project, look: Any) -> None:
    """Load what every child would load anew, modules and kernels; loading starts no thread.

    A child of its own does a job of each kind, looks, and tells what it has then.
    """
    types = ["opened", "moved", "bought", "closed", "unknown"]
    plan_fold(load_definitions(project.config), types).load()
    told = project.root.with_name("loaded.pickle")
    project.root.mkdir()
    assert forked(partial(_loaded_by_jobs, project, look, told)) == 0
    shutil.rmtree(project.root)
    modules, kernels = pickle.loads(told.read_bytes())
    for module in modules:
        with suppress(ImportError):  # parts of compiled modules have no file of their own
            importlib.import_module(module)
    for module, name, signatures in kernels:
        kernel = getattr(sys.modules[module], name)
        for signature in set(signatures) - set(kernel.signatures):
            kernel.compile(signature)


def _loaded_by_jobs(project: Project, look: Any, path: Path) -> None:
    before = set(sys.modules)
    do(project, "append", {"from": 0, "to": EVENTS // 2})
    do(project, "rebuild", {})
    do(project, "append", {"from": EVENTS // 2, "to": EVENTS})
    do(project, "update", {"together": 0})
    do(project, "rebuild", {"prove": 0})
    do(project, "rollback", {"name": "accounts"})
    look(project, path)
    kernels = [one for one in gc.get_objects() if isinstance(one, Dispatcher) and one.signatures]
    named = [(one.py_func.__module__, one.py_func.__name__, one.signatures) for one in kernels]
    # Those that were made while the jobs ran, modules and kernels, have no file to be loaded from.
    files = sorted(m for m in set(sys.modules) - before if getattr(sys.modules[m], "__spec__", None) is not None)
    known = {*files, *before}
    here = [one for one in named if one[0] in known and hasattr(sys.modules[one[0]], one[1])]
    path.write_bytes(pickle.dumps((files, here)))


if __name__ == "__main__":
    main()
