"""One table of a TOML file, read key by key: each value checked, each unknown key refused with the nearest name."""

from __future__ import annotations

import difflib
import math
import re
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["Table", "nearest"]

T = TypeVar("T")
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def nearest(name: str, names: Iterable[str]) -> str:
    """ "did you mean ...?" or, where nothing is near, what there is; "" where there is nothing."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, 1, 0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"there is {', '.join(known)}" if known else ""


class Table:
    """A table whose keys are taken one after the other; ``done`` refuses what is left."""

    def __init__(self, file: Path, where: str, values: Any) -> None:
        self.file, self.where = file, where
        if not isinstance(values, dict):
            raise self.wrong("", f"takes a table, not {values!r}")
        self._left: dict[str, Any] = dict(values)
        self._asked: set[str] = set()

    def wrong(self, key: str, what: str, hint: str = "") -> ConfigError:
        """The error of a value: file, place, what."""
        place = ".".join(part for part in (self.where, key) if part)
        return ConfigError(f"{self.file}: {place} {what}", hint=hint)

    def take(self, key: str, default: Any = None) -> Any:
        """The value as it stands there."""
        self._asked.add(key)
        return self._left.pop(key, default)

    def has(self, key: str) -> bool:
        return key in self._left

    def names(self) -> tuple[str, ...]:
        """The keys that nobody has taken yet, in the order of the file."""
        return tuple(self._left)

    def required(self, key: str, hint: str = "") -> Any:
        """The value; ConfigError where there is none."""
        if key not in self._left:
            self._asked.add(key)
            raise self.wrong(key, "is missing", hint)
        return self.take(key)

    def table(self, key: str) -> Table:
        """An inner table, empty where there is none."""
        value = self.take(key, {})
        return Table(self.file, f"{self.where}.{key}" if self.where else key, value)

    def text(self, key: str, default: str = "") -> str:
        return self._typed(key, default, lambda v: isinstance(v, str), "a string")

    def flag(self, key: str, default: bool = False) -> bool:
        return self._typed(key, default, lambda v: isinstance(v, bool), "true or false")

    def number(self, key: str, default: int, least: int = 0) -> int:
        good = self._typed(key, default, lambda v: isinstance(v, int) and not isinstance(v, bool), "an integer")
        if good < least:
            raise self.wrong(key, f"is {good}; the least is {least}")
        return good

    def seconds(self, key: str, default: float) -> float:
        """A time: a number of seconds, or text such as "500ms", "30s", "5min", "1h", "7d"."""
        value = self.take(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
            return float(value)
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s|min|h|d)", value) if isinstance(value, str) else None
        if found is None:
            raise self.wrong(key, f"takes a time, not {value!r}", 'write seconds, or "30s", "5min", "1h"')
        return float(found[1]) * _UNITS[found[2]]

    def texts(self, key: str) -> tuple[str, ...]:
        """A string or a list of strings."""
        value = self.take(key, [])
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(v, str) and v for v in found):
            raise self.wrong(key, f"takes a string or a list of strings, not {value!r}")
        return tuple(found)

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> Any:
        value = self.text(key, default)
        if value not in choices:
            raise self.wrong(key, f"is {value!r}", nearest(value, filter(None, choices)))
        return value

    def character(self, key: str, default: str, *, empty: bool = False) -> str:
        value = self.text(key, default)
        if len(value.encode()) != 1 and not (empty and value == ""):
            raise self.wrong(key, f"takes one ASCII character, not {value!r}")
        return value

    def check_zone(self, key: str, zone: str) -> None:
        """Refuse what is no time zone of this machine."""
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise self.wrong(key, f"is {zone!r}, and there is no zone of that name", "Europe/Prague, UTC ...") from None

    def _typed(self, key: str, default: T, good: Callable[[Any], bool], what: str) -> T:
        value = self.take(key, default)
        if not good(value):
            raise self.wrong(key, f"takes {what}, not {value!r}")
        return value  # type: ignore[no-any-return]  # ``good`` has looked

    def only(self, *settings: str) -> None:
        """Refuse all other keys at once, before one that is missing for having been mistyped is complained of."""
        for key in self._left:
            if key not in settings:
                known = f"there is {', '.join(sorted(settings))}"
                near = nearest(key, settings)
                raise self.wrong(key, "is not a setting", known if near == known else f"{near} {known}")

    def done(self) -> None:
        """Refuse the keys that nobody asked for."""
        for key in self._left:
            raise self.wrong(key, "is not a setting", nearest(key, self._asked))
