"""Nothing is published before it is on the disk: the order of syncs and renames that a power failure would test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from job_project import TINY, Project, history

from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.log import Log, LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable


class Disk:
    """What was synced and renamed, in order: ("sync", inode) and ("name", path)."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.facts: list[tuple[str, Any]] = []
        self._patch = patch
        fsync = os.fsync

        def synced(descriptor: int) -> None:
            fsync(descriptor)
            self.facts.append(("sync", os.fstat(descriptor).st_ino))

        patch.setattr(os, "fsync", synced)
        for name in ("rename", "replace", "link"):
            self._watch(name, getattr(os, name))

    def _watch(self, name: str, function: Callable[..., None]) -> None:
        def named(source: Any, target: Any, **rest: Any) -> None:
            function(source, target, **rest)
            self.facts.append(("name", Path(os.fsdecode(target))))

        self._patch.setattr(os, name, named)

    def named(self, path: Path) -> int:
        """When the path got its name for the last time."""
        return max(n for n, fact in enumerate(self.facts) if fact == ("name", path))

    def named_before(self, path: Path) -> int:
        """When it got its name the time before; -1 where it did not."""
        return ([-1] + [n for n, fact in enumerate(self.facts) if fact == ("name", path)])[-2]

    def synced(self, path: Path, *, after: int = -1, before: int | None = None) -> bool:
        """Whether the file or directory at the path was synced in between."""
        return ("sync", path.stat().st_ino) in self.facts[after + 1 : before]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def check_log(project: Project, disk: Disk, names: set[str]) -> None:
    log = project.root / "log"
    published = disk.named(log / "manifest.json")
    assert names
    for name in names:
        assert disk.synced(log / "segments" / name, before=published), name
    assert disk.synced(log / "manifest.json", before=published)
    former = disk.named_before(log / "manifest.json")
    assert disk.synced(log / "segments", after=former, before=published), "the names of the segments"
    assert disk.synced(log, after=published), "the manifest's name"


def files(project: Project) -> set[str]:
    with Log.open(project.root / "log") as log:
        return log.manifest.files()


def test_a_log_is_published_behind_its_files(project: Project, disk: Disk) -> None:
    project.append(history(1, 40), room=TINY)
    known = files(project)
    check_log(project, disk, known)
    project.append(history(2, 40), room=TINY)
    check_log(project, disk, files(project) - known)
    known = files(project)
    rebuild(project.config, engine="in-process", prove=0)
    assert any(name.endswith(".col") for name in files(project) - known)
    check_log(project, disk, files(project) - known)
    known = files(project)
    with LogWriter.open(project.root / "log") as writer:
        assert writer.compact()
    check_log(project, disk, files(project) - known)


def check_read_models(project: Project, disk: Disk, known: set[Path]) -> set[Path]:
    """The files of all live versions, the new ones of which are on the disk before current.json names them."""
    root = project.root / "read_models"
    published = disk.named(root / "current.json")
    found = set()
    for name in project.models.names():
        version = project.models.live(name)
        assert version is not None
        paths = {version.directory / info.name for info in version.files} | {version.document}
        assert paths - known
        for path in paths - known:
            # The last sync of the directory before the switch makes the names last that were given before it.
            assert disk.synced(path, before=published), path
            assert disk.synced(path.parent, after=disk.named(path), before=published), path
        found |= paths
    assert disk.synced(root / "current.json", before=published)
    assert disk.synced(root, after=published), "the name of current.json"
    catalog = disk.named(root / "catalog.duckdb")
    assert catalog > published
    assert disk.synced(root / "catalog.duckdb", before=catalog)
    return found


def test_read_models_are_published_behind_their_files(project: Project, disk: Disk) -> None:
    project.append(history(3, 100))
    rebuild(project.config, engine="in-process", prove=0)
    known = check_read_models(project, disk, set())
    project.append(history(4, 30))
    update(project.config, engine="in-process")
    check_read_models(project, disk, known)
