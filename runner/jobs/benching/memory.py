"""How much anonymous memory workers take: looked at while they fold, from inside their own processes.

Anonymous memory is what the system cannot take back without a swap: states, rows, buffers. The mapped log is not part
of it. Only Linux tells it (``/proc/self/status``).
"""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.jobs.benching.report import Memory
from runner.jobs.folding.partition import fold_partitions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.jobs.folding.partition import FoldedPartition, FoldTask

__all__ = ["MemorySeen", "anonymous", "fold_watched", "memory_of"]

LOOK_SECONDS = 0.005
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class MemorySeen:
    """Of one process while it did one task: bytes at its beginning, and the most."""

    process: tuple[str, int]
    base: int
    peak: int


def anonymous() -> int | None:
    """Bytes of anonymous memory of this process; None where the system does not tell."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("RssAnon:")), None)
    return None if found is None else int(found) * 1024


def fold_watched(task: FoldTask) -> tuple[tuple[FoldedPartition, ...], MemorySeen | None]:
    """``fold_partitions``, and the memory meanwhile; engines run it."""
    base = anonymous()
    if base is None:
        return fold_partitions(task), None
    peak = [base]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            peak[0] = max(peak[0], anonymous() or 0)

    watch = threading.Thread(target=look, name="runner-memory", daemon=True)
    watch.start()
    try:
        folded = fold_partitions(task)
    finally:
        ended.set()
        watch.join()
    return folded, MemorySeen((socket.gethostname(), os.getpid()), base, max(peak[0], anonymous() or 0))


def memory_of(seen: Iterable[MemorySeen], workers: int) -> Memory | None:
    """What the tasks of one run say together; None where nothing was seen."""
    base: dict[tuple[str, int], int] = {}
    peak: dict[tuple[str, int], int] = {}
    for one in seen:
        base[one.process] = min(base.get(one.process, one.base), one.base)
        peak[one.process] = max(peak.get(one.process, 0), one.peak)
    if not base:
        return None
    # Threads share a process, workers of Ray have one each.
    each = max(1, workers // len(base))
    taken = max((peak[process] - base[process]) // each for process in base)
    return Memory(max(base.values()), taken, sum(peak.values()), workers, len(base))
