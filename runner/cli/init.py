"""``runner init``: from event files to a runner.toml and a first module, both commented, both meant to be read."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_text, say
from runner.errors import ConfigError

if TYPE_CHECKING:
    from runner.cli.options import Session


@session_command("init", exits=(4, 5, 10))
@click.argument("files", default="", metavar="[FILES|URL]")
@click.option(
    "--url-env", default="", metavar="NAME", help="The environment variable with the URL of a Postgres store."
)
@click.option("--preset", default="", help="Which store, where the database holds several: eventsourcing, emmett ...")
@click.option("--schema", default="", help="In which schema; a pattern (tenant_*) where each is a tenant.")
@click.option("--table", default="", help="In which table, where a schema holds several.")
@click.option("--decode", default="", metavar="MODULE:FUNCTION", help="Your function that turns payloads into JSON.")
@click.option("--name", default="", help="The source's name; else the first file's.")
@click.option("--module", "module_name", default="events", show_default=True, help="The Python module to write.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ndjson", "csv", "parquet", "arrow"]),
    default=None,
    help="Where the file's name does not tell.",
)
@click.option("--aggregate-id", default="", metavar="PATH", help="Where the aggregate's id is, if the guess is wrong.")
@click.option("--type", "type_path", default="", metavar="PATH", help="Where the event's type is.")
@click.option("--recorded-at", default="", metavar="PATH", help="Where the recorded time is.")
@click.option("--payload", default="", metavar="PATH", help="Where the payload is.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def command(
    session: Session,
    files: str,
    url_env: str,
    preset: str,
    schema: str,
    table: str,
    decode: str,
    name: str,
    module_name: str,
    file_format: Any,
    aggregate_id: str,
    type_path: str,
    recorded_at: str,
    payload: str,
    force: bool,
) -> None:
    """Look at event FILES (a path, or a glob in quotes), or at an event store in Postgres, and write a runner.toml and
    a first module.

    The runner.toml says where in the records the aggregate's id, the type, the time and the payload are: a guess from
    names and values. The module has an event class for each type, with the types of its fields, and a projection that
    compiles.

    Of a store say where its URL is: `--url-env BANK_URL`. It is told by its tables; where several are there, init asks,
    or takes --preset, --schema and --table. A URL as the argument works too, but stands in the shell's history then.
    """
    from runner.cli.config_text import config_text
    from runner.cli.first_projection import module_text, sampled_types
    from runner.cli.mapping import guess_mapping, with_paths
    from runner.cli.sample import sample_files
    from runner.cli.shapes import ValueShape

    if not module_name.isidentifier():
        raise ConfigError(f"{module_name!r} is no name for a Python module", hint="letters, digits and underscores")
    config, module = session.config_path, session.config_path.parent / f"{module_name}.py"
    if bool(files) == bool(url_env):
        raise click.UsageError("give event files, or --url-env NAME", click.get_current_context())
    _may_write([config, module], force=force, asks=not session.as_json)
    if url_env or is_url(files):
        from runner.cli.init_store import StoreWish, init_store

        wish = StoreWish(files, url_env, preset, schema, table, decode, name)
        init_store(session, wish, module_name)
        return
    if preset or schema or table or decode:
        raise click.UsageError("--preset, --schema, --table and --decode are for a store in Postgres")
    sample = sample_files(files, file_format)
    shape = ValueShape()
    for record in sample.records:
        shape.add(record)
    asked = {"aggregate_id": aggregate_id, "type": type_path, "recorded_at": recorded_at, "payload": payload}
    mapping = with_paths(guess_mapping(sample.records, shape), shape, {k: v for k, v in asked.items() if v})
    if mapping.aggregate_id is None:
        fields = ", ".join(shape.fields)
        raise ConfigError(
            f"cannot tell which field is the aggregate's id; there are {fields}", hint="say it: --aggregate-id PATH"
        )
    types = sampled_types(sample.records, mapping)
    source = name or _source_name(sample.files[0])
    written_files = _relative(files, config.parent)
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(config_text(source, written_files, sample, mapping, module_name))
    module.write_text(module_text(types, mapping, where=files, texts_only=sample.format == "csv"))

    from runner.config import load_config, load_definitions

    projections = [d.name for d in load_definitions(load_config(config))]
    if session.as_json:
        emit_json(
            {
                "config": config,
                "module": module,
                "source": source,
                "format": sample.format,
                "records_sampled": len(sample.records),
                "types": {t.name: t.events for t in types},
                "mapping": {
                    k: ".".join(v) if isinstance(v, tuple) else v
                    for k, v in vars(mapping).items()
                    if v not in (None, "")
                },
                "projections": projections,
            }
        )
        return
    whole = "all" if sample.whole else "a sample of"
    say(f"looked at {whole} {count(len(sample.records))} records, {len(types)} event types")
    print_text(f"wrote {config}: where things are in the records; read it, correct it")
    print_text(f"wrote {module}: {len(types)} event classes and the projection {', '.join(projections)}")
    where = "" if config == Path("runner.toml") else f" --config {config}"
    print_text(f"next: runner inspect{where}, runner sync{where}, runner rebuild --all{where}")


def is_url(text: str) -> bool:
    """Whether an argument is a connection string rather than files."""
    return re.match(r"postgres(ql)?(\+\w+)?://", text, re.IGNORECASE) is not None or bool(
        re.match(r"(host|dbname|service|user|port)\s*=", text) and not Path(text).exists()
    )


def _may_write(files: list[Path], *, force: bool, asks: bool) -> None:
    there = [str(f) for f in files if f.exists()]
    if not there or force:
        return
    names = " and ".join(there)
    exists = "exists" if len(there) == 1 else "exist"
    if not (asks and sys.stdin.isatty()):
        raise ConfigError(f"{names} {exists} already", hint="--force overwrites")
    if not click.confirm(f"{names} {exists} already; overwrite?", err=True):
        raise ConfigError(f"{names} left as it was")


def _source_name(file: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", file.name.partition(".")[0]).strip("-") or "events"


def _relative(pattern: str, root: Path) -> str:
    """The files as runner.toml names them: relative to its directory where they lie below it."""
    absolute = Path(pattern).absolute()
    base = root.absolute()
    return str(absolute.relative_to(base)) if absolute.is_relative_to(base) else str(absolute)
