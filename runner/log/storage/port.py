"""What a log needs of the place where it lies: the port that a local directory and an object store each fill.

A ``Storage`` reads: manifests, and container files stream by stream. Its ``Writing`` is what the one writer holds: the
local directory in which container files are written, and the way by which a manifest becomes the current one. The rest
of ``runner.log`` knows nothing of either place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pyarrow as pa

    from runner.config.object_store import LogPath
    from runner.log.manifest import Chunk, Manifest, SegmentFile

__all__ = ["Container", "Hold", "Publication", "Storage", "Writing"]


class Container(Protocol):
    """A container file, read stream by stream. Safe for threads."""

    @property
    def where(self) -> str:
        """Its name, for messages."""
        ...

    @property
    def partitions(self) -> tuple[int, ...]: ...

    def chunk(self, partition: int) -> Chunk | None:
        """Where the partition's stream is; None where it has no events."""
        ...

    def stream(self, partition: int) -> pa.Buffer | None:
        """The partition's Arrow IPC stream, mapped; None where it has none. The mapping lives as long as arrays made of
        it do.

        Raises LogDamaged, naming file and partition, where the bytes are not what was written.
        """
        ...


class Hold(Protocol):
    """Keeps the files of one manifest, as far as the place can; ``close`` lets go of them."""

    def close(self) -> None: ...


class Storage(Protocol):
    """Where a log lies, for its readers. Safe for threads; another process makes its own from ``path``."""

    @property
    def path(self) -> LogPath:
        """By which it is opened again, also by another machine's process."""
        ...

    def exists(self) -> bool:
        """Whether a manifest is published there. Raises LogError where that cannot be seen."""
        ...

    def stamp(self) -> object:
        """Something that compares equal as long as no manifest is published; None where there is none."""
        ...

    def hold(self, number: int | None) -> tuple[Manifest, Hold]:
        """The current manifest, or the one numbered, held.

        Raises LogError where there is no log or the numbered manifest is not kept any more, LogDamaged where it is not
        what was written, LogFormatError for another format.
        """
        ...

    def current(self) -> tuple[Manifest, str]:
        """(the current manifest, SHA-256 of its bytes). Raises as ``hold``."""
        ...

    def numbered(self, number: int) -> tuple[Manifest, str] | None:
        """The same of a numbered manifest; None where it is not kept. Raises as ``hold``."""
        ...

    def where(self, number: int) -> str:
        """The name of a numbered manifest, for messages."""
        ...

    def container(self, file: SegmentFile, *, verify: bool) -> Container:
        """A container file. verify: each stream's digest is checked when it is first mapped."""
        ...

    def fetch(self, wanted: Iterable[tuple[Container, int]]) -> None:
        """Have streams (container, partition) at hand, several at once where that is quicker than one by one."""
        ...

    def sha256(self, file: SegmentFile) -> str:
        """Of all the bytes that lie there (hex). Raises LogError where they cannot be read."""
        ...

    def writing(self, *, create: bool) -> Writing:
        """Become the log's one writer; create: also where there is no log yet.

        Raises LogLocked where another has it; LogError, LogDamaged, LogFormatError.
        """
        ...


class Publication(Protocol):
    """One manifest on its way: ``write``, ``rename``, ``settle``."""

    digest: str
    """SHA-256 of the manifest's bytes."""

    def write(self, published: str) -> None:
        """Make all durable that it names, behind the manifest whose SHA-256 is ``published`` ("": there is none).

        Raises LogLocked where the current manifest is seen to be another, LogError where the place refuses.
        """
        ...

    def rename(self) -> None:
        """Make it the current one. Raises LogLocked where its number is taken, LogError."""
        ...

    def settle(self) -> None:
        """What is to be done once readers see it."""
        ...


class Writing(Protocol):
    """The writer's hold of the log. ``release`` lets the next writer in."""

    @property
    def path(self) -> LogPath:
        """As ``Storage.path``."""
        ...

    @property
    def number(self) -> int:
        """The fencing number, above that of every earlier writer; 0 before ``claim``."""
        ...

    @property
    def tag(self) -> str:
        """In the names of this writer's files: no other writer's files have it."""
        ...

    @property
    def directory(self) -> Path:
        """Where container files are written before they are published; local."""
        ...

    def current(self) -> tuple[Manifest, str] | None:
        """(the current manifest, SHA-256 of its bytes), None for a log that begins.

        Raises LogDamaged, LogFormatError.
        """
        ...

    def claim(self, above: int) -> None:
        """Take a fencing number above ``above`` and above that of every earlier writer."""
        ...

    def check(self) -> None:
        """Raise LogLocked where another writer has taken over."""
        ...

    def container(self, file: SegmentFile, *, verify: bool) -> Container:
        """A container file, published or only written."""
        ...

    def fetch(self, wanted: Iterable[tuple[Container, int]]) -> None:
        """As ``Storage.fetch``."""
        ...

    def publication(self, manifest: Manifest, data: bytes) -> Publication:
        """The way of a manifest, whose bytes are ``data``."""
        ...

    def discard(self, names: set[str], current: Manifest) -> None:
        """Remove files that were written and not published; what cannot be removed now is garbage."""
        ...

    def remove_garbage(self, current: Manifest) -> None:
        """Remove what earlier writers left unpublished, old manifests, and files that were compacted away, but not
        those of manifests that readers may hold. What cannot be removed stays for the next time.
        """
        ...

    def release(self) -> None: ...
