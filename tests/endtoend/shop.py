"""A shop's project as a user has it: event file, runner.toml, projections; and the rows that must come out of it."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from runner.cli import app

__all__ = ["FIRST", "NAMES", "Ended", "Shop", "event", "expected", "history", "text"]

NAMES = ("baskets", "items", "days", "plain")
FIRST = 300
"""Events of the built shop."""
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
TOML = """
[project]
modules = ["shop_projections"]
[log]
path = "{log}"
partitions = 4
[read_models]
path = "{read_models}"
[state]
path = "{state}"
[engine]
name = "threads"
workers = 2
[sources.shop]
files = "{files}"
aggregate_id = "id"
type = "kind"
recorded_at = "at"
version = "v"
payload = "data"
{more}
"""


def event(number: int, version: int, kind: str, at: int, **data: object) -> dict[str, Any]:
    """One event; at: minutes."""
    moment = (BEGIN + timedelta(minutes=at)).isoformat().replace("+00:00", "Z")
    return {"id": f"basket-{number}", "v": version, "kind": kind, "at": moment, "data": data}


def history(count: int, seed: int = 5) -> list[dict[str, Any]]:
    """The first so many events of one endless history of 60 baskets."""
    draw = random.Random(seed)
    versions: Counter[int] = Counter()
    made = []
    for at in range(count):
        number = draw.randrange(60)
        versions[number] += 1
        kind = draw.choices(("basket.opened", "lines.added", "basket.dropped", "basket.seen"), (2, 8, 1, 1))[0]
        data: dict[str, Any] = {}
        if kind == "basket.opened":
            data = {"customer": f"c{draw.randrange(9)}"}
        elif kind == "lines.added":
            lines = [
                {"sku": f"s{draw.randrange(5)}", "quantity": draw.randrange(1, 9)} for _ in range(draw.randrange(3))
            ]
            data = {"lines": lines, "price": draw.randrange(10_000) / 100}
            if draw.random() < 0.5:
                data["note"] = "äß€😀 note"[: draw.randrange(9)]
        made.append(event(number, versions[number], kind, at * 37, **data))
    return made


def text(events: list[dict[str, Any]]) -> str:
    """As NDJSON."""
    return "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in events)


def expected(events: list[dict[str, Any]]) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every read model, by a loop over the events; sorted."""
    baskets: dict[str, dict[str, Any]] = {}
    plain: dict[str, Decimal] = {}
    items: Counter[tuple[str, str]] = Counter()
    days: Counter[tuple[str, str]] = Counter()
    for e in events:
        name, data, at = e["id"], e["data"], e["at"]
        days[e["kind"], at[:10]] += 1
        if e["kind"] in ("basket.opened", "lines.added"):
            fresh = {"customer": "", "quantity": 0, "total": Decimal(0), "notes": deque(maxlen=3), "letters": 0}
            row = baskets.setdefault(name, fresh)
            row["last_at"] = datetime.fromisoformat(at).isoformat()
        if e["kind"] == "basket.opened":
            row["customer"] = data["customer"]
        elif e["kind"] == "lines.added":
            price = Decimal(repr(data["price"])).quantize(Decimal("0.01"))
            for line in data["lines"]:
                row["quantity"] += line["quantity"]
                items[name, line["sku"]] += line["quantity"]
            row["total"] += price
            row["notes"].append(data.get("note", "")[:5])
            row["letters"] += len(data.get("note", ""))
            plain[name] = plain.get(name, Decimal("0.00")) + price
        elif e["kind"] == "basket.dropped":
            baskets.pop(name, None)
            plain.pop(name, None)
    return {
        "baskets": sorted(
            (n, b["customer"], b["quantity"], f"{b['total']:.2f}", tuple(b["notes"]), b["letters"], b["last_at"])
            for n, b in baskets.items()
        ),
        "items": sorted((*key, quantity) for key, quantity in items.items()),
        "days": sorted((*key, count) for key, count in days.items()),
        "plain": sorted((n, str(t), f"{t:>10}") for n, t in plain.items()),
    }


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of the error. What stands behind it is indented and says what to do."""
        assert "Traceback" not in self.err, self.err
        lines = self.err.splitlines()
        (at,) = [n for n, line in enumerate(lines) if line.startswith("error: ")]
        assert all(line.startswith("  ") for line in lines[at + 1 :]), self.err
        return lines[at].removeprefix("error: ")

    @property
    def hint(self) -> str:
        assert self.error
        return self.err.partition("\nerror: ")[2] or self.err


@dataclass
class Shop:
    """A project directory."""

    root: Path
    name: str = "shop.ndjson"
    log: str = "log"
    read_models: str = "read_models"
    state: str = "state"
    more: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(__file__).with_name("shop_projections.py"), self.root)
        self.configure(self.more)

    def configure(self, more: str = "") -> None:
        """Write runner.toml; more: further settings of the source."""
        settings = {"files": self.name, "log": self.log, "read_models": self.read_models, "state": self.state}
        (self.root / "runner.toml").write_text(TOML.format(**settings, more=more))

    @property
    def file(self) -> Path:
        return self.root / self.name

    @property
    def config(self) -> Path:
        return self.root / "runner.toml"

    def append(self, events: list[dict[str, Any]]) -> None:
        with self.file.open("a") as file:
            file.write(text(events))

    def run(self, *arguments: str) -> Ended:
        """A command in this process, as ``runner`` runs it."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = app.run([*arguments, "--config", str(self.config)])
        return Ended(code, out.getvalue(), err.getvalue())

    def good(self, *arguments: str) -> Ended:
        """A command that must succeed."""
        ended = self.run(*arguments)
        assert ended.code == 0, ended.err
        return ended

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """What ``runner query`` shows of every read model; sorted, comparable with ``expected``."""
        return {name: self.table(name) for name in NAMES}

    def table(self, name: str) -> list[tuple[Any, ...]]:
        found = self.good("query", f"FROM {name}", "--json").json["rows"]
        return sorted(tuple(tuple(v) if isinstance(v, list) else v for v in row.values()) for row in found)
