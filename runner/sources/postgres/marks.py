"""How far a store is read: the mark in the log's manifest, one for each tenant.

``{"format": 1, "tenants": {"": {"after": [81], "tail": ..., "mapping": {...}, "left_out": {"archived": 3}}}}``; a
source that is not divided into tenants has the one called "".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runner.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.sources.postgres.tail import StorePlace

__all__ = ["StoreMark", "read_marks", "written_marks"]

FORMAT = 1


@dataclass
class StoreMark:
    """Of one store. after: the place of the last row that was handed out. mapping: how rows become events; it may not
    change. left_out: how many rows were no events, by what they were. identity: which server and table it was.
    stopped: tenants of a column whose rows behind a place were not taken, and that place (None: all of them). held: the
    columns of the order of rows before ``after`` that were not handed out, since lower versions stand behind them.
    """

    after: StorePlace | None = None
    tail: Any = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    identity: Mapping[str, Any] | None = None
    stopped: Mapping[str, StorePlace | None] = field(default_factory=dict)
    held: tuple[StorePlace, ...] = ()

    def of(self, mapping: Mapping[str, str], where: str) -> StoreMark:
        """The mark of a store that is read with this mapping. Raises SourceError where rows were read with another."""
        if self.after is not None:
            for key, text in mapping.items():
                former = self.mapping.get(key, "")
                if former != text:
                    raise SourceError(
                        f"{where}: {key} is {text or 'not set'}, but the events in the log were read with "
                        f"{former or 'none'}",
                        hint="set it back, or sync into a new log directory",
                    )
        return replace(self, mapping=dict(mapping))


def read_marks(where: str, value: Any) -> dict[str, StoreMark]:
    """Marks from their JSON, by tenant. Raises SourceError: another version's."""
    if value is None:
        return {}
    if not isinstance(value, dict) or value.get("format") != FORMAT or "tenants" not in value:
        raise SourceError(
            f"{where}: its mark in the log is of another version of the runner, or of a source of files",
            hint="give the source another name, or sync into a new log directory",
        )
    return {
        tenant: StoreMark(
            _place(m["after"]),
            m["tail"],
            m["mapping"],
            m["left_out"],
            m["identity"],
            {name: _place(place) for name, place in m["stopped"].items()},
            tuple(tuple(place) for place in m.get("held", ())),
        )
        for tenant, m in value["tenants"].items()
    }


def _place(value: list[int] | None) -> StorePlace | None:
    return None if value is None else tuple(value)


def written_marks(former: Mapping[str, StoreMark], now: Mapping[str, StoreMark]) -> Any:
    """As they stand in the manifest; tenants that were not read keep theirs."""
    marks = {**former, **now}
    return {
        "format": FORMAT,
        "tenants": {
            tenant: {
                "after": None if m.after is None else list(m.after),
                "tail": m.tail,
                "mapping": dict(m.mapping),
                "left_out": dict(m.left_out),
                "identity": m.identity,
                "stopped": {name: None if place is None else list(place) for name, place in m.stopped.items()},
                "held": [list(place) for place in m.held],
            }
            for tenant, m in sorted(marks.items())
        },
    }
