"""Rivals in turns: each a process of its own with its events in memory, all rows compared before anything is timed."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivals.comparisons import COMPARISONS, reference_digest
from surroundings import say
from workloads import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rivals.comparisons import Rival

__all__ = ["Contender", "Entry", "check_equal", "contest"]

HERE = Path(__file__).parent
SMALL = 100_000
"""Of so few events all rivals load at the same time, for the processes' own start is most of it."""
SLOW_ROUNDS = 3
"""Of rivals whose round takes seconds."""


@dataclass(frozen=True)
class Entry:
    """A rival and the workload that it folds. events: of the workload; partitions: of the log, 0: the runner's choice.

    sample: the most that a rival with a sample folds.
    """

    rival: str
    workload: str
    events: int
    seed: int = 1
    partitions: int = 0
    sample: int = 10_000_000

    @property
    def most(self) -> int:
        """How many of the first events this rival folds; 0: all."""
        own = COMPARISONS[self.rival].sample if self.rival in COMPARISONS else 0
        return min(own, self.sample, self.events) if own else 0

    def command(self, rival: str) -> list[str]:
        numbers = (self.events, self.seed, self.partitions, self.most)
        return [sys.executable, "-m", "rivals.comparisons", rival, self.workload, *map(str, numbers)]


def environment(threads: int) -> dict[str, str]:
    """Of a rival: so many threads for those that ask the environment, and the path to the modules beside this one."""
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(names, str(threads))}


class Contender:
    """A rival's process."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.rival: Rival = COMPARISONS[entry.rival]
        self._process = subprocess.Popen(
            entry.command(entry.rival),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(self.rival.threads),
        )
        self.digest, self.events, self.octets = "", 0, 0
        self.seconds: list[float] = []
        self.peak_rss_mb = 0.0

    def loaded(self) -> None:
        """Wait until it has its events and has folded them once."""
        first = self._answer()
        self.digest, self.events, self.octets = first["digest"], first["events"], first["octets"]

    def round(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.peak_rss_mb = answer["peak_rss_mb"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        # What libraries print on their own is passed over.
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(f"rival {self.entry.rival} ended with {self._process.wait()}")

    def figures(self) -> dict[str, Any]:
        """Events a second (median, lowest, highest), seconds (median), peak memory."""
        speeds = sorted(self.events / s for s in self.seconds)
        found = {
            "events": self.events,
            "events_per_second": round(self.events / statistics.median(self.seconds)),
            "lowest": round(speeds[0]),
            "highest": round(speeds[-1]),
            "seconds": round(statistics.median(self.seconds), 4),
            "rounds": len(self.seconds),
            "threads": self.rival.threads,
            "peak_rss_mb": round(self.peak_rss_mb),
        }
        if self.octets:
            found["gigabytes_per_second"] = round(self.octets / statistics.median(self.seconds) / 1e9, 2)
        return found


def reference(entry: Entry) -> str:
    """The digest that this entry's rows must have; of many events in a process that then gives its memory back."""
    if entry.events <= SMALL:
        return reference_digest(prepare(entry.workload, entry.events, entry.seed, entry.partitions or None), entry.most)
    done = subprocess.run(entry.command("reference"), check=True, stdout=subprocess.PIPE, text=True, env=environment(2))
    return str(json.loads(done.stdout.splitlines()[-1])["digest"])


def check_equal(contenders: Sequence[Contender], references: dict[tuple[str, int], str]) -> None:
    """All rows are what they must be, or nothing is timed. references: by workload and sample."""
    for contender in contenders:
        if COMPARISONS[contender.entry.rival].name == "scan":
            continue  # makes no rows: its sum says only that it has read everything
        if contender.digest != references[contender.entry.workload, contender.entry.most]:
            raise SystemExit(
                f"{contender.entry.rival} gives other rows of {contender.entry.workload}: nothing was timed"
            )


def contest(entries: Sequence[Entry], rounds: int) -> dict[str, Any]:
    """Figures by "rival" or, of several workloads, "rival/workload"; and under "not_run" who could not, and why."""
    not_run = {e.rival: why for e in entries if (why := COMPARISONS[e.rival].why_not)}
    here = [e for e in entries if e.rival not in not_run]
    for name, why in not_run.items():
        say(f"not run: {name}: {why}")
    for workload, events, seed, partitions in dict.fromkeys((e.workload, e.events, e.seed, e.partitions) for e in here):
        prepare(workload, events, seed, partitions or None)
    references = {(e.workload, e.most): e for e in here}
    expected = {key: reference(entry) for key, entry in references.items()}
    contenders: list[Contender] = []
    try:
        for entry in here:
            say(f"loading {entry.rival} with {entry.workload}")
            contenders.append(Contender(entry))
            if entry.events > SMALL:
                contenders[-1].loaded()
        for contender in contenders:
            if contender.entry.events <= SMALL:
                contender.loaded()
        check_equal(contenders, expected)
        say(f"all rows equal; {rounds} rounds")
        for number in range(rounds):
            # Another order each round, so that nobody always follows the same neighbour.
            turn = number % max(1, len(contenders))
            for contender in contenders[turn:] + contenders[:turn]:
                if not contender.rival.slow or number < SLOW_ROUNDS:
                    contender.round()
    finally:
        for contender in contenders:
            contender.close()
    several = len({e.workload for e in entries}) > 1
    names = {c: f"{c.entry.rival}/{c.entry.workload}" if several else c.entry.rival for c in contenders}
    return {"figures": {names[c]: c.figures() for c in contenders}, "not_run": not_run}
