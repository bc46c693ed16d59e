"""Explain a row: its life event by event, with the state after each and what changed, folded by the plain twin.

A key of the aggregate needs the aggregate's own events alone. Of a merged key any event may be: the whole log's key
columns are searched, and the twin folds what they leave. ``Explanation.scans`` says how many events are looked at.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.errors import ConfigError, JobError
from runner.fold.key_events import KeyEvents
from runner.fold.plain import plain_steps
from runner.fold.plain_events import LogNames
from runner.jobs.folding.preparing import chosen_definitions, with_columns
from runner.jobs.proving.sampling import Sample
from runner.jobs.records.recording import Recording
from runner.log import Log
from runner.positions import START, PartitionId, Position
from runner.stats import ignore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from runner.authoring.definition import ProjectionDefinition
    from runner.batch import Batch
    from runner.config import Config
    from runner.fold.plain import Step
    from runner.log import RawEvent
    from runner.positions import Cut, SourcePosition
    from runner.stats import Listener

__all__ = ["ExplainedStep", "Explanation", "explain"]


@dataclass(frozen=True)
class ExplainedStep:
    """One event in the life of a row. handler "": it was passed over, for the reason in ``passed_over``.

    key: the row's key columns. before and after: the state's fields; before None: the row began, after None: it
    was deleted (or, with ``failure``, the handler failed). element: index in the event's list. payload: the JSON text
    as it was synced; "" for merged keys. source and tenant: the aggregate's.
    """

    position: int
    event_type: str
    aggregate_id: str
    source: str
    tenant: str
    version: int | None
    recorded_at: datetime | None
    payload: str
    handler: str = ""
    element: int | None = None
    key: Mapping[str, Any] | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    changed: tuple[str, ...] = ()
    failure: str = ""
    passed_over: str = ""

    @property
    def deleted(self) -> bool:
        """Whether the handler deleted the row."""
        return bool(self.handler) and self.after is None and not self.failure


@dataclass(frozen=True)
class Explanation:
    """The life of one row, or of the rows of one aggregate where the rest of the key was not given. Iterate once.

    scans: how many events have to be looked at; cut: up to where.
    """

    definition: ProjectionDefinition
    key: tuple[str, ...]
    cut: Cut
    scans: int
    steps: Iterator[ExplainedStep]

    def __iter__(self) -> Iterator[ExplainedStep]:
        return self.steps


def explain(
    config: Config,
    name: str,
    key: Sequence[object],
    *,
    source: str | None = None,
    tenant: str | None = None,
    to: int | datetime | str | tuple[str, SourcePosition] | None = None,
    listener: Listener = ignore,
) -> Explanation:
    """The row of this key, from its first event to ``to`` or the log's end.

    key: values of the key columns in order, as they are or as text ("a-1", "2026-01-01", "none" for None). For keys of
    the aggregate the parts behind the id may be left out; with them, only events that touch the row come. source (its
    namespace) and tenant: which aggregate, where several have the id. Raises JobError where the log has no such
    aggregate or no event of the row, ConfigError where the key has other parts.
    """
    (definition,) = chosen_definitions(config, [name])
    wanted = _key(definition, key)
    with ExitStack() as stack:
        log = stack.enter_context(Log.open(config.log.path))
        cut = log.cut_at(log.last_position if to is None else to)
        log = with_columns(stack, log, definition.payload_columns(log.types), Recording("", listener))
        reader = _Reader(definition, log, cut.position, wanted)
        if definition.merged:
            steps, scans = reader.merged(), int(cut.position)
        else:
            scope, hi, lo = _aggregate(log, wanted[0], source, tenant)
            raw = list(log.raw(log.partition_of(hi), START, cut.position, (hi, lo)))
            steps, scans = reader.aggregate(scope, hi, lo, raw), len(raw)
            if reader.one_child:
                steps = _there(steps, definition, wanted)
        return Explanation(definition, wanted, cut, scans, _closing(stack.pop_all(), steps))


def _closing(stack: ExitStack, steps: Iterator[ExplainedStep]) -> Iterator[ExplainedStep]:
    with stack:
        yield from steps


def _there(
    steps: Iterator[ExplainedStep], definition: ProjectionDefinition, key: tuple[str, ...]
) -> Iterator[ExplainedStep]:
    """The same steps. Raises JobError at once where there are none."""
    first = next(steps, None)
    if first is None:
        names = ", ".join(part.name for part in definition.key)
        raise JobError(
            f"the log has no event of the row {key!r} of {definition.name}",
            hint=f"the key is ({names}); `runner explain {definition.name} {key[0]}` shows all rows of {key[0]!r}",
        )
    return chain((first,), steps)


def _key(definition: ProjectionDefinition, key: Sequence[object]) -> tuple[str, ...]:
    names = [part.name for part in definition.key]
    least = len(names) if definition.merged else 1
    if not least <= len(key) <= len(names):
        given = "1 part was given" if len(key) == 1 else f"{len(key)} parts were given"
        raise ConfigError(f"the key of {definition.name} is ({', '.join(names)}), and {given}")
    return tuple(_text(value) for value in key)


def _text(value: object) -> str:
    """One text for a value and for what a user writes for it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    stored = getattr(value, "value", value)
    return stored.isoformat() if hasattr(stored, "isoformat") else str(stored)


def _is_text(text: str, value: object) -> bool:
    return _text(value) == text


def _aggregate(log: Log, aggregate_id: str, source: str | None, tenant: str | None) -> tuple[int, int, int]:
    found = [
        (scope, hi, lo)
        for scope, hi, lo in log.find(aggregate_id)
        if source in (None, log.scopes[scope][0]) and tenant in (None, log.scopes[scope][1])
    ]
    if not found:
        raise JobError(
            f"the log has no aggregate {aggregate_id!r}", hint="`runner query` over log.headers shows which there are"
        )
    if len(found) > 1:
        scopes = ", ".join(f"{log.scopes[s][0]}/{log.scopes[s][1] or '-'}" for s, _, _ in found)
        raise JobError(
            f"{len(found)} aggregates have the id {aggregate_id!r} (source/tenant: {scopes})",
            hint="give --source, --tenant",
        )
    return found[0]


class _Reader:
    """Walks the twin through the wanted events."""

    def __init__(self, definition: ProjectionDefinition, log: Log, to: Position, key: tuple[str, ...]) -> None:
        self.definition, self.log, self.to, self.key = definition, log, to, key
        self.one_child = not definition.merged and 1 < len(definition.key) == len(key)
        """The whole key of a child row is given: what does not touch it is left out."""
        identity = ("source", "tenant") if len(log.scopes) > 1 else ()
        self.names = LogNames(log.types, log.scopes or (("", ""),), identity)
        self.columns = definition.payload_columns(log.types)
        self.header = definition.header_columns & {"version", "recorded_at"} | {"position"}

    def aggregate(self, scope: int, hi: int, lo: int, raw: Sequence[RawEvent]) -> Iterator[ExplainedStep]:
        """Every event of the aggregate, in order; handled ones with their rows."""
        partition = self.log.partition_of(hi)
        sample = Sample(np.array([hi], np.uint64), np.array([lo], np.uint64), len(raw))

        def batches() -> Iterator[Batch]:
            return self.log.batches(partition, self.columns, self.header, START, self.to)

        steps = plain_steps(self.definition, batches, self.names, wanted=sample)
        step = next(steps, None)
        for event in raw:
            handled = False
            while step is not None and step.position == event.position:
                handled = True
                if self._wanted(step):
                    yield self._step(step, event)
                if step.failure:
                    return
                step = next(steps, None)
            if not handled and not self.one_child:
                source, tenant = self.names.scopes[scope]
                yield ExplainedStep(
                    event.position, event.type, event.aggregate_id, source, tenant, event.version, event.recorded_at,
                    event.payload,
                    passed_over="no element" if self.definition.handlers_of(event.type) else "no handler",
                )  # fmt: skip

    def merged(self) -> Iterator[ExplainedStep]:
        """The events of the key, out of all events of the log. What fails in another row does not end this one."""
        of_key = KeyEvents(self.definition, self.names, [partial(_is_text, text) for text in self.key])
        for step in plain_steps(self.definition, self._all_batches, self.names, kept=of_key):
            if self._wanted(step):
                yield self._step(step, None)

    def _all_batches(self) -> Iterator[Batch]:
        # Segment by segment, all partitions of one together: the twin puts those in order of position.
        for segment in self.log.manifest.segments:
            if segment.first > self.to:
                return
            for p in range(self.log.partitions):
                last = min(segment.last, self.to)
                yield from self.log.batches(
                    PartitionId(p), self.columns, self.header, Position(segment.first - 1), Position(last)
                )

    def _wanted(self, step: Step) -> bool:
        values = [_text(value) for value in step.key.values()]
        # A handler that failed before it had a key: whose row it was is not known, so it is shown.
        return not values or tuple(values[: len(self.key)]) == self.key

    def _step(self, step: Step, event: RawEvent | None) -> ExplainedStep:
        source, tenant = step.scope
        return ExplainedStep(
            position=step.position,
            event_type=step.event_type,
            aggregate_id=step.aggregate_id,
            source=source,
            tenant=tenant,
            version=None if event is None else event.version,
            recorded_at=None if event is None else event.recorded_at,
            payload="" if event is None else event.payload,
            handler=step.handler,
            element=step.element,
            key=step.key,
            before=step.before,
            after=step.after,
            changed=step.changed,
            failure=step.failure,
        )
