"""The bounded collections that a state may hold: the last values seen, and counters per bucket."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from runner.authoring.field_values import INT64_MAX, Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Buckets", "BucketsField", "LastField", "LastValues", "buckets", "last"]


class LastField:
    """What ``last(10)`` leaves in the class body until the class is complete."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity


class BucketsField:
    """What ``buckets(0, 10, 100)`` leaves in the class body until the class is complete."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges


def last(capacity: int) -> Any:
    """A state field that keeps the last ``capacity`` values (1..1000): ``seen: list[str] = last(10)``, then
    ``self.seen.append(v)``, which drops the oldest."""
    return LastField(capacity)


def buckets(*edges: float) -> Any:
    """A state field of counters: ``sizes: list[int] = buckets(0, 10, 100)``, then ``self.sizes.add(v)``.

    Counter i counts values v with edges[i-1] < v <= edges[i]; there is one counter more than edges.
    """
    return BucketsField(edges)


class LastValues:
    """The last values that were appended, oldest first. Reads like a list; is changed by ``append`` only."""

    __slots__ = ("_capacity", "_check", "_values")

    def __init__(self, capacity: int, check: Check, values: Iterable[Any] = ()) -> None:
        self._capacity = capacity
        self._check = check
        self._values = list(values)

    def append(self, value: Any) -> None:
        """Add a value; the oldest goes where there is no room."""
        self._values.append(self._check(value))
        if len(self._values) > self._capacity:
            del self._values[0]

    def copy(self) -> LastValues:
        """The same values, to be changed on their own."""
        return LastValues(self._capacity, self._check, self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __contains__(self, value: object) -> bool:
        return value in self._values

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LastValues):
            return self._values == other._values
        return self._values == list(other) if isinstance(other, (list, tuple)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes, as a list does

    def __repr__(self) -> str:
        return repr(self._values)


class Buckets:
    """Counters of values between edges. Reads like the list of counters; is changed by ``add`` and ``merge`` only."""

    __slots__ = ("_counts", "_edges")

    def __init__(self, edges: tuple[float, ...], counts: Iterable[int] | None = None) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1) if counts is None else list(counts)

    def add(self, value: float) -> None:
        """Count a value (int or float; NaN is a ValueError)."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"buckets count ints and floats, not {value!r}")
        if value != value:
            raise ValueError("NaN belongs into no bucket")
        self._raise(bisect_left(self._edges, value), 1)

    def merge(self, other: Buckets) -> None:
        """Add another's counters; both have the same edges."""
        if not isinstance(other, Buckets) or other._edges != self._edges:
            raise TypeError(f"buckets merge with buckets of the same edges, not {other!r}")
        for i, count in enumerate(other._counts):
            self._raise(i, count)

    def copy(self) -> Buckets:
        """The same counters, to be changed on their own."""
        return Buckets(self._edges, self._counts)

    def _raise(self, index: int, by: int) -> None:
        count = self._counts[index] + by
        if count > INT64_MAX:
            raise OverflowError(f"bucket {index}: {count} does not fit int64")
        self._counts[index] = count

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[int]:
        return iter(self._counts)

    def __getitem__(self, index: Any) -> Any:
        return self._counts[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Buckets):
            return self._edges == other._edges and self._counts == other._counts
        return self._counts == list(other) if isinstance(other, (list, tuple)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes, as a list does

    def __repr__(self) -> str:
        return repr(self._counts)
