"""Every command on a log that lies on an object store, beside the same on one in a directory: the same bytes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from shop import FIRST, NAMES, Shop, expected, history

from runner.config import load_config
from runner.log import Log
from runner.sinks.export import canonical
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_object_store import ObjectStores

STORE = """
[log.object_store]
endpoint = "{endpoint}"
region = "us-east-1"
{secrets}
"""


def told(shop: Shop) -> dict[str, bytes]:
    models = ReadModels(shop.root / "read_models")
    return {name: canonical(models.table(name)) for name in NAMES}


def test_the_same_bytes_as_in_a_directory(tmp_path: Path, object_store: ObjectStores) -> None:
    secrets = "".join(f'{key}_env = "{variable}"\n' for key, variable in object_store.secrets.items())
    more = STORE.format(endpoint=object_store.endpoint, secrets=secrets)
    near = Shop(tmp_path / "near")
    far = Shop(tmp_path / "far", log=object_store.log().url, more=more)
    events = history(FIRST + 80)
    assert far.run("rebuild", "--all").error == f"no log at {far.log}"
    for shop in (near, far):
        shop.append(events[:FIRST])
        assert "free on the disk" in shop.good("sync", "--plan").out
        shop.good("sync")
        shop.good("rebuild", "--all", "--prove", "all")
        shop.append(events[FIRST:])
        shop.good("sync")
    # Another machine goes on: the project and its read models, and nothing of the cache.
    shutil.rmtree(far.root / "state" / "log_cache")
    for shop in (near, far):
        shop.good("update")
        assert shop.rows() == expected(events)
    assert told(far) == told(near)
    for shop in (near, far):
        shop.good("compact")
        shop.good("rebuild", "baskets", "items", "--to", "250")
        shop.good("update")
        shop.good("verify", "--all")
    assert told(far) == told(near)
    for question in (["audit", "--json"], ["inspect", "--json"], ["explain", "baskets", "basket-3"]):
        answers = [shop.good(*question).out for shop in (near, far)]
        assert answers[0] == answers[1] or '"seconds"' in answers[0]
    count = "SELECT type, count(*) AS n FROM log.events WHERE payload IS NOT NULL GROUP BY type ORDER BY type"
    assert far.good("query", count, "--json").json == near.good("query", count, "--json").json
    status = far.good("status", "--json").json
    assert (status["log"]["path"], status["log"]["events"]) == (far.log, len(events))
    doctor = far.good("doctor", "--json").out
    assert f"{far.log}: the log is there" in json.dumps(json.loads(doctor))

    config = load_config(far.config)
    with Log.open(near.root / "log") as here, Log.open(config.log.path) as there:
        assert there.digest == here.digest
        assert [[f.sha256 for f in s.files()] for s in there.manifest.segments] == [
            [f.sha256 for f in s.files()] for s in here.manifest.segments
        ]
    shown = "".join(p.read_text(errors="replace") for p in far.root.rglob("*") if p.is_file())
    assert not any(f"{variable}-value" in shown for variable in object_store.secrets.values())
