"""Given events, expect rows: projections tested in one line, folded plainly and compiled, whole and in pieces.

::

    given(Deposited(amount=5, currency="EUR"), Withdrawn(amount=2)).expect(Accounts(balance=3, currency="EUR"))

Every expectation folds the events in all ways of ``runner.testing.folds.all_ways``, which must agree.
"""

from __future__ import annotations

import difflib
import pprint
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.authoring.definition import Event, ProjectionDefinition, definition_of
from runner.errors import FoldFailure
from runner.testing.batches import SentEvent, sent
from runner.testing.folds import Rows, all_ways, fold_rows, plain_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.authoring.projection import Projection

__all__ = ["Given", "given"]


def given(*events: Event, absent: Mapping[int, Iterable[str]] | None = None) -> Given:
    """A history: events in the order of their positions. Headers that are left out are filled in (``sent``).

    absent: by index of the event, fields that its payload does not have; the class default or None stands in for them.
    """
    return Given(sent(events, absent=absent))


@dataclass(frozen=True)
class Given:
    """A history, and what is expected of projections over it. Each expectation raises AssertionError, and gives the
    history back, so that they can be chained.
    """

    events: tuple[SentEvent, ...]

    def number_of_times(self, times: int) -> Given:
        """Every event comes so many times, one behind the other: a projection that counts none of them twice is
        idempotent.
        """
        again = [e.event for e in self.events for _ in range(times)]
        headers = [e for e in self.events for _ in range(times)]
        done = [
            SentEvent(event, h.type, h.aggregate_id, h.scope, i + 1, i + 1, h.recorded_at, h.absent)
            for i, (event, h) in enumerate(zip(again, headers, strict=True))
        ]
        return Given(tuple(done))

    def expect(self, state: Projection, **key: Any) -> Given:
        """One row, in this state: ``expect(Accounts(balance=3))``.

        key: which row, where there are several: ``expect(OrderLines(quantity=2), sku="a")``.
        """
        definition = definition_of(type(state))
        rows = self.rows(definition)
        chosen = [r for r in rows.values() if all(r.get(n) == v for n, v in key.items())]
        where = f" with {key}" if key else ""
        if len(chosen) != 1:
            raise AssertionError(
                f"expected one row of {definition.name}{where}, found {_shown(chosen or rows.values())}"
            )
        wanted = {f.name: plain_value(state.__dict__[f.name]) for f in definition.fields}
        found = {f.name: chosen[0][f.name] for f in definition.fields}
        if wanted != found:
            raise AssertionError(f"{definition.name}{where}:\n{_difference(wanted, found)}")
        return self

    def expect_rows(self, projection: type[Projection], rows: Iterable[Mapping[str, Any]]) -> Given:
        """Exactly these rows, in any order: key columns and the state fields that are not at their defaults."""
        definition = definition_of(projection)
        columns = [p.name for p in definition.key]
        fresh = projection()
        defaults = {f.name: plain_value(fresh.__dict__[f.name]) for f in definition.fields}
        wanted = {tuple(r[c] for c in columns): {**defaults, **{n: plain_value(v) for n, v in r.items()}} for r in rows}
        found = {tuple(r[c] for c in columns): r for r in self.rows(definition).values()}
        found = {k: {n: v for n, v in r.items() if n in defaults or n in columns} for k, r in found.items()}
        if wanted != found:
            raise AssertionError(f"rows of {definition.name}:\n{_difference(wanted, found)}")
        return self

    def expect_none(self, projection: type[Projection], **key: Any) -> Given:
        """No row (with this key): deleted, or never made."""
        rows = [r for r in self.rows(definition_of(projection)).values() if all(r.get(n) == v for n, v in key.items())]
        if rows:
            raise AssertionError(f"expected no row of {projection.__name__} {key or ''}, found {_shown(rows)}")
        return self

    def expect_failure(
        self, projection: type[Projection], *, position: int | None = None, handler: str = "", reason: str = ""
    ) -> Given:
        """A handler fails. position, handler: where; reason: a part of the failure's reason ("OverflowError")."""
        definition = definition_of(projection)
        found = self.outcome(definition)
        if not isinstance(found, FoldFailure):
            raise AssertionError(  # noqa: TRY004 - an expectation that is not met
                f"expected a failure of {definition.name}, found the rows {_shown(found.values())}"
            )
        right = (position in (None, found.position), handler in ("", found.handler), reason in found.reason)
        if not all(right):
            raise AssertionError(f"expected a failure at {position} in {handler or 'any'}: {reason!r}; found {found}")
        return self

    def rows(self, definition: ProjectionDefinition) -> Rows:
        """The rows in which all ways agree. A failure is an AssertionError."""
        found = self.outcome(definition)
        if isinstance(found, FoldFailure):
            raise AssertionError(  # noqa: TRY004 - an expectation that is not met
                f"{found.projection}.{found.handler} failed at position {found.position}: {found.reason}"
            )
        return found

    def outcome(self, definition: ProjectionDefinition) -> Rows | FoldFailure:
        """What all ways give: rows, or the failure of the lowest position. Ways that differ are an AssertionError."""
        first: Rows | FoldFailure | None = None
        for way in all_ways(len(self.events), compiled=definition.compiled):
            found = fold_rows(definition, self.events, way)
            if first is None:
                first = found
            elif _comparable(found) != _comparable(first):
                raise AssertionError(
                    f"{definition.name} folded {way} gives other rows than folded plainly:\n"
                    f"{_difference(_comparable(first), _comparable(found))}"
                )
        assert first is not None
        return first


def _comparable(found: Rows | FoldFailure) -> object:
    # The partition is the way's own.
    return (found.handler, found.position, found.event_type) if isinstance(found, FoldFailure) else found


def _shown(rows: Iterable[Mapping[str, Any]]) -> str:
    return pprint.pformat([dict(r) for r in rows], width=100, sort_dicts=False) or "none"


def _difference(wanted: object, found: object) -> str:
    before, after = (pprint.pformat(v, width=80, sort_dicts=True).splitlines() for v in (wanted, found))
    return "\n".join(difflib.unified_diff(before, after, "expected", "found", lineterm="", n=3))
