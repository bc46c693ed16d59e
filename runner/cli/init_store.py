"""``runner init`` of an event store in Postgres: which store it is, a sample of its events, runner.toml and module.

A URL is a secret: what is written names an environment variable, and nothing repeats what is in it.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.config_text import store_config_text
from runner.cli.first_projection import module_text, sampled_types
from runner.cli.mapping import GuessedMapping
from runner.cli.output import count, emit_json, print_text, say
from runner.config import load_config, load_definitions
from runner.config.comparison import proposed_variable
from runner.config.connection import ConnectionSettings
from runner.config.postgres import read_postgres_source
from runner.config.stores import STORES
from runner.config.table import Table, nearest
from runner.errors import ConfigError, SourceError
from runner.secrets import keep_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.cli.options import Session
    from runner.sources.postgres.recognition import Recognised
    from runner.sources.postgres.sample import StoreSample

__all__ = ["StoreWish", "init_store"]

CUSTOM = "custom"


@dataclass(frozen=True)
class StoreWish:
    """What was asked for. url: a literal one, or ""; the rest as the options have it, "" where nothing was said."""

    url: str
    url_env: str
    preset: str
    schema: str
    table: str
    decode: str
    name: str


def init_store(session: Session, wish: StoreWish, module_name: str) -> None:
    """Write both files. Raises ConfigError, SourceError, PostgresError."""
    from runner.sources.postgres.sample import sample_store, stores_at, tag_prefixes

    if wish.preset and wish.preset not in STORES:
        raise ConfigError(f"there is no preset {wish.preset!r}", hint=nearest(wish.preset, STORES))
    variable = _variable(wish)
    settings = ConnectionSettings(where=variable, url_env=variable)
    if wish.preset == CUSTOM:
        chosen, keys = _custom(settings, wish, variable)
    else:
        chosen, tenants = _chosen(stores_at(settings), wish, asks=not session.as_json)
        keys = _keys(chosen, wish, variable, tenants=tenants)
    name = wish.name or chosen.preset
    if chosen.preset == "eventsourcing-dcb":
        keys["aggregates"] = _aggregates(tag_prefixes(settings, chosen.schema, chosen.table), chosen)
    config = session.config_path
    # Hooks of payloads are found beside it.
    sys.path.insert(0, str(config.parent.absolute()))
    source = read_postgres_source(name, Table(config, f"sources.{name}", keys), config.parent)
    sample = sample_store(source)
    if not sample.events.num_rows:
        raise SourceError(f"{chosen} has no events to learn from")
    _write(session, chosen, sample, name, keys, module_name)


def _variable(wish: StoreWish) -> str:
    """The environment variable that holds the URL; a literal one is put into it for this process."""
    if wish.url_env:
        return wish.url_env
    keep_secret(wish.url)
    variable = proposed_variable(wish.name or wish.preset or "store")
    say(
        "warning: the URL stands in the shell's history, and in the process list while this runs; what is written "
        f"names the variable {variable} instead\n  put the URL into it: read -rs {variable} && export {variable}"
    )
    os.environ[variable] = wish.url
    return variable


def _custom(settings: ConnectionSettings, wish: StoreWish, variable: str) -> tuple[Recognised, dict[str, Any]]:
    """A table that is named, as its rows and its catalog look."""
    from runner.cli.init_custom import custom_keys
    from runner.sources.postgres.recognition import Recognised
    from runner.sources.postgres.sample_rows import sample_table

    if not wish.table:
        raise ConfigError("--preset custom needs --table", hint="the name of the table that holds the events")
    keys = custom_keys(sample_table(settings, wish.schema, wish.table))
    note = "guessed from names, keys and values: read each line; see tail in the README before following a live store"
    chosen = Recognised(CUSTOM, "any table", keys["schema"], keys["table"], -1, named=True, note=note)
    decode = {"decode": wish.decode} if wish.decode else {}
    return chosen, {"preset": CUSTOM, "url_env": variable, **keys, **decode}


# Which store ----------------------------------------------------------------------------------------------------------


def _chosen(found: Sequence[Recognised], wish: StoreWish, *, asks: bool) -> tuple[Recognised, bool]:
    """The store that is meant, and whether its schemas are tenants."""
    if not found:
        raise SourceError(
            "no known event store is in this database, or the role may not see it",
            hint="known are "
            + ", ".join(name for name in STORES if name != CUSTOM)
            + '; any other table is described by preset = "custom" in runner.toml, '
            "and --preset custom --table NAME guesses how",
        )
    tenants = "*" in wish.schema
    left = [
        one
        for one in found
        if wish.preset in ("", one.preset)
        and wish.table in ("", one.table)
        and (not wish.schema or fnmatch.fnmatchcase(one.schema, wish.schema))
    ]
    if not left:
        raise ConfigError("no store is as asked for; there is " + _listed(found))
    if tenants and len({(one.preset, one.table) for one in left}) == 1:
        return left[0], True
    if len(left) == 1:
        return left[0], tenants
    if not (asks and sys.stdin.isatty()):
        raise ConfigError(
            f"{len(left)} stores are in this database: {_listed(left)}",
            hint="say which: " + _telling(left),
        )
    say(f"{len(left)} stores are in this database:")
    for number, one in enumerate(left, 1):
        say(f"  {number}  {one}{_size(one)}")
    number = click.prompt("which", type=click.IntRange(1, len(left)), err=True)
    return left[int(number) - 1], tenants


def _listed(stores: Sequence[Recognised]) -> str:
    return "; ".join(f"{one}{_size(one)}" for one in stores)


def _size(store: Recognised) -> str:
    return f", about {count(store.rows)} rows" if store.rows > 0 else ""


def _telling(stores: Sequence[Recognised]) -> str:
    """The options that tell them apart."""
    options = [
        ("--preset", {one.preset for one in stores}),
        ("--schema", {one.schema for one in stores}),
        ("--table", {one.table for one in stores}),
    ]
    return ", ".join(f"{option} {'|'.join(sorted(values))}" for option, values in options if len(values) > 1)


# What is written ------------------------------------------------------------------------------------------------------


def _keys(store: Recognised, wish: StoreWish, variable: str, *, tenants: bool) -> dict[str, Any]:
    """Of [sources.NAME]. What is there alone now is named all the same: another may come."""
    from runner.sources.postgres.presets import PRESETS

    keys: dict[str, Any] = {"preset": store.preset, "url_env": variable}
    if tenants:
        keys["schemas"] = wish.schema
    else:
        keys["schema"] = store.schema
    if store.named or wish.table or "*" in PRESETS[store.preset].main.name:
        keys["table"] = store.table
    if wish.decode:
        keys["decode"] = wish.decode
    return keys


def _aggregates(prefixes: Sequence[str], store: Recognised) -> list[str]:
    if prefixes:
        return list(prefixes)
    raise SourceError(f"{store}: its tags have nothing in common by which aggregates could be told")


def _write(
    session: Session, store: Recognised, sample: StoreSample, name: str, keys: dict[str, Any], module_name: str
) -> None:
    config = session.config_path
    module = config.parent / f"{module_name}.py"
    events = sample.events
    records = [
        {"type": type_, "payload": json.loads(payload)}
        for type_, payload in zip(events.column("type").to_pylist(), events.column("payload").to_pylist(), strict=True)
    ]
    timed = events.column("recorded_at").null_count == 0
    mapping = GuessedMapping(
        aggregate_id=None,
        type=("type",),
        recorded_at=("recorded_at",) if timed else None,
        version=None,
        position=None,
        payload=("payload",),
    )
    types = [replace(one, short=short) for one, short in _shortened(sampled_types(records, mapping))]
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(store_config_text(name, keys, store.title, store.note, module_name))
    module.write_text(module_text(types, mapping, where=str(store), texts_only=False))
    projections = [d.name for d in load_definitions(load_config(config))]
    if session.as_json:
        emit_json(
            {
                "config": config,
                "module": module,
                "source": name,
                "store": {"preset": store.preset, "schema": store.schema, "table": store.table},
                "url_env": keys["url_env"],
                "events_sampled": len(records),
                "types": {t.name: t.events for t in types},
                "projections": projections,
            }
        )
        return
    whole = "all" if sample.whole else "a sample of"
    say(f"{store}: looked at {whole} {count(len(records))} events, {len(types)} event types")
    if sample.bad:
        say(f"warning: {count(sample.bad)} of its rows cannot be taken: see on_bad_line in {config}")
    print_text(f"wrote {config}: which store it is and where its URL is ({keys['url_env']}); read it, correct it")
    print_text(f"wrote {module}: {len(types)} event classes and the projection {', '.join(projections)}")
    where = "" if config == Path("runner.toml") else f" --config {config}"
    print_text(f"next: runner doctor{where}, runner sync{where}, runner rebuild --all{where}")


def _shortened(types: Sequence[Any]) -> list[tuple[Any, str]]:
    """Each type with the end of its name that tells it from the others: ``bank.domain:Account.Opened`` is Opened."""
    parts = {one.name: [p for p in re.split(r"[^\w-]+", one.name) if p] or [one.name] for one in types}
    deepest = max((len(p) for p in parts.values()), default=1)
    for depth in range(1, deepest + 1):
        names = {name: ".".join(p[-depth:]) for name, p in parts.items()}
        if len(set(names.values())) == len(names):
            break
    return [(one, names[one.name]) for one in types]
