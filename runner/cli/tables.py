"""What ``runner status`` says of the tables in Postgres that read models are published to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.cli.output import count, print_table
from runner.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.config import Config

__all__ = ["add_tables", "show_tables"]


def add_tables(config: Config, read_models: Sequence[dict[str, Any]], last: int, problems: list[str]) -> None:
    """Enter under "table" what users of each read model see in Postgres. last: the log's last position."""
    if config.read_models.postgres is None:
        return
    from runner.jobs.publishing.publishing import table_states
    from runner.jobs.publishing.writers import Writers, WriterWish

    writers = Writers(config, WriterWish())
    try:
        states = table_states(config)
    except RunnerError as error:
        problems.append(f"the tables in Postgres cannot be asked: {error}")
        return
    for model in read_models:
        state = states.get(model["name"])
        if state is None:
            model["table"] = None
            continue
        model["table"] = {
            "names": [place.words for place in state.places],
            "version": state.version,
            "revision": state.revision,
            "checkpoint": int(state.position),
            "lag": max(0, last - int(state.position)),
            "writer": writers.of(model["name"]),
        }
        same = (state.version, state.position, state.fingerprint) == (
            model["version"], model["checkpoint"], model.get("fingerprint"),
        )  # fmt: skip
        if not same and writers.of(model["name"]) == "asynchronous":
            problems.append(
                f"{model['name']}: its table has version {state.version} at position {state.position:,}, the embedded "
                f"read model {_embedded(model)}: the next update brings them together"
            )


def show_tables(read_models: Sequence[dict[str, Any]]) -> None:
    """A line a read model that has a table."""
    rows = [
        (
            m["name"],
            ", ".join(m["table"]["names"]),
            f"v{m['table']['version']}",
            count(m["table"]["checkpoint"]),
            count(m["table"]["lag"]),
            m["table"]["writer"],
        )
        for m in read_models
        if m.get("table")
    ]
    if rows:
        columns = ("read model", "table in Postgres", "version", "checkpoint", "lag", "written")
        print_table("", columns, rows, numeric=frozenset({"checkpoint", "lag"}))


def _embedded(model: dict[str, Any]) -> str:
    if not model["version"]:
        return "is not there"
    return f"version {model['version']} at position {model['checkpoint']:,}"
