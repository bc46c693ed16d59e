"""Work on partitions in threads, results in order, with few of them in memory at a time."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["THREADS", "in_order", "threads_for"]

MEMORY = 512 << 20
"""What the payloads of all partitions that are worked on at once should stay below, in bytes."""

T = TypeVar("T")
R = TypeVar("R")

THREADS = min(4, os.cpu_count() or 1)
"""How many partitions are worked on at once: kernels, compression and hashing let go of the GIL."""


def threads_for(payload_bytes: int) -> int:
    """How many threads may each hold a partition's payloads, which are copied a few times on their way."""
    return max(1, min(THREADS, MEMORY // (4 * max(payload_bytes, 1))))


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int = THREADS) -> Iterator[R]:
    """``map(function, items)`` in ``threads`` threads; at most ``threads + 1`` results wait to be taken."""
    if threads <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="log") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()
