"""What sampled JSON values look like, and the Python annotation that fits them: for ``init`` and ``inspect``.

A guess from a sample is a start for the author, not a contract; a field whose values disagree is left out, and said so.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime

__all__ = ["Guess", "ValueShape", "guess", "leaves"]

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s?(Z|[+-]\d\d(:?\d\d)?)?")
_ZONED = re.compile(r".*(Z|[+-]\d\d(:?\d\d)?)")
_INT64 = 2**63
DISTINCT_KEPT = 2_000
NO_SCALE = 99
DEPTH = 6
"""Objects nested deeper are not looked into."""


@dataclass
class ValueShape:
    """What was seen at one path. ``seen`` counts values that were present, null included."""

    seen: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    scale: int = 0
    """The most digits behind the point, of numbers and of numbers in texts."""
    wide: bool = False
    """An integer beyond int64."""
    distinct: set[object] = field(default_factory=set)
    example: object = None
    fields: dict[str, ValueShape] = field(default_factory=dict)
    element: ValueShape | None = None
    longest_list: int = 0

    def add(self, value: object, depth: int = 0) -> None:
        """Take one more value into account."""
        self.seen += 1
        kind = _kind(value)
        self.kinds[kind] += 1
        if isinstance(value, dict):
            if depth < DEPTH:
                for name, inner in value.items():
                    self.fields.setdefault(str(name), ValueShape()).add(inner, depth + 1)
            return
        if isinstance(value, list):
            self.longest_list = max(self.longest_list, len(value))
            self.element = self.element or ValueShape()
            for inner in value[:50]:
                self.element.add(inner, depth + 1)
            return
        if value is None:
            return
        if self.example is None:
            self.example = value
        if len(self.distinct) < DISTINCT_KEPT:
            self.distinct.add(value)
        if kind == "int" and not -_INT64 <= int(str(value)) < _INT64:
            self.wide = True
        if isinstance(value, float):
            self.scale = max(self.scale, _digits(value))
        if isinstance(value, str):
            text = _text_kind(value)
            self.texts[text] += 1
            if text == "number":
                self.scale = max(self.scale, len(value.partition(".")[2]))

    @property
    def values(self) -> int:
        """How many were not null."""
        return self.seen - self.kinds["null"]


def _digits(value: float) -> int:
    """Digits behind the point as a person wrote them; many where it was written with an exponent."""
    text = repr(value)
    return NO_SCALE if "e" in text or "n" in text else len(text.partition(".")[2].rstrip("0"))


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "str"
        case dict():
            return "object"
        case list():
            return "list"
        case _:
            return type(value).__name__


def _text_kind(text: str) -> str:
    if _UUID.fullmatch(text):
        return "uuid"
    if _NUMBER.fullmatch(text):
        return "number"
    try:
        if _DATE.fullmatch(text):
            date.fromisoformat(text)
            return "date"
        if _TIME.fullmatch(text):
            datetime.fromisoformat(text.replace(" ", "T", 1).replace(" ", ""))
            return "datetime" if _ZONED.fullmatch(text[10:]) else "naive"
    except ValueError:
        return "text"
    return "text"


@dataclass(frozen=True)
class Guess:
    """An annotation, what ``field(...)`` needs beside the path, and the records it names; or why there is none."""

    annotation: str = ""
    coerce: str = ""
    scale: int | None = None
    optional: bool = False
    record: ValueShape | None = None
    """The annotation's element is a Record with these fields."""
    note: str = ""
    """Why no annotation fits, or what the author should know."""

    @property
    def full(self) -> str:
        return f"{self.annotation} | None" if self.optional else self.annotation


def guess(shape: ValueShape, expected: int, *, texts_only: bool = False) -> Guess:
    """The annotation for a scalar or list.

    expected: how often it could have been there; texts_only: the format knows no numbers (CSV), so digits are numbers.
    """
    optional = shape.kinds["null"] > 0 or shape.seen < expected
    kinds = {k for k, n in shape.kinds.items() if n and k != "null"}
    if not kinds:
        return Guess("str", optional=True, note="always null in the sample")
    if kinds == {"list"}:
        return _guess_list(shape, optional, texts_only)
    if kinds == {"str"}:
        return _guess_text(shape, optional, texts_only)
    if kinds == {"bool"}:
        return Guess("bool", optional=optional)
    if kinds == {"int"}:
        if shape.wide:
            return Guess(note="integers beyond 64 bits")
        return Guess("int", optional=optional)
    if kinds <= {"int", "float"}:
        return Guess("float", optional=optional)
    return Guess(note=f"mixed: {', '.join(sorted(kinds))}")


def _guess_text(shape: ValueShape, optional: bool, texts_only: bool) -> Guess:
    kinds = {k for k, n in shape.texts.items() if n}
    if kinds == {"uuid"}:
        return Guess("UUID", optional=optional)
    if kinds == {"datetime"}:
        return Guess("datetime", optional=optional)
    if kinds == {"date"}:
        return Guess("date", optional=optional)
    if kinds == {"naive"}:
        return Guess("str", optional=optional, note="times without a zone")
    if kinds == {"number"} and shape.scale:
        return Guess("Decimal", coerce="number", scale=shape.scale, optional=optional)
    if kinds == {"number"} and texts_only:
        return Guess("int", coerce="number", optional=optional)
    return Guess("str", optional=optional)


def _guess_list(shape: ValueShape, optional: bool, texts_only: bool) -> Guess:
    element = shape.element
    if element is None or not element.seen:
        return Guess(note="always an empty list in the sample")
    if shape.kinds["null"]:
        return Guess(note="a list that is sometimes null")
    if {k for k, n in element.kinds.items() if n} == {"object"}:
        return Guess("list", optional=False, record=element)
    inner = guess(element, element.seen, texts_only=texts_only)
    if not inner.annotation or inner.annotation.startswith("list") or inner.coerce:
        return Guess(note=f"a list of {inner.note or 'lists or numbers in texts'}")
    return Guess(f"list[{inner.full}]", optional=False)


def leaves(
    shape: ValueShape, path: tuple[str, ...] = (), expected: int | None = None
) -> list[tuple[tuple[str, ...], ValueShape, int]]:
    """All paths below an object that end in no object: (path, what is there, how often it could have been there)."""
    found: list[tuple[tuple[str, ...], ValueShape, int]] = []
    here = shape.seen if expected is None else expected
    for name, inner in shape.fields.items():
        kinds = {k for k, n in inner.kinds.items() if n and k != "null"}
        if kinds == {"object"}:
            found.extend(leaves(inner, (*path, name), here))
        else:
            found.append(((*path, name), inner, here))
    return found
