"""What limits a fold, in one sentence with the figure behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.jobs.benching.report import StageShare

__all__ = ["Measured", "bottleneck"]

START = 0.5
"""From this part of the time on, what a run costs whatever it folds is what limits it."""
IDLE = 0.2
"""From this part of the workers on that one partition keeps waiting, the skew limits it."""
GAIN = 0.25
"""What all workers gain over one, of what they might: under this part more of them are no help."""

_STAGES = {
    "scan": "reading the log (scan)",
    "fold": "the fold",
    "write": "writing the rows",
    "merge": "merging the rows of merged keys, which one process does",
}


@dataclass(frozen=True)
class Measured:
    """What the sentence rests on. seconds: of the largest size by all workers; alone: by one, None where that was not
    measured. start: the part of a fold of the whole log that is there whatever is folded. largest: the part of all
    events that the largest partition has. plain: projections that no kernel folds.
    """

    stages: Sequence[StageShare]
    seconds: float
    start: float
    workers: int
    busy: float
    largest: float
    alone: float | None
    plain: Sequence[str] = ()
    at_best: float = 0.0
    """How many times as fast as one all workers are, within the middle halves of the runs: a restless machine is no
    proof that they gain nothing."""


def bottleneck(found: Measured) -> str:
    """One sentence; the first that holds: the start, the skew, workers that do not add up, the dearest stage."""
    if found.start > START:
        return (
            f"The start limits a log of this size: {found.start:.0%} of a fold's time is there however few events "
            "it has (opening files, syncing them to the disk)."
        )
    if found.workers - found.busy > IDLE * found.workers:
        return (
            f"The skew of the partitions limits it: one has {found.largest:.0%} of the events, so {found.busy:.1f} of "
            f"{found.workers} workers can be busy at most."
        )
    if found.workers > 1 and found.alone is not None:
        times = found.alone / found.seconds
        if max(times, found.at_best) - 1 < GAIN * (found.workers - 1):
            why = (
                f"; {', '.join(found.plain)} is folded in plain Python, one worker of a process at a time"
                if found.plain
                else ", so they wait for the disk, the memory or other programs"
            )
            return f"More workers are no help: {found.workers} are {times:.2f} times as fast as one{why}."
    dearest = max(found.stages, key=lambda stage: stage.share)
    sentence = f"{_STAGES.get(dearest.stage, dearest.stage)} takes {dearest.share:.0%} of the workers' time"
    rate = f"{dearest.rate.median / 1e6:.2f} M" if dearest.rate.median >= 1e5 else f"{dearest.rate.median:,.0f}"
    plain = f", in plain Python: {', '.join(found.plain)}" if dearest.stage == "fold" and found.plain else ""
    return f"{sentence[0].upper()}{sentence[1:]}: {rate} events/s a worker{plain}."
