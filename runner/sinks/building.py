"""A version while it is written: who may write it, and what is to be published."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runner.errors import ReadModelError
from runner.sinks.rows import PARTIAL, Target, is_whole
from runner.sinks.shape import Version

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from runner.positions import Position
    from runner.sinks.claims import Lock
    from runner.sinks.shape import FileInfo, Shape

__all__ = ["Built", "Claim"]


@dataclass(frozen=True)
class Built:
    """A version whose files are all written, to be published."""

    claim: Claim
    version: Version

    @property
    def target(self) -> Target:
        """Where a catch-up of it writes, before it is published."""
        return replace(self.claim.target, revision=self.version.revision + 1)

    def followed(self, shape: Shape, position: Position, files: Iterable[FileInfo]) -> Built:
        """Its next revision: with these files of a catch-up too."""
        version = replace(
            self.version,
            shape=shape,
            revision=self.version.revision + 1,
            position=position,
            updated=datetime.now(UTC).isoformat(),
            files=(*self.version.files, *files),
        )
        return replace(self, version=version)


class Claim:
    """The right to write one version of a read model; a context manager. Ends with ``release`` or with the process."""

    def __init__(
        self, lock: Lock, shape: Shape, number: int, directory: Path, base: Version | None, job_id: str
    ) -> None:
        self.shape, self.number, self.directory, self.job_id = shape, number, directory, job_id
        self.base = base
        """The live version that an update goes on from; None for a rebuild."""
        self._lock = lock

    @property
    def revision(self) -> int:
        return 0 if self.base is None else self.base.revision + 1

    @property
    def target(self) -> Target:
        """What a worker's ``write_rows`` needs."""
        shape, token = self.shape, "".join(c for c in self.job_id if c.isalnum())[-6:]
        return Target(str(self.directory), shape.name, self.revision, shape.full_key, shape.schema, token=token)

    def has(self, info: FileInfo) -> bool:
        """Whether a file that a ledger recorded is there as it was written: a resumed rebuild keeps it."""
        return is_whole(self.directory, info)

    def built(self, position: Position, files: Iterable[FileInfo | None]) -> Built:
        """The version with these new files (None: a partition without rows) and this checkpoint."""
        if not self._lock.held:
            raise ReadModelError(f"the claim on version {self.number} of {self.shape.name!r} was given back already")
        now = datetime.now(UTC).isoformat()
        new = tuple(f for f in files if f is not None)
        if any(f.name.startswith(PARTIAL) for f in new):
            raise ReadModelError(
                f"read model {self.shape.name!r}: parts of merged keys must be merged before they are published"
            )
        if self.base is None:
            version = Version(self.shape, self.number, 0, position, self.directory, now, now, self.job_id, new)
        else:
            if position < self.base.position:
                # The events in between are in the rows: a later update would fold them a second time.
                raise ReadModelError(
                    f"read model {self.shape.name!r} is at position {self.base.position}, "
                    f"not to be set back to {position}",
                    hint="run the update again",
                )
            version = replace(
                self.base,
                shape=self.shape,
                revision=self.revision,
                position=position,
                updated=now,
                job_id=self.job_id,
                files=(*self.base.files, *new),
            )
        return Built(self, version)

    def release(self) -> None:
        """Give the version back; what was written and not published stays for a resumed rebuild."""
        self._lock.release()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
