"""Writes an author's first module: an event class for each type in a sample, and a projection that compiles."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.authoring.events import HEADER, Event
from runner.cli.mapping import GuessedMapping, value_at
from runner.cli.shapes import Guess, ValueShape, guess, leaves

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["SampledType", "module_text", "sampled_types"]

MOST_TYPES = 40
MOST_FIELDS = 40
MONEY_SCALE = 4
_MONEY = ("amount", "price", "total", "sum", "balance", "cost", "fee", "tax")
"""Names of numbers that are better not floats, where the sample has few digits behind the point."""
_TYPE, _DATA = "_type_", "_data_"
"""Keys of a value that is written with its type, as ``eventsourcing`` has decimals, times and UUIDs."""
_TOTALS = ("amount", "total", "sum", "price", "quantity", "count", "value", "added", "size", "points", "balance")

Path = tuple[str, ...]


@dataclass
class SampledType:
    """An event type and what its payloads looked like."""

    name: str
    events: int = 0
    shape: ValueShape = field(default_factory=ValueShape)
    short: str = ""
    """What its class is called after; "": its name."""


def sampled_types(records: Sequence[dict[str, Any]], mapping: GuessedMapping) -> list[SampledType]:
    """The types of the sample, the most frequent first."""
    import json

    found: dict[str, SampledType] = {}
    header = {p for p in (mapping.aggregate_id, mapping.type, mapping.version, mapping.position) if p}
    for record in records:
        name = str(value_at(record, mapping.type)) if mapping.type else "event"
        sampled = found.setdefault(name, SampledType(name))
        sampled.events += 1
        payload = value_at(record, mapping.payload) if mapping.payload else _without(record, header)
        if isinstance(payload, str) and mapping.payload_is_text:
            try:
                payload = json.loads(payload)
            except ValueError:
                continue
        if isinstance(payload, dict):
            sampled.shape.add(payload)
    return sorted(found.values(), key=lambda s: (-s.events, s.name))


def _without(record: dict[str, Any], paths: set[Path]) -> dict[str, Any]:
    """The record without its header fields, which every event has anyway."""
    return {name: value for name, value in record.items() if (name,) not in paths}


def module_text(types: Sequence[SampledType], mapping: GuessedMapping, *, where: str, texts_only: bool) -> str:
    """The whole module. ``where``: what was sampled, for its docstring."""
    writer = _Writer(texts_only, timed=mapping.recorded_at is not None)
    named = [t for t in types if t.name]
    for sampled in named[:MOST_TYPES]:
        writer.event(sampled)
    left_out = [t.name for t in named[MOST_TYPES:]]
    writer.projection()
    return writer.text(where, left_out)


@dataclass
class _Field:
    name: str
    guess: Guess
    path: Path


def fitting(path: Path, shape: ValueShape, expected: int, *, texts_only: bool) -> Guess:
    """``guess``, but amounts of money, by the name, are exact."""
    made = guess(shape, expected, texts_only=texts_only)
    money = any(word in path[-1].lower() for word in _MONEY)
    if made.annotation == "float" and 0 < shape.scale <= MONEY_SCALE and money:
        return Guess("Decimal", scale=max(shape.scale, 2), optional=made.optional)
    return made


class _Writer:
    def __init__(self, texts_only: bool, *, timed: bool) -> None:
        self._texts_only = texts_only
        self._timed = timed
        self._classes: list[str] = []
        self._projections: list[str] = []
        self._names: set[str] = {"Event", "Record", "Projection", "Summary", "Annotated", "Decimal", "UUID"}
        self._imports: set[str] = {"Event", "Projection", "on"}
        self._types_used: set[str] = {"datetime"} if timed else set()
        self._total: tuple[str, _Field] | None = None

    def event(self, sampled: SampledType) -> None:
        name = self._class_name(sampled.short or sampled.name)
        fields, notes = self._fields(sampled.shape)
        keywords = "" if name == sampled.name else f", type={_quoted(sampled.name)}"
        self._classes.append(
            f"class {name}(Event{keywords}):\n"
            + _docstring(f"{sampled.events:,} in the sample.")
            + self._lines(fields)
            + "".join(f"    # {note}\n" for note in notes)
        )
        self._consider_total(name, fields)

    def _class_name(self, stored: str) -> str:
        words = re.findall(r"[A-Za-z0-9]+", stored)
        name = "".join(w[:1].upper() + (w[1:].lower() if w.isupper() and len(words) > 1 else w[1:]) for w in words)
        if not name or name[0].isdigit() or keyword.iskeyword(name):
            name = f"Type{name}"
        return self._unused(name, self._names)

    @staticmethod
    def _unused(name: str, taken: set[str]) -> str:
        chosen, number = name, 2
        while chosen in taken:
            chosen, number = f"{name}{number}", number + 1
        taken.add(chosen)
        return chosen

    def _fields(self, shape: ValueShape) -> tuple[list[_Field], list[str]]:
        fields: list[_Field] = []
        notes: list[str] = []
        taken: set[str] = set()
        every = leaves(shape)
        typed = {path[:-1] for path, _, _ in every if path[-1] == _DATA and path[:-1]}
        # A value that is written with its type beside it: the value says enough.
        found = [leaf for leaf in every if leaf[0][-1] != _TYPE or leaf[0][:-1] not in typed]
        for path, inner, expected in found[:MOST_FIELDS]:
            # A value under an object that is sometimes missing is itself sometimes missing.
            made = fitting(path, inner, max(expected, shape.seen), texts_only=self._texts_only)
            where = _shown(".".join(path))
            if not all(path):
                notes.append(f"left out: {where} (a key without a name)")
                continue
            if not made.annotation:
                notes.append(f"left out: {where} ({made.note})")
                continue
            fields.append(_Field(self._field_name(path, taken), self._with_record(path, made, inner, shape), path))
            if made.note:
                notes.append(f"{where}: {made.note}")
        if len(found) > MOST_FIELDS:
            notes.append(f"{len(found) - MOST_FIELDS} more fields: see `runner inspect`")
        return fields, notes

    def _with_record(self, path: Path, made: Guess, inner: ValueShape, parent: ValueShape) -> Guess:
        annotation = made.annotation
        if made.record is not None:
            record = self._record(path, made.record)
            annotation = f"list[{record}]"
        for used in ("datetime", "date", "UUID", "Decimal"):
            if re.search(rf"\b{used}\b", annotation):
                self._types_used.add(used)
        missing = annotation.startswith("list") and inner.seen < parent.seen
        return Guess(annotation, made.coerce, made.scale, made.optional, None, "absent" if missing else "")

    def _record(self, path: Path, shape: ValueShape) -> str:
        last = path[-1]
        name = self._class_name(last.removesuffix("s") or last)
        taken: set[str] = set()
        fields = []
        notes = []
        for inner_path, inner, _ in leaves(shape)[:MOST_FIELDS]:
            made = guess(inner, shape.seen, texts_only=self._texts_only)
            if not made.annotation or made.annotation.startswith("list") or not all(inner_path):
                notes.append(f"left out: {_shown('.'.join(inner_path))} ({made.note or 'a list inside a list'})")
                continue
            fields.append(
                _Field(
                    self._field_name(inner_path, taken), self._with_record(inner_path, made, inner, shape), inner_path
                )
            )
        body = self._lines(fields) + "".join(f"    # {note}\n" for note in notes)
        self._imports.add("Record")
        self._classes.append(f"class {name}(Record):\n" + _docstring(f"One of {_shown('.'.join(path))}.") + body)
        return name

    @staticmethod
    def _field_name(path: Path, taken: set[str]) -> str:
        named = path[:-1] if path[-1] == _DATA and len(path) > 1 else path
        for depth in range(1, len(named) + 1):
            name = _identifier("_".join(named[-depth:]))
            if name not in taken:
                break
        return _Writer._unused(name, taken)

    def _lines(self, fields: Iterable[_Field]) -> str:
        lines = []
        for f in fields:
            arguments = []
            if f.path != (f.name,):
                arguments.append(_path_text(f.path))
            if f.guess.note == "absent":
                arguments.append("default=[]")
            if f.guess.scale is not None:
                arguments.append(f"scale={f.guess.scale}")
            if f.guess.coerce:
                arguments.append(f'coerce="{f.guess.coerce}"')
            value = f" = field({', '.join(arguments)})" if arguments else ""
            if arguments:
                self._imports.add("field")
            lines.append(f"    {f.name}: {f.guess.full}{value}\n")
        return "".join(lines)

    def _consider_total(self, event: str, fields: list[_Field]) -> None:
        if self._total is not None:
            return
        numbers = [f for f in fields if f.guess.annotation in ("int", "Decimal") and f.guess.coerce != "epoch"]
        for wanted in _TOTALS:
            for f in numbers:
                if wanted in f.name and not f.name.endswith("id"):
                    self._total = (event, f)
                    return

    def projection(self) -> None:
        times = "    first_at: datetime | None = None\n    last_at: datetime | None = None\n" if self._timed else ""
        first = "        if self.events == 0:\n            self.first_at = e.recorded_at\n" if self._timed else ""
        last = "        self.last_at = e.recorded_at\n" if self._timed else ""
        field_line, handler = self._totals()
        self._projections.append(
            "class Summary(Projection):\n"
            '    """One row per aggregate. A start: change it, then `runner rebuild summary`."""\n\n'
            "    events: int = 0\n"
            f"{times}"
            '    last_type: str = ""\n'
            f"{field_line}\n"
            "    @on(Event)\n"
            "    def counted(self, e: Event) -> None:\n"
            f"{first}"
            "        self.events += 1\n"
            f"{last}"
            "        self.last_type = e.type\n"
            f"{handler}"
        )

    def _totals(self) -> tuple[str, str]:
        if self._total is None:
            return "", ""
        event, f = self._total
        name = f"{f.name}_total"
        if f.guess.annotation == "Decimal":
            self._types_used.add("Decimal")
            declared = f'    {name}: Decimal = Decimal("{0:.{f.guess.scale or 0}f}")\n'
        else:
            declared = f"    {name}: int = 0\n"
        line = f"        self.{name} += e.{f.name}\n"
        if f.guess.optional:
            line = f"        if e.{f.name} is not None:\n    {line}"
        method = _identifier(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", event))
        return declared, f"\n    @on({event})\n    def when_{method}(self, e: {event}) -> None:\n{line}"

    def text(self, where: str, left_out: Sequence[str]) -> str:
        imports = []
        times = sorted(self._types_used & {"date", "datetime"})
        if times:
            imports.append(f"from datetime import {', '.join(times)}\n")
        if "Decimal" in self._types_used:
            imports.append("from decimal import Decimal\n")
        if "UUID" in self._types_used:
            imports.append("from uuid import UUID\n")
        names = ", ".join(sorted(self._imports, key=lambda n: (n[0].islower(), n)))
        head = (
            f'"""Events and projections, begun by `runner init` from a sample of {_shown(where)}.\n\n'
            "Types and optional fields are what the sample showed: check them against what you know.\n"
            '"""\n\n'
        )
        rest = f"# Types without a class here: {_shown(', '.join(left_out))}\n\n\n" if left_out else ""
        classes = "\n\n".join(self._classes)
        return (
            head
            + "".join(imports)
            + ("\n" if imports else "")
            + f"from runner import {names}\n\n\n"
            + classes
            + "\n\n"
            + rest
            + "\n\n".join(self._projections)
        )


def _docstring(text: str) -> str:
    return f'    """{text}"""\n\n'


def _shown(text: str) -> str:
    """Text that stands in a comment or docstring whatever is in it."""
    return repr(text)[1:-1].replace('"', "'")


_SHADOWED = {"field", "int", "float", "str", "bool", "list", "date", "datetime", "timedelta"}
"""What the lines of a class below a field of that name still need."""


def _identifier(text: str) -> str:
    """A Python name in snake_case that is neither a keyword nor what every event has."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    name = re.sub(r"\W+", "_", snake, flags=re.ASCII).strip("_").lower() or "value"
    if name[0].isdigit():
        name = f"n{name}"
    if keyword.iskeyword(name) or name in HEADER or name in _SHADOWED or hasattr(Event, name):
        name += "_"
    return name


def _path_text(path: Path) -> str:
    if any("." in key for key in path):
        return "(" + ", ".join(_quoted(key) for key in path) + ("," if len(path) == 1 else "") + ")"
    return _quoted(".".join(path))


def _quoted(text: str) -> str:
    """A double-quoted Python literal."""
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else character.encode("unicode_escape").decode()
