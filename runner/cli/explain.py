"""``runner explain``: the life of one row."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_text, say
from runner.cli.place import checked_place
from runner.errors import JobError

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.jobs.explain import ExplainedStep

__all__ = ["command"]


@session_command("explain", exits=(4, 6, 7))
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--to", default=None, metavar="PLACE", help="Up to a position, a time with its zone, or SOURCE:POSITION.")
@click.option("--last", type=click.IntRange(min=1), default=None, help="Only the last so many events.")
@click.option("--payloads", is_flag=True, help="Show payloads too (JSON has them always).")
@click.option("--source", default=None, help="Of the aggregate, where several have the id.")
@click.option("--tenant", default=None, help="Of the aggregate, where several have the id.")
def command(
    session: Session,
    name: str,
    key: tuple[str, ...],
    to: str | None,
    last: int | None,
    payloads: bool,
    source: str | None,
    tenant: str | None,
) -> None:
    """How the row KEY of the projection NAME came to be: every event of it, and what each changed.

    KEY is the aggregate's id, or all parts of a longer key in order; of child rows the parts behind the id may be left
    out. Folded in plain Python. A merged key (one that does not begin with the aggregate) walks through the whole log.
    """
    from runner.jobs.explain import explain

    to = checked_place(session, to)
    explanation = explain(session.config, name, key, source=source, tenant=tenant, to=to)
    if explanation.definition.merged:
        say(f"{name} is merged over all aggregates: searching the keys of {count(explanation.scans)} events")
    steps: deque[ExplainedStep] = deque(explanation, maxlen=last)
    if not steps:
        # As for an aggregate that the log does not have.
        raise JobError(
            f"no event of {name} has the key {', '.join(key)} up to position {count(explanation.cut.position)}",
            hint=f"`runner query` over {name} shows which there are",
        )
    if session.as_json:
        emit_json({"projection": name, "key": key, "to": explanation.cut, "steps": [_plain(s) for s in steps]})
        return
    for step in steps:
        _show(step, payloads=payloads)


def _plain(step: ExplainedStep) -> dict[str, Any]:
    return {**vars(step), "deleted": step.deleted}


def _show(step: ExplainedStep, *, payloads: bool) -> None:
    at = step.recorded_at.isoformat(sep=" ").replace("+00:00", "Z") if step.recorded_at else ""
    version = f"version {step.version}" if step.version is not None else f"of {step.aggregate_id}"
    element = f" [{step.element}]" if step.element is not None else ""
    print_text(f"{count(step.position):>12}  {at}  {step.event_type}{element}  {version}".rstrip())
    if payloads and step.payload:
        print_text(f"{'':>12}  {step.payload}")
    for line in _effect(step):
        print_text(f"{'':>12}    {line}")


def _effect(step: ExplainedStep) -> list[str]:
    if step.failure:
        return [f"{step.handler} failed: {step.failure}"]
    if not step.handler:
        return [f"{step.passed_over}: passed over"]
    if step.deleted:
        return ["the row is deleted"]
    before, after = step.before or {}, step.after or {}
    row = f"{_text(dict(step.key))}: " if step.key and len(step.key) > 1 else ""
    began = "the row begins; " if step.before is None else ""
    changes = [f"{name}: {_text(before.get(name))} -> {_text(after.get(name))}" for name in step.changed]
    if step.before is None:
        changes = [f"{name} = {_text(after[name])}" for name in step.changed]
    return [f"{row}{began}{', '.join(changes) or 'nothing changed'}"]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={_text(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value) if isinstance(value, str) else str(value)
