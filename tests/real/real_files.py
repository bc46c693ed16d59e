"""Projections of a repository's files: rows that vanish with their file and begin anew when it comes back."""

from __future__ import annotations

from datetime import datetime

from runner import Event, Projection, on


class FileEvent(Event, type=("FileAdded", "FileChanged", "FileDeleted")):
    """A file in one commit."""

    commit: str
    author: str
    added: int
    deleted: int


class Written(Event, type=("FileAdded", "FileChanged")):
    """A file that is there after the commit."""

    added: int
    deleted: int


class Removed(Event, type="FileDeleted"):
    """A file that is gone."""

    added: int
    deleted: int


class Files(Projection):
    """One row per file that is there."""

    lines: int = 0
    changes: int = 0
    since: datetime | None = None

    @on(Written)
    def written(self, e: Written) -> None:
        if self.since is None:
            self.since = e.recorded_at
        self.lines += e.added - e.deleted
        self.changes += 1

    @on(Removed)
    def removed(self, e: Removed) -> None:
        self.delete()


class Lives(Projection):
    """One row per path, whatever became of it."""

    lines: int = 0
    commits: int = 0
    deaths: int = 0
    last_commit: str = ""
    last_author: str = ""

    @on(FileEvent)
    def seen(self, e: FileEvent) -> None:
        self.lines += e.added - e.deleted
        self.commits += 1
        self.last_commit = e.commit[:7]
        self.last_author = e.author
        if e.type == "FileDeleted":
            self.deaths += 1


class Plain(Projection, compiled=False):
    """``Files`` again, folded in plain Python."""

    lines: int = 0
    changes: int = 0
    since: datetime | None = None

    @on(Written)
    def written(self, e: Written) -> None:
        if self.since is None:
            self.since = e.recorded_at
        self.lines += e.added - e.deleted
        self.changes += 1

    @on(Removed)
    def removed(self, e: Removed) -> None:
        self.delete()


class Authors(Projection, key=("author",)):
    """Merged: lines by author."""

    commits: int = 0
    added: int = 0
    deleted: int = 0

    @on(FileEvent)
    def seen(self, e: FileEvent) -> None:
        self.commits += 1
        self.added += e.added
        self.deleted += e.deleted

    def merge(self, other: Authors) -> None:
        self.commits += other.commits
        self.added += other.added
        self.deleted += other.deleted
