"""Same bytes, whatever the partitions, segments, engine, workers and schedule of updates."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from job_project import ALL, Project, expected, history

from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.log import LogWriter, Room

if TYPE_CHECKING:
    from fixtures_object_store import ObjectStores


@dataclass(frozen=True)
class Way:
    """One way to the same rows. cuts: where commits end; updated: how many commits the first rebuild waits for."""

    partitions: int
    cuts: tuple[int, ...]
    room: Room
    engine: str
    workers: int
    updated: int
    compacted: bool
    halves: bool
    """Each update stops half-way first."""


@st.composite
def ways(draw: st.DrawFn, events: int) -> Way:
    cuts = draw(st.sets(st.integers(1, events - 1), max_size=4)) | {events}
    return Way(
        partitions=draw(st.sampled_from([1, 2, 8])),
        cuts=tuple(sorted(cuts)),
        room=Room(draw(st.sampled_from([7, 64, 1000])), 1 << 20, draw(st.sampled_from([0, 50]))),
        engine=draw(st.sampled_from(["in-process", "threads"])),
        workers=draw(st.sampled_from([1, 2])),
        updated=draw(st.integers(1, len(cuts))),
        compacted=draw(st.booleans()),
        halves=draw(st.booleans()),
    )


def walk(project: Project, way: Way, seed: int, events: int) -> dict[str, bytes]:
    sent = history(seed, events)
    begin = 0
    for n, end in enumerate(way.cuts, 1):
        project.append(sent[begin:end], partitions=way.partitions, room=way.room)
        if n == way.updated:
            rebuild(project.config, engine=way.engine, workers=way.workers, prove=5)  # type: ignore[arg-type]  # a literal
        elif n > way.updated:
            if way.halves:
                update(project.config, engine="in-process", to=(begin + end) // 2 + 1)
            if way.compacted:
                with LogWriter.open(project.root / "log") as writer:
                    writer.compact()
            update(project.config, engine=way.engine, workers=way.workers)  # type: ignore[arg-type]  # a literal
        begin = end
    return project.bytes()


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(seed=st.integers(0, 10_000), data=st.data())
def test_same_bytes(seed: int, data: st.DataObject) -> None:
    events = 120
    way = data.draw(ways(events))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        plain = Project(Path(one))
        plain.append(history(seed, events), partitions=1)
        rebuild(plain.config, engine="in-process", prove="all")
        want = expected(history(seed, events))
        for name in ALL:
            assert plain.rows(name) == want[name]
        assert walk(Project(Path(other)), way, seed, events) == plain.bytes()


@pytest.mark.ray
def test_ray_gives_the_same_bytes(project: Project, tmp_path: Path, object_store: ObjectStores) -> None:
    """Over a log in a directory and over one on an object store, of which each worker fetches what it folds."""
    from runner.engine import gather
    from runner.engine.ray import RayEngine

    events = history(5, 300, accounts=40)
    project.append(events[:200], partitions=8)
    project.append(events[200:])
    engine = RayEngine(2, modules=gather(["bank_of_jobs"]))
    try:
        report = rebuild(project.config, engine=engine, to=250, prove=10)
        update(project.config, engine=engine)
        far = Project(tmp_path / "far", log_path=object_store.log())
        far.append(events[:200], partitions=8)
        rebuild(far.config, engine=engine, to=150, prove=10)
        far.append(events[200:])
        far = Project(far.root, log_path=object_store.elsewhere(far.log_path))  # type: ignore[arg-type]
        object_store.asked()
        update(far.config, engine=engine)
        assert sum("/segments/" in request for request in object_store.asked()) > 8
    finally:
        engine.close()
    by_ray = project.bytes()
    assert (report.engine, report.workers) == ("ray", 2)
    for name in ALL:
        assert project.rows(name) == expected(events)[name]
    assert far.bytes() == by_ray
    rebuild(project.config, engine="in-process", prove="all")
    assert project.bytes() == by_ray
