"""The twin: folds a projection in plain Python, slowly and obviously. What it gives is what the compiled fold must
give.

It decides where the kernel refuses, names the event where a handler fails, folds projections with
``compiled=False``, proves samples and explains rows. Handlers run with every arithmetic result checked
(``runner.fold.checked``).

A row is there once a handler was called for its key: an event whose list is empty makes no row through an
each-handler.
"""

from __future__ import annotations

import decimal
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runner.authoring.field_values import EXACT, check_for
from runner.errors import FoldFailure
from runner.fold.checked import CheckedFunctions, checked_functions
from runner.fold.outcome import Batches, ProjectionOutcome, SavedRows
from runner.fold.plain_events import Kept, LogNames, PlainChunk, PlainEvent, Wanted, plain_events
from runner.fold.plain_state import copied, same_state
from runner.fold.rows import Row, keys_table, rows_table, saved_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from runner.authoring.definition import HandlerDefinition, KeySource, ProjectionDefinition
    from runner.authoring.events import Event
    from runner.batch import Batch

__all__ = ["LogNames", "Step", "Wanted", "fold_plain", "plain_steps"]

Key = tuple[Any, ...]


def fold_plain(
    definition: ProjectionDefinition,
    batches: Batches,
    names: LogNames,
    *,
    partition: int = 0,
    saved: SavedRows | None = None,
    wanted: Wanted | None = None,
) -> ProjectionOutcome | FoldFailure:
    """Fold one projection over one partition.

    batches: gives the partition's batches, with the position column and ``definition.header_columns``; called twice
    with saved. saved: the rows to continue from (update); then only rows that differ from them come back. wanted:
    folds only these aggregates. A failing handler gives the FoldFailure of the lowest position.
    """
    fold = _Fold(definition, names)
    if saved is not None and not definition.merged:
        fold.continue_from(saved, batches())
    events = 0
    folded = 0

    def counted() -> Iterator[Batch]:
        nonlocal events
        for batch in batches():
            events += len(batch) if wanted is None else int(wanted(batch.aggregates)[batch.aggregate].sum())
            yield batch

    with decimal.localcontext(EXACT):
        for chunk in plain_events(definition, counted(), names, wanted):
            folded += len(chunk)
            failure = fold.take(chunk)
            if failure is not None:
                return failure.named(definition, names, partition)
    live, deleted = fold.result(changed_only=saved is not None and not definition.merged)
    return ProjectionOutcome(
        rows=rows_table(definition, live, names.identity),
        deleted=None if saved is None else keys_table(definition, deleted, names.identity),
        folded=folded,
        passed_over=events - folded,
        by_twin=True,
    )


@dataclass(frozen=True)
class Step:
    """One call of a handler. before and after: the state fields by name; before None: the row was not there, after
    None: the row was deleted. changed: names of the fields that differ. failure: why the handler failed, else "".

    key: the row's key columns by name. element: index in the event's list for an each-handler, else None.
    """

    position: int
    event_type: str
    aggregate_id: str
    scope: tuple[str, str]
    handler: str
    event: Event
    element: int | None
    key: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changed: tuple[str, ...]
    failure: str = ""


def plain_steps(
    definition: ProjectionDefinition,
    batches: Batches,
    names: LogNames,
    *,
    wanted: Wanted | None = None,
    kept: Kept | None = None,
) -> Iterator[Step]:
    """The fold from the first event, one step per call of a handler, ascending by position; ends at a failure.

    wanted, kept: only these aggregates, only these events.
    """
    fold = _Fold(definition, names)
    for chunk in plain_events(definition, batches(), names, wanted, kept):
        for i in range(len(chunk)):
            with decimal.localcontext(EXACT):
                steps = list(fold.steps(chunk, i))
            yield from steps
            if steps and steps[-1].failure:
                return


@dataclass(frozen=True)
class _Failed:
    event: PlainEvent
    handler: str
    reason: str

    def named(self, definition: ProjectionDefinition, names: LogNames, partition: int) -> FoldFailure:
        return FoldFailure(
            projection=definition.name,
            handler=self.handler,
            position=self.event.position,
            aggregate_id=self.event.key[1],
            event_type=names.types[self.event.type_code],
            reason=self.reason,
            partition=partition,
        )


@dataclass(frozen=True)
class _Bound:
    """A handler with its checked function. parts: what computes the key parts (all but the aggregate of an unmerged
    key).
    """

    name: str
    function: Callable[..., Any]
    cls: str
    each: str
    parts: tuple[Callable[[Event, Any], Any], ...]


class _Fold:
    """The states of one projection in one partition, by key. An unmerged key begins with (scope, aggregate id)."""

    def __init__(self, definition: ProjectionDefinition, names: LogNames) -> None:
        self.definition, self.names = definition, names
        self.checked: CheckedFunctions = checked_functions(definition)
        self.rows: dict[Key, Row] = {}
        self.before: dict[Key, Row] = {}
        self.touched: set[Key] = set()
        self.updates = False
        self.plans = {
            code: tuple(self._bound(h) for h in definition.handlers_of(name)) for code, name in enumerate(names.types)
        }
        self.scope_codes = {scope: i for i, scope in enumerate(names.scopes)}

    # What a handler needs

    def _bound(self, handler: HandlerDefinition) -> _Bound:
        sources = list(zip(self.definition.key, handler.key, strict=True))
        if not self.definition.merged:
            sources = sources[1:]
        parts = tuple(self._part(source, check_for(part.type, part.name, part.enums)) for part, source in sources)
        cls = handler.event.cls.__module__ + ":" + handler.event.cls.__qualname__
        return _Bound(handler.name, self.checked.handlers[handler.name], cls, handler.each, parts)

    def _part(self, source: KeySource, check: Callable[[Any], Any]) -> Callable[[Event, Any], Any]:
        name = source.name
        if source.scope == "function":
            function = self.checked.keys[name]
            if source.takes_element:
                return lambda event, element: check(function(event, element))
            return lambda event, _: check(function(event))
        if source.scope == "element":
            return (lambda _, element: element) if not name else lambda _, element: getattr(element, name)
        return lambda event, _: getattr(event, name)

    # Folding

    def take(self, chunk: PlainChunk) -> _Failed | None:
        """Fold events in order; the first failure ends it."""
        merged, unreadable = self.definition.merged, chunk.unreadable
        name = ""
        for i, (code, key) in enumerate(zip(chunk.codes, chunk.keys, strict=True)):
            try:
                if i in unreadable:
                    return _Failed(chunk.event(i), self.plans[code][0].name, unreadable[i])
                for bound in self.plans[code]:
                    name = bound.name
                    made = chunk.objects[bound.cls][i]
                    if bound.each:
                        for element in getattr(made, bound.each):
                            self.call(bound, () if merged else key, chunk, i, made, element)
                    else:
                        self.call(bound, () if merged else key, chunk, i, made)
            except Exception as error:  # whatever the author's code raises is the event's failure
                return _Failed(chunk.event(i), name, self.reason(error))
        return None

    def call(self, bound: _Bound, aggregate: Key, chunk: PlainChunk, i: int, made: Event, *element: Any) -> None:
        """One call of a handler."""
        key = aggregate
        if bound.parts:
            one = element[0] if element else None
            key = (*aggregate, *[part(made, one) for part in bound.parts])
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = self._new(key, chunk.event(i))
        if self.updates:
            self.touched.add(key)
        bound.function(row.state, made, *element)
        if "_deleted" in row.state.__dict__:
            del self.rows[key]

    def _new(self, key: Key, event: PlainEvent) -> Row:
        state = self.definition.cls()
        if self.definition.merged:
            return Row((), key, state)
        identity = self.names.scopes[key[0]] if self.names.identity else ()
        aggregates = event.batch.aggregates
        hi, lo = int(aggregates.hi[event.aggregate]), int(aggregates.lo[event.aggregate])
        return Row(identity, key[1:], state, hi, lo)

    def reason(self, error: Exception) -> str:
        """The error with the author's line where it came up."""
        where = author_line(error.__traceback__, self.checked.files)
        text = str(error)
        return f"{type(error).__name__}{': ' + text if text else ''}{where}"

    # Explaining

    def steps(self, chunk: PlainChunk, i: int) -> Iterator[Step]:
        """Every handler call of an event, with the states around it."""
        event = chunk.event(i)
        aggregate: Key = () if self.definition.merged else event.key
        for bound in self.plans[event.type_code]:
            made = chunk.objects[bound.cls][i]
            failure = chunk.unreadable.get(i, "")
            elements: list[tuple[int | None, Any]] = [(None, None)]
            if bound.each and not failure:
                try:
                    elements = list(enumerate(getattr(made, bound.each)))
                except ValueError as error:  # an element that its type does not have
                    failure = self.reason(error)
            for n, element in elements:
                before: Row | None = None
                key: Key | None = None
                if not failure:
                    try:
                        key = (*aggregate, *[part(made, element) for part in bound.parts])
                        found = self.rows.get(key)
                        before = None if found is None else copied(found)
                        self.call(bound, aggregate, chunk, i, made, *(() if n is None else (element,)))
                    except Exception as error:  # whatever the author's code raises is the event's failure
                        failure = self.reason(error)
                yield self._step(bound, event, made, n, key, before, failure)
                if failure:
                    return

    def _step(
        self,
        bound: _Bound,
        event: PlainEvent,
        made: Event,
        element: int | None,
        key: Key | None,
        before: Row | None,
        failure: str,
    ) -> Step:
        after = self.rows.get(key) if key is not None else None
        old = _shown(self.definition, before)
        new = None if failure else _shown(self.definition, after)
        fields = [f.name for f in self.definition.fields]
        base = _shown(self.definition, Row((), (), self.definition.cls())) if old is None else old
        changed = () if new is None or base is None else tuple(n for n in fields if base[n] != new[n])
        columns = [p.name for p in self.definition.key]
        values = () if key is None else key if self.definition.merged else key[1:]
        return Step(
            position=event.position,
            event_type=self.names.types[event.type_code],
            aggregate_id=event.key[1],
            scope=self.names.scopes[int(event.batch.aggregates.scope[event.aggregate])],
            handler=bound.name,
            event=made,
            element=element,
            key=dict(zip(columns, values, strict=False)),
            before=old,
            after=new,
            changed=changed,
            failure=failure,
        )

    # Saved rows

    def continue_from(self, saved: SavedRows, batches: Any) -> None:
        """Load the saved rows of the aggregates that have events."""
        self.updates = True
        pairs: list[npt.NDArray[np.uint64]] = []
        for batch in batches:
            used = np.unique(batch.aggregate)
            pairs.append(np.stack([batch.aggregates.hi[used], batch.aggregates.lo[used]]))
        if not pairs:
            return
        hashes = np.unique(np.concatenate(pairs, axis=1), axis=1)
        table = saved(self.definition.name, np.ascontiguousarray(hashes[0]), np.ascontiguousarray(hashes[1]))
        for row in saved_rows(self.definition, table, self.names.identity):
            scope = self.scope_codes[self._scope_of(row)]
            key = (scope, *row.key)
            self.rows[key] = row
            self.before[key] = copied(row)

    def _scope_of(self, row: Row) -> tuple[str, str]:
        if not self.names.identity:
            return self.names.scopes[0]
        source, tenant = row.identity
        return source, tenant

    def result(self, *, changed_only: bool) -> tuple[list[Row], list[Row]]:
        """Live rows (or those that differ from the saved ones), and saved rows that are gone."""
        if not changed_only:
            return list(self.rows.values()), []
        changed = [
            row
            for key in self.touched
            if (row := self.rows.get(key)) is not None
            and ((old := self.before.get(key)) is None or not same_state(self.definition, old, row))
        ]
        return changed, [old for key, old in self.before.items() if key not in self.rows]


def _shown(definition: ProjectionDefinition, row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    state = copied(row).state
    return {f.name: state.__dict__[f.name] for f in definition.fields}


def author_line(trace: TracebackType | None, files: frozenset[str]) -> str:
    """ " (file:line)" of the innermost frame in the author's files; "" without one."""
    frames = [f for f in traceback.extract_tb(trace) if f.filename in files]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
