"""The commit order of everything that changes what is live. The steps are those of ``runner.steps``.

::

    the catalog's temporary file        may fail for want of room: nothing has happened yet
    version-<revision>.json             rebuild.6   update.3                settle.2
    current.json, one rename            rebuild.7   update.4   rollback.1   settle.3     <- the switch
    catalog.duckdb, one rename          rebuild.8   update.5   rollback.2   settle.4

A crash before the switch leaves what was live, after it what is new; an older catalog is made again by ``repair``.
Several read models of a run switch in the same rename.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from runner.errors import ReadModelError
from runner.sinks import catalog, sweep
from runner.sinks.claims import publishing
from runner.sinks.current import Current, Entry, Model, Retired
from runner.sinks.durable import remove_leftovers, write_whole
from runner.sinks.rows import write_template
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from pathlib import Path

    from runner.sinks.shape import Version

__all__ = ["publish", "switch_back"]

Commit = Literal["rebuild", "update", "compaction", "rollback"]
_STEPS: dict[Commit, tuple[str, str, str]] = {
    "rebuild": ("rebuild.6", "rebuild.7", "rebuild.8"),
    "update": ("update.3", "update.4", "update.5"),
    "rollback": ("", "rollback.1", "rollback.2"),
    "compaction": ("settle.2", "settle.3", "settle.4"),
}


def publish(root: Path, what: Commit, versions: Sequence[Version], *, keep: int, grace: timedelta) -> None:
    """Make these versions live, all in one switch. Their files are written and synced already."""
    _check_files(versions)

    def changed(current: Current) -> Current:
        for version in versions:
            current = _with_version(current, what, version, keep)
        return current

    _commit(root, what, changed, versions, grace)


def switch_back(root: Path, name: str, choose: Callable[[Model], Entry], *, grace: timedelta) -> Version:
    """Make an earlier version live as it was: rows, checkpoint, fingerprint and saved states are all in its files."""
    chosen: list[Version] = []

    def changed(current: Current) -> Current:
        model = current.model(name)
        entry = choose(model)
        version = current.version(name, entry)
        _check_files([version])
        chosen[:] = [version]
        return current.with_model(name, model.rolled_back(entry))

    _commit(root, "rollback", changed, (), grace)
    return chosen[0]


def _commit(
    root: Path, what: Commit, change: Callable[[Current], Current], versions: Sequence[Version], grace: timedelta
) -> None:
    steps = _STEPS[what]
    with publishing(root):
        remove_leftovers(root)
        before = Current.read(root)
        after = sweep.swept(change(replace(before, generation=before.generation + 1)), grace)
        fresh = {v.name: v for v in versions}
        live = (fresh.get(n) or after.version(n, m.live) for n, m in sorted(after.models.items()) if m.live)
        for version in versions if what == "rebuild" else ():
            write_template(version.directory, version.shape)
        built = catalog.build(after, tuple(live))
        try:
            for version in versions:
                write_whole(version.document, version.to_bytes())
            _reached(steps[0])
            after.write()
        except BaseException:
            with suppress(OSError):
                built.unlink()
            raise
        _reached(steps[1])
        catalog.put(after, built)
        _reached(steps[2])


def _reached(step: str) -> None:
    if step:
        reached(step)


def _with_version(current: Current, what: Commit, version: Version, keep: int) -> Current:
    name, model = version.name, current.model(version.name)
    now = datetime.now(UTC).isoformat()
    entry = Entry(version.number, version.revision)
    retired: list[Retired] = []
    if what == "rebuild":
        if version.number <= model.newest:
            raise ReadModelError(
                f"version {version.number} of {name!r} was published already", hint="start a new rebuild"
            )
        model, dropped = model.switched(entry).kept(keep)
        for old in dropped:
            place = current.directory(name, old.number).relative_to(current.root)
            retired.append(Retired(str(place), now))
    else:
        live = model.live
        if live is None or (live.number, live.revision) != (version.number, version.revision - 1):
            is_live = f"version {live.number}, revision {live.revision} is" if live else "no version is"
            raise ReadModelError(
                f"{name!r}: {is_live} live, no longer version {version.number}, revision {version.revision - 1}",
                hint="another version was published or rolled back to meanwhile; run the update again",
            )
        before = current.version(name, live)
        kept = {f.name for f in version.files}
        place = before.directory.relative_to(current.root)
        gone = [f.name for f in before.files if f.name not in kept] + [before.document.name]
        retired += [Retired(str(place / n), now) for n in gone]
        model = replace(model, versions=(entry, *model.versions[1:]))
    return replace(current.with_model(name, model), retired=(*current.retired, *retired))


def _check_files(versions: Sequence[Version]) -> None:
    """Every file is there in its full size: nothing is published that could not be read."""
    for version in versions:
        for info in version.files:
            path = version.directory / info.name
            try:
                size = path.stat().st_size
            except OSError as error:
                raise ReadModelError(f"{path} is missing: {error.strerror}", hint="run the rebuild again") from error
            if size != info.bytes:
                raise ReadModelError(
                    f"{path} has {size} bytes, {info.bytes} were written", hint="run the rebuild again"
                )
