"""A bench beside an earlier one: what is slower now, beyond a threshold and beyond what runs differ by anyway.

A figure is worse where its median moved by more than the threshold *and* the middle halves of its runs, then and now,
do not touch. Neither alone says anything: quiet figures move by a hundredth for no reason, restless ones by a third.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from runner.errors import ConfigError
from runner.jobs.benching.report import SCHEMA, Compared, Comparison, Figure, Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runner.jobs.benching.report import BenchReport

__all__ = ["LEAST_RUNS", "Earlier", "check_comparable", "compared", "read_earlier"]

LEAST_RUNS = 3
"""Of fewer runs nothing is known of their spread."""


@dataclass(frozen=True)
class Earlier:
    """What a comparison needs of an earlier report. sizes and workers: what was measured, to be measured again."""

    file: str
    measured_at: str
    projections: tuple[str, ...]
    fingerprints: Mapping[str, str]
    engine: str
    workers: int
    machine: Mapping[str, Any]
    partitions: tuple[int, ...]
    of_partitions: int
    sizes: tuple[float, ...]
    worker_counts: tuple[int, ...]
    events: int
    figures: tuple[Figure, ...]


def read_earlier(file: Path) -> Earlier:
    """The report of an earlier ``runner bench --json``. Raises ConfigError where the file is none of this schema."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--compare {file}: cannot be read: {error.strerror}", hint=_MAKE) from None
    except ValueError:
        raise ConfigError(f"--compare {file}: is not JSON", hint=_MAKE) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema is None or "figures" not in data:
        raise ConfigError(f"--compare {file}: is not a report of runner bench", hint=_MAKE)
    if schema != SCHEMA:
        raise ConfigError(
            f"--compare {file}: has schema {schema}, this runner compares schema {SCHEMA}",
            hint="measure anew with this release, and compare with that",
        )
    try:
        return _earlier(str(file), data)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"--compare {file}: is not whole ({type(error).__name__}: {error})", hint=_MAKE) from None


_MAKE = "`runner bench --json > FILE` makes one"


def _earlier(file: str, data: dict[str, Any]) -> Earlier:
    sample = data["sample"]
    return Earlier(
        file=file,
        measured_at=str(data["measured_at"]),
        projections=tuple(data["projections"]),
        fingerprints=dict(data["fingerprints"]),
        engine=str(data["engine"]),
        workers=int(data["workers"]),
        machine=dict(data["machine"]),
        partitions=tuple(int(p) for p in sample["partitions"]),
        of_partitions=int(sample["of_partitions"]),
        sizes=tuple(float(size) for size in sample["sizes"]),
        worker_counts=tuple(int(w) for w in sample["workers"]),
        events=int(sample["events"]),
        figures=tuple(_figure(figure) for figure in data["figures"]),
    )


def _figure(data: dict[str, Any]) -> Figure:
    known = {f.name: data[f.name] for f in fields(Figure)}
    return Figure(**{**known, "value": Spread(**data["value"])})


def check_comparable(earlier: Earlier, projections: Sequence[str], runs: int) -> None:
    """Raise ConfigError, before anything is measured, where a comparison would say nothing."""
    if sorted(earlier.projections) != sorted(projections):
        raise ConfigError(
            f"--compare {earlier.file}: measured {', '.join(earlier.projections)}, this run {', '.join(projections)}",
            hint=f"`runner bench {' '.join(earlier.projections)} --compare {earlier.file}` measures the same",
        )
    then = min((f.value.runs for f in earlier.figures if f.unit == "events/s"), default=0)
    for what, count in (("this run has", runs), ("the earlier report has", then)):
        if count < LEAST_RUNS:
            raise ConfigError(
                f"--compare {earlier.file}: {what} {count} runs of a figure, and of fewer than {LEAST_RUNS} nothing is "
                "known of their spread",
                hint=f"measure with --runs {LEAST_RUNS} or more",
            )


def compared(earlier: Earlier, now: BenchReport, threshold: float) -> Comparison:
    """The figures that both have, in the order of the new one. threshold: relative, 0.1 for a tenth."""
    then = {figure.name: figure for figure in earlier.figures}
    found = tuple(_compared(then[f.name], f, threshold) for f in now.figures if f.name in then)
    return Comparison(earlier.file, earlier.measured_at, threshold, found, tuple(_notes(earlier, now)))


def _compared(then: Figure, now: Figure, threshold: float) -> Compared:
    before, after = then.value, now.value
    change = after.median / before.median - 1 if before.median else 0.0
    verdict: Literal["same", "better", "worse"] = "same"
    # As much less as the threshold is more: half as fast is as bad as twice the time.
    moved = max(after.median, before.median) > min(after.median, before.median) * (1 + threshold)
    apart = after.low > before.high or after.high < before.low
    if moved and apart and abs(after.median - before.median) > now.slack:
        verdict = "better" if (change > 0) == (now.better == "higher") else "worse"
    return Compared(now.name, now.unit, before, after, change, verdict)


def _notes(earlier: Earlier, now: BenchReport) -> list[str]:
    """What makes the two less comparable, a line each."""
    found = []
    machine = (now.machine.processor, now.machine.cores)
    then = (earlier.machine.get("processor"), earlier.machine.get("cores"))
    if machine != then:
        found.append(f"another machine: {then[0]}, {then[1]} cores then; {machine[0]}, {machine[1]} cores now")
    if earlier.engine != now.engine:
        found.append(f"another engine: {earlier.engine} then, {now.engine} now")
    changed = [n for n in now.projections if earlier.fingerprints.get(n) != now.fingerprints.get(n)]
    if changed:
        found.append(f"changed since: {', '.join(changed)}")
    if earlier.events and not 0.8 <= now.sample.events / earlier.events <= 1.25:
        found.append(f"another amount: {earlier.events:,} events then, {now.sample.events:,} now")
    missing = {figure.name for figure in earlier.figures} - {figure.name for figure in now.figures}
    found += [f"not measured now: {name}" for name in sorted(missing)]
    return found
