"""Explain and rollback."""

from __future__ import annotations

import pytest
from job_project import TINY, Project, Sent, expected, history

from runner.errors import ConfigError, JobError, ReadModelError
from runner.jobs.explain import explain
from runner.jobs.publishing.rollback import rollback
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.stats import CheckpointMoved, Fact

LIFE = [
    Sent("a", "opened", {"owner": "ann"}),
    Sent("b", "moved", {"amount": 9}),
    Sent("a", "moved", {"amount": 5, "note": "x"}),
    Sent("a", "unknown", {}),
    Sent("a", "closed", {}),
    Sent("a", "moved", {"amount": 2}),
]


def test_the_life_of_an_aggregates_row(project: Project) -> None:
    project.append(LIFE[:3], room=TINY)
    project.append(LIFE[3:])
    told = explain(project.config, "accounts", ["a"])
    assert told.scans == 5
    steps = list(told)
    assert [(s.position, s.handler) for s in steps] == [
        (1, "opened"), (3, "moved"), (4, ""), (5, "closed"), (6, "moved"),
    ]  # fmt: skip
    assert steps[0].before is None
    assert steps[0].after == {"owner": "ann", "balance": 0, "moves": 0, "note": None}
    assert steps[1].changed == ("balance", "moves", "note")
    assert steps[1].payload == '{"amount": 5, "note": "x"}'
    assert steps[3].deleted
    assert not steps[2].deleted
    assert steps[4].before is None
    assert steps[4].after == {"owner": "", "balance": 2, "moves": 1, "note": None}
    assert (steps[4].source, steps[4].aggregate_id, steps[4].version) == ("bank", "a", 5)
    assert [s.position for s in explain(project.config, "accounts", ["a"], to=3)] == [1, 3]


def test_child_rows_by_whole_key_or_by_aggregate(project: Project) -> None:
    lines = [{"sku": "s1", "quantity": 2}, {"sku": "s2", "quantity": 1}]
    project.append([Sent("a", "bought", {"lines": lines}), Sent("a", "bought", {"lines": lines[:1]})])
    project.append([Sent("a", "bought", {"lines": []}), Sent("a", "moved", {"amount": 1})])
    steps = list(explain(project.config, "items", ["a", "s1"]))
    assert [(s.position, s.element, s.after) for s in steps] == [(1, 0, {"quantity": 2}), (2, 0, {"quantity": 4})]
    every = list(explain(project.config, "items", ["a"]))
    assert [s.key["sku"] for s in every if s.key] == ["s1", "s2", "s1"]
    assert [(s.position, s.passed_over) for s in every if not s.handler] == [(3, "no element"), (4, "no handler")]
    with pytest.raises(JobError, match=r"no event of the row \('a', 's9'\) of items .*`runner explain items a` shows"):
        explain(project.config, "items", ["a", "s9"])
    with pytest.raises(ConfigError, match="--to 0: nothing of the log lies up to it"):
        explain(project.config, "items", ["a", "s2"], to=0)


def test_merged_keys_take_a_scan_and_end_at_the_live_row(project: Project) -> None:
    events = history(3)
    project.append(events, room=TINY)
    told = explain(project.config, "totals", ["moved"])
    assert told.scans == 200
    steps = list(told)
    assert [s.position for s in steps] == sorted(s.position for s in steps)
    assert steps[-1].after == dict(zip(("events", "highest"), expected(events)["totals"]["moved"], strict=True))


def test_the_last_state_is_the_live_row(project: Project) -> None:
    events = history(4)
    project.append(events, room=TINY)
    rows = expected(events)["accounts"]
    for aggregate in ("a-0", "a-7", "a-19"):
        last = [s for s in explain(project.config, "accounts", [aggregate]) if s.handler][-1].after
        assert (None if last is None else tuple(last.values())) == rows.get(aggregate)


def test_a_failing_event_ends_the_life_with_its_reason(project: Project) -> None:
    project.append([Sent("a", "moved", {"amount": 2**63 - 1}), Sent("a", "moved", {"amount": 1}), LIFE[0]])
    steps = list(explain(project.config, "accounts", ["a"]))
    assert "OverflowError" in steps[-1].failure
    assert not steps[-1].deleted
    assert steps[-1].position == 2


def test_what_is_not_there_is_named(project: Project) -> None:
    project.append(LIFE)
    with pytest.raises(JobError, match="no aggregate 'zz'"):
        explain(project.config, "accounts", ["zz"])
    with pytest.raises(ConfigError, match=r"key of totals is \(type\), and 2 parts"):
        explain(project.config, "totals", ["moved", "x"])
    project.append(LIFE, source="other")
    with pytest.raises(JobError, match="2 aggregates have the id 'a'"):
        explain(project.config, "accounts", ["a"])
    assert next(iter(explain(project.config, "accounts", ["a"], source="other"))).position == 7


def test_rollback_takes_rows_checkpoint_and_saved_states_back(project: Project) -> None:
    events = history(5)
    project.append(events[:100])
    rebuild(project.config, ["accounts"], engine="in-process")
    with pytest.raises(ReadModelError, match="earlier version"):
        rollback(project.config, "accounts")
    project.append(events[100:])
    rebuild(project.config, ["accounts"], engine="in-process")
    facts: list[Fact] = []
    report = rollback(project.config, "accounts", listener=facts.append)
    assert (report.version, report.former_version, report.checkpoint) == (1, 2, 100)
    assert [f.position for f in facts if isinstance(f, CheckpointMoved)] == [100]
    assert project.rows("accounts") == expected(events[:100])["accounts"]
    update(project.config, ["accounts"], engine="in-process")
    assert project.rows("accounts") == expected(events)["accounts"]
    assert rollback(project.config, "accounts", to=2).version == 2
    assert project.rows("accounts") == expected(events)["accounts"]
