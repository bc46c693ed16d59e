"""``ReadModels``: the embedded read models in one directory. Runs and library users come in here.

::

    models = ReadModels(Path("read_models"))
    with models.begin_rebuild(shape, job_id="...") as claim:                # VersionBusy: another run has it
        files = [write_rows(claim.target, partition, rows) ...]             # in workers; the target pickles
        models.publish_rebuild([claim.built(position, files)])
    with models.begin_update(shape) as claim:
        saved = models.saved_rows(claim.base)                               # pickles, for workers
        files = [write_rows(claim.target, partition, changed, deleted) ...]
        models.publish_update([claim.built(position, files)])
    models.connect().sql("SELECT * FROM accounts")

A claim is per version: a catch-up of the live version goes on while a rebuild builds the next. It ends with
its process.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import FingerprintChanged, ReadModelError
from runner.sinks import catalog, compaction
from runner.sinks.building import Built, Claim
from runner.sinks.claims import Lock
from runner.sinks.current import Current, Entry, Model
from runner.sinks.durable import remove_leftovers, translated, write_whole
from runner.sinks.publish import publish, switch_back
from runner.sinks.rows import is_whole, remove_partials, write_template
from runner.sinks.saved import SavedFiles
from runner.sinks.shape import EVERY, HASH, Shape, Version
from runner.sinks.sweep import lock_file
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb
    import pyarrow as pa

__all__ = ["Built", "Claim", "ReadModels"]

GRACE = timedelta(hours=1)


class ReadModels:
    """The read models under ``root``. keep: how many previous versions stay for a rollback. grace: how long files that
    are no longer live or kept stay for readers who opened the catalog earlier; a reader open longer than that may see
    an error, never other rows."""

    def __init__(self, root: Path | str, *, keep: int = 2, grace: timedelta = GRACE) -> None:
        self.root = Path(root).resolve()
        self.keep, self.grace = keep, grace

    # Looking

    def names(self) -> tuple[str, ...]:
        """The read models that have a live version, by name."""
        return tuple(sorted(n for n, m in Current.read(self.root).models.items() if m.live))

    def live(self, name: str) -> Version | None:
        """The version that users see, or None."""
        current = Current.read(self.root)
        entry = current.model(name).live
        return current.version(name, entry) if entry else None

    def versions(self, name: str) -> tuple[Version, ...]:
        """The live version and the kept ones: the live first, then in the order of rollbacks, rolled-back ones last."""
        current = Current.read(self.root)
        return tuple(current.version(name, e) for e in current.model(name).versions)

    def table(self, name: str, version: Version | None = None, *, hashes: bool = False) -> pa.Table:
        """All rows, of the live version if none is given; digests compared. Columns as users see them, or all."""
        version = version or self._must(name)
        rows = SavedFiles((version,)).whole(name)
        return rows if hashes else rows.drop_columns([n for n in HASH if n in rows.schema.names])

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection to what is live now (``runner.sinks.catalog.connect``)."""
        return catalog.connect(self.root)

    def saved_rows(self, *versions: Version) -> SavedFiles:
        """The rows that an update of these versions continues from; pickles."""
        return SavedFiles(versions)

    def verify(self, name: str) -> None:
        """Compare every byte of the live version with its digests; ReadModelError names the first damaged file."""
        self.table(name)

    # Changing

    def begin_rebuild(self, shape: Shape, *, job_id: str = "", resume: bool = False) -> Claim:
        """Claim the next version. Its directory is empty, unless ``resume`` keeps what an unfinished run left there.

        VersionBusy where another run builds it; ReadModelError where the shape cannot be a read model.
        """
        shape.check()
        self._repaired()
        current = Current.read(self.root)
        self._check_name(current, shape.name)
        number = current.model(shape.name).newest + 1
        directory = current.directory(shape.name, number)
        lock = self._lock(directory, shape.name, number, job_id)
        try:
            self._check_next(shape.name, number)
            with translated(directory):
                if directory.exists() and not resume:
                    shutil.rmtree(directory)
                directory.mkdir(exist_ok=True)
                remove_leftovers(directory)
        except BaseException:
            lock.release()
            raise
        return Claim(lock, shape, number, directory, None, job_id)

    def begin_update(self, shape: Shape, *, job_id: str = "") -> Claim:
        """Claim the live version for a catch-up; ``claim.base`` is what it goes on from.

        FingerprintChanged, or ReadModelError where the rows cannot be continued; VersionBusy where another run does it.
        """
        shape.check()
        self._repaired()
        live = self._must(shape.name)
        _check_continues(live, shape)
        lock = self._lock(live.directory, shape.name, live.number, job_id)
        try:
            base = self._must(shape.name)  # published between the look and the lock, perhaps
            _check_continues(base, shape, live.number)
            _remove_unpublished(base)
        except BaseException:
            lock.release()
            raise
        return Claim(lock, shape, base.number, base.directory, base, job_id)

    def prepare(self, versions: Sequence[Version]) -> None:
        """Write down what is about to be published, so that it can be published after a crash (``prepared``)."""
        for version in versions:
            if not version.template.exists():
                write_template(version.directory, version.shape)
            write_whole(version.document, version.to_bytes())

    def prepared(self, name: str, number: int, revision: int) -> Version | None:
        """A version, or a further revision of the live one, that was prepared and not published; None: there is none,
        or it is not whole.
        """
        model = Current.read(self.root).model(name)
        live, directory = model.live, Current(self.root).directory(name, number)
        following = live is not None and (live.number, live.revision + 1) == (number, revision)
        if not (following or number > model.newest):
            return None
        try:
            version = Version.read(directory, revision)
        except ReadModelError:
            return None
        return version if all(is_whole(directory, info) for info in version.files) else None

    def publish_prepared(self, versions: Sequence[Version]) -> None:
        """Make what ``prepared`` gave live, all in one switch."""
        newest = {v.name: Current.read(self.root).model(v.name).newest for v in versions}
        for what in ("rebuild", "update"):
            chosen = [v for v in versions if (v.number > newest[v.name]) == (what == "rebuild")]
            if chosen:
                publish(self.root, what, chosen, keep=self.keep, grace=self.grace)

    @contextmanager
    def holding(self, names: Iterable[str], *, wait: float) -> Iterator[None]:
        """Be the only one who changes what is live of these read models, here and where they are published to.

        Raises VersionBusy after ``wait`` seconds.
        """
        with ExitStack() as stack:
            for name in sorted(names):
                path = Current(self.root).directory(name, 0).with_name("live.lock")
                with translated(path.parent):
                    path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(Lock.take(path, f"read model {name!r}", wait=wait))
            yield

    def publish_rebuild(self, built: Sequence[Built]) -> tuple[Version, ...]:
        """Make new versions live, all in one switch. The claims stay with the caller."""
        versions = tuple(b.version for b in built)
        publish(self.root, "rebuild", versions, keep=self.keep, grace=self.grace)
        for version in versions:
            remove_partials(version.directory)
        return versions

    def publish_update(self, built: Sequence[Built]) -> tuple[Version, ...]:
        """Make updates live, all in one switch. The claims stay with the caller, who may go on with ``compact_due``."""
        versions = tuple(b.version for b in built)
        publish(self.root, "update", versions, keep=self.keep, grace=self.grace)
        for version in versions:
            remove_partials(version.directory)
        return versions

    def compact_due(self, versions: Sequence[Version]) -> tuple[tuple[Version, ...], tuple[str, ...]]:
        """Compact what the policy says (``runner.sinks.compaction``) of live versions whose claims are held.

        (the versions as they are now; in words, what could not be compacted: what is live is right without, and the
        next update tries again).
        """
        now, failed = [], []
        for version in versions:
            try:
                now.append(self._compacted(version, compaction.due(version)))
            except Exception as error:
                now.append(version)
                failed.append(f"the deltas of {version.name!r} were not compacted: {error}; the update is live")
        return tuple(now), tuple(failed)

    def rollback(self, name: str, to: int | None = None) -> Version:
        """Make the version before the live one live again, or version ``to`` of those kept; the version now live.

        A catch-up of the version rolled back from can no longer publish. Rolling forward again needs ``to``.
        """
        self._must(name)
        return switch_back(self.root, name, lambda model: _earlier(model, name, to), grace=self.grace)

    def rollback_target(self, name: str, to: int | None = None) -> Version:
        """The version that ``rollback`` would make live. Raises as it does."""
        self._must(name)
        current = Current.read(self.root)
        return current.version(name, _earlier(current.model(name), name, to))

    def compact(self, name: str, *, job_id: str = "") -> Version:
        """Merge all deltas of the live version into its base; the same rows, checkpoint and fingerprint."""
        live = self._must(name)
        with self._lock(live.directory, name, live.number, job_id):
            live = self._must(name)
            _remove_unpublished(live)
            found = {f.partition for f in live.deltas}
            return self._compacted(live, dict.fromkeys([EVERY] if EVERY in found else sorted(found), True))

    def repair(self) -> bool:
        """Make the catalog again if a crash left it older than current.json; whether it had to be."""
        return self.root.is_dir() and catalog.repair(self.root)

    # Helping

    def _must(self, name: str) -> Version:
        version = self.live(name)
        if version is None:
            have = ", ".join(self.names()) or "none"
            raise ReadModelError(
                f"there is no read model {name!r} in {self.root} (there: {have})", hint=f"`runner rebuild {name}`"
            )
        return version

    def _repaired(self) -> None:
        if "?" in str(self.root):
            raise ReadModelError(
                f"read models cannot lie in {self.root}: DuckDB cannot have a question mark in a path",
                hint="choose another directory",
            )
        with translated(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        self.repair()

    def _lock(self, directory: Path, name: str, number: int, job_id: str) -> Lock:
        with translated(directory.parent):
            directory.parent.mkdir(exist_ok=True)
        return Lock.take(lock_file(directory), f"version {number} of read model {name!r}", job_id)

    def _check_name(self, current: Current, name: str) -> None:
        for other in current.models:
            if other != name and other.casefold() == name.casefold():
                raise ReadModelError(
                    f"read models {other!r} and {name!r} are one to SQL, which does not tell case apart",
                    hint="give the projection another name",
                )

    def _check_next(self, name: str, number: int) -> None:
        if Current.read(self.root).model(name).newest + 1 != number:
            raise ReadModelError(f"another rebuild of {name!r} has just finished", hint="run again if still needed")

    def _compacted(self, version: Version, partitions: dict[int, bool]) -> Version:
        if not partitions:
            return version
        merged = compaction.compacted(version, partitions)
        reached("settle.1")
        publish(self.root, "compaction", [merged], keep=self.keep, grace=self.grace)
        return merged


def _check_continues(live: Version, shape: Shape, number: int = 0) -> None:
    """Raise where rows of ``live`` cannot be continued by a fold of ``shape``, or it is not the version claimed."""
    name, rebuild = shape.name, f"`runner rebuild {shape.name}`"
    if number not in (0, live.number):
        raise ReadModelError(f"another version of {name!r} went live just now", hint="run the update again")
    if live.fingerprint != shape.fingerprint:
        raise FingerprintChanged(
            f"projection {name!r} is not the one that made the live read model "
            f"(fingerprint {shape.fingerprint[:12]}, live {live.fingerprint[:12]})",
            hint=rebuild,
        )
    was = live.shape
    if was.log_id != shape.log_id:
        raise ReadModelError(
            f"read model {name!r} was made from log {was.log_id}, this is {shape.log_id}", hint=rebuild
        )
    if was.partitions != shape.partitions:
        raise ReadModelError(
            f"read model {name!r} was made with {was.partitions} partitions, the log has {shape.partitions}",
            hint=rebuild,
        )
    if (was.identity, was.key, was.merged) != (shape.identity, shape.key, shape.merged) or was.schema != shape.schema:
        raise ReadModelError(
            f"read model {name!r} has the columns {list(was.columns)}, a catch-up would write {list(shape.columns)}",
            hint=f"the log has other sources or tenants than before: {rebuild}",
        )


def _earlier(model: Model, name: str, to: int | None) -> Entry:
    """The version before the live one, or version ``to`` of those kept."""
    kept = model.versions[1:]
    for entry in kept:
        if entry.number == to or (to is None and not entry.rolled_back):
            return entry
    have = ", ".join(str(e.number) for e in kept)
    wanted = "earlier version" if to is None else f"version {to}"
    raise ReadModelError(
        f"read model {name!r} has no {wanted} to roll back to (kept: {have or 'none'})",
        hint=f"`runner rollback {name} --version N` takes one of {have}" if have else "rebuild it",
    )


def _remove_unpublished(live: Version) -> None:
    """Remove what a killed catch-up or compaction left: files of revisions that were never published."""
    remove_leftovers(live.directory)
    remove_partials(live.directory)
    for path in live.directory.iterdir():
        kind, *numbers = path.stem.split("-")
        numbered = [int(n) for n in numbers if n.isdigit()]
        revision = {"version": numbered[:1], "delta": numbered[:1], "base": numbered[1:2]}.get(kind, [])
        if revision and revision[0] > live.revision:
            path.unlink(missing_ok=True)
