"""Same bytes for random histories of several sources and tenants under random schedules of everything that a user runs.

A schedule is a list of steps: commits, compactions of the log and of the read models, updates (also up to a place),
rebuilds, rollbacks; with few deltas allowed, so that deltas are merged into deltas and into bases on the way. It must
end in the bytes of one rebuild over a log of one partition.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from job_project import BEGIN, Project

from runner.jobs.publishing.rollback import rollback
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.log import ARRIVAL_SCHEMA, LogWriter, Room
from runner.sinks import compaction

if TYPE_CHECKING:
    from runner.engine import EngineName

NAMES = ("depots", "lots", "docks", "kinds", "counts")
SKUS = ("s1", "S2", "ß", "😀", "", "long-" * 9)
EXAMPLES = int(os.environ.get("RUNNER_TEST_SCHEDULES", "6"))
"""As many as are worth the time in every run of the suite; hundreds where the jobs were changed."""
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""A schedule takes a second: a failing one is read as it is."""


@dataclass
class History:
    """An endless history; versions are given for events of source ``web``, drawn by the log for the others."""

    seed: int
    aggregates: int
    sources: tuple[str, ...]
    tenants: tuple[str, ...]
    versions: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.at = 0

    def commit(self, source: str, events: int, *, every_tenant: bool = False) -> pa.RecordBatch:
        """Events of one source; with ``every_tenant`` the first ones are of all tenants."""
        rows = []
        for n in range(events):
            self.at += 1
            tenant = self.tenants[n] if every_tenant and n < len(self.tenants) else self.draw.choice(self.tenants)
            # Most events are of few aggregates; many aggregates have one.
            aggregate = f"d-{int(self.aggregates * self.draw.random() ** 3)}"
            self.versions[source, tenant, aggregate] += 1
            version = self.versions[source, tenant, aggregate] if source == "web" else None
            kind = self.draw.choices(["arrived", "arrived.v2", "priced", "dropped", "unknown"], [6, 2, 4, 2, 1])[0]
            time = BEGIN + timedelta(minutes=self.at * 7)
            rows.append((tenant, aggregate, version, kind, time, 0, self.at, json.dumps(self.payload(kind))))
        columns = zip(*rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, ARRIVAL_SCHEMA, strict=True)]
        return pa.record_batch(arrays, schema=ARRIVAL_SCHEMA)

    def payload(self, kind: str) -> dict[str, Any]:
        draw = self.draw
        if kind == "dropped":
            return {"hard": draw.random() < 0.6}
        if kind == "priced":
            made: dict[str, Any] = {"price": draw.choice([None, 0.00, -7.25, 99999.99])}
            made |= draw.choice([{}, {"at": None}, {"at": "2024-02-29T23:59:59.999999Z"}])
            made |= draw.choice([{}, {"grade": "hö"}, {"good": False}, {"ref": str(UUID(int=draw.randrange(3)))}])
            return made
        if kind.startswith("arrived"):
            lots = []
            for _ in range(draw.randrange(4)):
                lot: dict[str, Any] = {"sku": draw.choice(SKUS), "quantity": draw.randrange(-3, 6)}
                lot |= draw.choice([{}, {"cost": draw.randrange(-999, 999) / 100}, {"note": None}])
                lot |= draw.choice([{}, {"note": draw.choice(["", "äöü€", "😀x"])}])
                lots.append(lot)
            made = {"lots": lots} | draw.choice([{}, {"dock": None}, {"dock": draw.choice(["A", "b", ""])}])
            return made | draw.choice([{}, {"weight": draw.choice([0.3, -0.0, 1e-300, 7])}])
        return {"anything": [1, {}]}


@dataclass(frozen=True)
class Step:
    """what: commit, update, part (an update up to a place), rebuild, rollback, join (the log's segments), merge (the
    deltas of read models). size: events of a commit."""

    what: str
    size: int = 0
    source: int = 0
    engine: EngineName = "in-process"
    workers: int = 1


ENGINES = st.sampled_from([("in-process", 1), ("threads", 1), ("threads", 2)])
STEPS = st.builds(
    lambda what, size, source, engine: Step(what, size, source, *engine),
    st.sampled_from(["commit"] * 4 + ["update"] * 6 + ["part"] * 2 + ["rebuild", "rollback", "join", "merge"]),
    st.sampled_from([1, 1, 2, 3, 10, 60]),
    st.integers(0, 1),
    ENGINES,
)
TRICKLE = st.integers(3, 10).map(lambda n: [Step("commit", 1), Step("update")] * n)
"""Updates of one event each: their deltas are few beside the base, and are merged into one delta."""
BACK = st.sampled_from(["update", "part", "merge"]).map(
    lambda what: [Step("commit", 10), Step("rebuild"), Step("commit", 3), Step(what), Step("rollback"), Step("update")]
)
"""Rows and checkpoint of a former version are live again, and an update goes on from there."""
JOINED = st.just([Step("commit", 3), Step("part"), Step("join"), Step("update")])
SCHEDULES = st.lists(st.lists(STEPS, min_size=1, max_size=5) | TRICKLE | BACK | JOINED, min_size=1, max_size=3).map(
    lambda groups: [step for group in groups for step in group]
)


@dataclass
class Walk:
    """A schedule under way. into: how often deltas were merged into a base, and into a delta."""

    project: Project
    history: History
    partitions: int
    room: Room
    into: Counter[str] = field(default_factory=Counter)
    committed: int = 0

    def commit(self, source: str, events: int, *, every_tenant: bool = False) -> None:
        batch = self.history.commit(source, events, every_tenant=every_tenant)
        self.committed += events
        with LogWriter.open(self.project.root / "log", partitions=self.partitions, room=self.room) as writer:
            writer.append(source, batch)
            writer.commit(source, {"at": self.history.at})

    def begin(self, first: int) -> None:
        """What every scope has, so that the read models have their columns from the beginning."""
        for source in self.history.sources:
            self.commit(source, first, every_tenant=True)

    def take(self, step: Step) -> None:
        config = self.project.config
        match step.what:
            case "commit":
                sources = self.history.sources
                self.commit(sources[step.source % len(sources)], step.size)
            case "update":
                update(config, engine=step.engine, workers=step.workers)
            case "part":
                reached = [self.project.models.live(name) for name in NAMES]
                most = max(version.position for version in reached if version is not None)
                place = most + (self.committed - most + 1) // 2
                update(config, engine=step.engine, workers=step.workers, to=place)
            case "rebuild":
                rebuild(config, engine=step.engine, workers=step.workers, prove=3)
            case "rollback":
                for name in NAMES[:3]:
                    live, *kept = self.project.models.versions(name)
                    if kept:
                        rollback(config, name, to=kept[0].number)
                        self.into["rollback"] += kept[0].position < live.position
            case "join":
                with LogWriter.open(self.project.root / "log") as writer:
                    self.into["joined segments"] += writer.compact()
            case "merge":
                for name in NAMES[1:]:
                    self.project.models.compact(name)


def bytes_of_one_rebuild(
    root: Path, walk: Walk, history: History, schedule: list[Step], first: int
) -> dict[str, bytes]:
    """The same commits in a log of one partition, folded once, every aggregate proved by the plain twin."""
    plain = Walk(Project(root, ("depot_of_jobs",)), history, 1, Room())
    plain.begin(first)
    for step in schedule:
        if step.what == "commit":
            plain.take(step)
    assert plain.committed == walk.committed
    rebuild(plain.project.config, engine="in-process", prove="all")
    return plain.project.bytes(*NAMES)


@pytest.mark.slow
@settings(deadline=None, max_examples=EXAMPLES, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32),
    scopes=st.sampled_from([(("web",), ("",)), (("web", "app"), ("", "ä")), (("app",), ("t1", "t2"))]),
    aggregates=st.sampled_from([3, 40, 300]),
    first=st.sampled_from([5, 40, 250]),
    schedule=SCHEDULES,
    partitions=st.sampled_from([1, 1, 4, 4, 64]),
    room=st.builds(Room, st.sampled_from([7, 50, 1000]), st.just(1 << 20), st.sampled_from([0, 40])),
    many=st.sampled_from([1, 2, 8]),
    engine=ENGINES,
)
def test_any_schedule_gives_the_bytes_of_one_rebuild(
    seed: int,
    scopes: tuple[tuple[str, ...], tuple[str, ...]],
    aggregates: int,
    first: int,
    schedule: list[Step],
    partitions: int,
    room: Room,
    many: int,
    engine: tuple[EngineName, int],
) -> None:
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        pytest.MonkeyPatch.context() as patch,
    ):
        walk = Walk(Project(Path(one), ("depot_of_jobs",)), History(seed, aggregates, *scopes), partitions, room)
        patch.setattr(compaction, "MANY", many)
        compacted = compaction.compacted

        def counted(version: Any, partitions: dict[int, bool]) -> Any:
            walk.into.update("base" if into_base else "delta" for into_base in partitions.values())
            return compacted(version, partitions)

        patch.setattr(compaction, "compacted", counted)
        walk.begin(first)
        rebuild(walk.project.config, engine=engine[0], workers=engine[1], prove=5)
        for step in schedule:
            walk.take(step)
        update(walk.project.config, engine=engine[0], workers=engine[1])
        for what, times in walk.into.items():
            event(f"{what}: {times > 0}")
        found = walk.project.bytes(*NAMES)
        assert found == bytes_of_one_rebuild(Path(two), walk, History(seed, aggregates, *scopes), schedule, first)
