"""current.json: which versions of which read models are live and kept. What it says is true; all else is made from it.

::

    {"format": 1, "generation": 7,
     "models": {"accounts": {"newest": 3, "versions": [{"number": 3, "revision": 2, "rolled_back": false}, ...]}},
     "retired": [{"path": "accounts/v1", "at": "..."}]}

``versions``: the live one first, then those a rollback goes to, the most recent first; versions that were rolled back
from stand last and are passed over by a rollback that names no number. ``newest``: the highest number ever published,
so that a number, and with it a file's path, is never used twice. ``retired``: no longer of any use but to readers that
opened the catalog earlier; removed after the grace period.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runner.errors import ReadModelError
from runner.sinks.durable import write_whole
from runner.sinks.shape import Version, directory_name

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Current", "Entry", "Model", "Retired"]

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """A version at the revision that counts."""

    number: int
    revision: int
    rolled_back: bool = False


@dataclass(frozen=True)
class Model:
    """One read model's versions, the live one first."""

    newest: int = 0
    versions: tuple[Entry, ...] = ()

    @property
    def live(self) -> Entry | None:
        return self.versions[0] if self.versions else None

    def switched(self, entry: Entry) -> Model:
        """With another live version; the one before is what a rollback goes to."""
        rest = (e for e in self.versions if e.number != entry.number)
        ordered = sorted(rest, key=lambda e: e.rolled_back)
        return Model(max(self.newest, entry.number), (replace(entry, rolled_back=False), *ordered))

    def kept(self, keep: int) -> tuple[Model, tuple[Entry, ...]]:
        """Without the versions beyond the ``keep`` previous ones, and those."""
        return replace(self, versions=self.versions[: keep + 1]), self.versions[keep + 1 :]

    def rolled_back(self, target: Entry) -> Model:
        """With ``target`` live and the version that was live set aside, unless the way is forward again."""
        former = self.versions[0]
        aside = replace(former, rolled_back=target.number < former.number)
        model = replace(self, versions=(aside, *self.versions[1:]))
        return model.switched(target)


@dataclass(frozen=True)
class Retired:
    """A file or directory, relative to the root, that only earlier readers need."""

    path: str
    at: str


@dataclass(frozen=True)
class Current:
    """The content of current.json; the empty one where there is no file."""

    root: Path
    generation: int = 0
    models: dict[str, Model] = field(default_factory=dict)
    retired: tuple[Retired, ...] = ()

    @staticmethod
    def read(root: Path) -> Current:
        path = root / "current.json"
        try:
            data = json.loads(path.read_bytes())
            if data["format"] != FORMAT:
                raise ReadModelError(
                    f"{path} has format {data['format']}, this runner knows {FORMAT}",
                    hint="use the runner that wrote it, or rebuild into another directory",
                )
            return Current(
                root,
                data["generation"],
                {n: Model(m["newest"], tuple(Entry(**e) for e in m["versions"])) for n, m in data["models"].items()},
                tuple(Retired(**r) for r in data["retired"]),
            )
        except FileNotFoundError:
            return Current(root)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReadModelError(
                f"{path} is damaged: {error}", hint="restore it from a backup, or rebuild into another directory"
            ) from error

    def write(self) -> None:
        """Replace current.json by this, in one rename, on the disk when it returns."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "generation": self.generation,
            "models": {
                n: {"newest": m.newest, "versions": [dict(e.__dict__) for e in m.versions]}
                for n, m in sorted(self.models.items())
            },
            "retired": [dict(r.__dict__) for r in self.retired],
        }
        text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        write_whole(self.root / "current.json", text.encode())

    def model(self, name: str) -> Model:
        return self.models.get(name, Model())

    def with_model(self, name: str, model: Model) -> Current:
        return replace(self, models={**self.models, name: model})

    def directory(self, name: str, number: int) -> Path:
        return self.root / directory_name(name) / f"v{number}"

    def version(self, name: str, entry: Entry) -> Version:
        return Version.read(self.directory(name, entry.number), entry.revision)

    def live_versions(self) -> tuple[Version, ...]:
        """Of every read model, by name."""
        return tuple(self.version(n, m.live) for n, m in sorted(self.models.items()) if m.live)
