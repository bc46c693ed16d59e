"""[env.NAME]: tables laid over those of the file before anything is checked, so that one file serves every surrounding.

Tables are joined key by key; any other value, lists too, takes the place of the former.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.config.table import Table, nearest
from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["laid_over", "named_in_overlay"]


def laid_over(file: Path, values: dict[str, Any], name: str) -> tuple[dict[str, Any], frozenset[str]]:
    """(The file's tables as they are with [env.name] over them, the places that come from there).

    name: "" for none. Raises ConfigError where there is no such overlay.
    """
    base = {key: value for key, value in values.items() if key != "env"}
    overlays = values.get("env", {})
    Table(file, "env", overlays)
    for key, overlay in overlays.items():
        inner = Table(file, f"env.{key}", overlay)
        if inner.has("env"):
            raise inner.wrong("env", "stands in another env", "write its tables side by side: [env.a], [env.b]")
    if not name:
        return base, frozenset()
    if name not in overlays:
        hint = nearest(name, overlays) or f"write [env.{name}.log], [env.{name}.sources.NAME] ..."
        raise ConfigError(f"{file}: there is no [env.{name}]", hint=hint)
    return _joined(base, overlays[name]), frozenset(_places(overlays[name], base))


def named_in_overlay(error: ConfigError, file: Path, name: str, places: frozenset[str]) -> ConfigError:
    """The same error, saying that the value stands in [env.name] where it does."""
    start = f"{file}: "
    said = error.message.removeprefix(start)
    for place in sorted(places, key=len, reverse=True):
        if said.startswith((f"{place} ", f"{place}.")):
            return ConfigError(f"{start}env.{name}.{said}", hint=error.hint)
    return error


def _joined(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    made = dict(base)
    for key, value in over.items():
        former = made.get(key)
        made[key] = _joined(former, value) if isinstance(former, dict) and isinstance(value, dict) else value
    return made


def _places(values: dict[str, Any], base: dict[str, Any], where: str = "") -> Iterator[str]:
    """What comes from the overlay alone: its values, and whole tables that the base does not have."""
    for key, value in values.items():
        place = f"{where}.{key}" if where else key
        below = base.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            yield from _places(value, below, place)
        else:
            yield place
