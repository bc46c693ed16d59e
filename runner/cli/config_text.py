"""The commented runner.toml that ``runner init`` writes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from runner.config import path_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.cli.mapping import GuessedMapping
    from runner.cli.sample import Sample

__all__ = ["config_text", "store_config_text"]

Path = tuple[str, ...]


def config_text(source: str, files: str, sample: Sample, mapping: GuessedMapping, module: str) -> str:
    """The text. ``mapping`` has an aggregate id."""
    return _HEAD.format(module=module) + _source(source, files, sample, mapping)


_HEAD = """\
# Where events come from, where the log and the read models go. Paths are relative to this file.

[project]
# Python modules with projections, found from this file's directory. Two come with the runner and work on any log:
# "projections.generic" (a summary per aggregate, counts per type and day), "projections.untimed" (without times).
modules = ["{module}"]

[log]
path = "log"                  # the runner's own columnar copy of the events
# partitions = 64             # of a new log: the unit of parallel work; a power of two

[read_models]
path = "read_models"          # Parquet under a DuckDB catalog
# keep = 2                    # former versions of each that stay for `runner rollback`

[state]
path = "state"                # ledger of runs, rejected lines; on a local disk

# [engine]
# name = "auto"               # auto, threads or ray
# workers = 0                 # 0: one for each core

# [metrics]
# file = "runner.prom"        # Prometheus textfile, written at the end of each run

"""


def store_config_text(source: str, keys: Mapping[str, Any], title: str, note: str, module: str) -> str:
    """The text for an event store in Postgres. keys: of its table. note: what is odd about it, or ""."""
    name = source if re.fullmatch(r"[A-Za-z0-9_-]+", source) else _text(source)
    comments = {
        "preset": title,
        "url_env": "the environment variable with the URL; service, passfile and password_command serve too",
        "aggregates": "the beginnings of tags that are aggregates: an event is read once for each",
    }
    lines = [f"[sources.{name}]"]
    for key, value in keys.items():
        comment = comments.get(key)
        lines.append(f"{key} = {_value(value)}" + (f"  # {comment}" if comment else ""))
    if note:
        lines.append(f"# {' '.join(note.split())}")
    lines += [
        '# notify_channel = "..."     # where a trigger notifies, for `runner update --follow`',
        "# max_connections = 2         # and max_rows_per_second, statement_timeout: what protects the server",
        '# decode = "module:function"  # turns payloads that are no JSON (encrypted, MessagePack) into it',
        '# on_bad_line = "reject"      # count bad rows and go on, instead of stopping',
        "",
        "# [read_models.postgres]      # read models as tables too, switched in one transaction",
        '# url_env = "READS_URL"',
        '# schema = "reads"',
    ]
    return _HEAD.format(module=module) + "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_text(inner)}" for key, inner in value.items()) + " }"
    return "[" + ", ".join(map(_text, value)) + "]" if isinstance(value, list | tuple) else _text(str(value))


def _source(source: str, files: str, sample: Sample, mapping: GuessedMapping) -> str:
    lines = [
        f"[sources.{source}]",
        f"files = {_text(files)}",
        f"format = {_text(sample.format)}",
        '# A path goes into nested records with dots: repo.name. A list of paths is joined: ["repo.name", "number"].',
        f"aggregate_id = {_path(mapping.aggregate_id)}",
        f"type = {_path(mapping.type)}"
        if mapping.type
        else 'type = { constant = "event" }  # no field looked like a type',
        *_time(mapping),
    ]
    if mapping.version:
        lines.append(f"version = {_path(mapping.version)}  # the event's place in its aggregate")
    else:
        lines.append(
            '# version = "..."             # the event\'s place in its aggregate; counted in file order without one'
        )
    if mapping.position and sample.whole:
        lines.append(f"position = {{ path = {_path(mapping.position)}, ascending = true }}  # kept; checked to ascend")
    elif mapping.position:
        lines.append(
            f"position = {_path(mapping.position)}  # kept; {{ path = ..., ascending = true }} checks that it ascends"
        )
    if mapping.payload:
        said = "  # an object, or a string with JSON in it" if mapping.payload_is_text else ""
        lines.append(f"payload = {_path(mapping.payload)}{said}")
    elif sample.bytes_columns:
        lines.append(f"# Left out, since bytes are no JSON: {', '.join(map(_text, sample.bytes_columns))}.")
        lines.append(f"payload = {{ columns = [{', '.join(map(_text, sample.columns))}] }}")
    else:
        lines.append('# payload = "data"            # without it the whole record is the payload')
    lines.append("# final = true                # no file grows any more: a last line without a line end is a line")
    lines.append('# on_bad_line = "reject"      # count bad lines and go on, instead of stopping')
    if sample.encoding != "utf-8":
        lines.append(f"encoding = {_text(sample.encoding)}")
    if sample.format == "csv" and sample.delimiter != ",":
        lines += ["", f"[sources.{source}.csv]", f"delimiter = {_text(sample.delimiter)}"]
    return "\n".join(lines) + "\n"


def _time(mapping: GuessedMapping) -> list[str]:
    if mapping.recorded_at is None:
        return ['# recorded_at = "..."         # no field looked like a time; without one recorded_at cannot be used']
    path = _path(mapping.recorded_at)
    match mapping.time_kind:
        case "datetime" | "":
            return [f"recorded_at = {path}"]
        case "epoch" | "epoch_ms" as style:
            return [f"recorded_at = {{ path = {path}, format = {_text(style)} }}"]
        case "naive":
            return [f'recorded_at = {{ path = {path}, zone = "UTC" }}  # no zone in the texts: is it UTC?']
        case style:
            form = "%Y-%m-%d" if style == "date" else style
            return [
                f'recorded_at = {{ path = {path}, format = {_text(form)}, zone = "UTC" }}  # midnight of which zone?'
            ]


def _path(path: Path | None) -> str:
    return _text(path_text(path or ()))


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
