"""The compose file and the shop in it: valid by the specification, and what its services do, done here."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from compose_spec import PyCompose

from runner.cli import app

if TYPE_CHECKING:
    from fixtures_postgres import Database

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "projection-runner"]


def validated(text: str) -> None:
    compose = PyCompose.from_json(json.dumps(yaml.safe_load(text)))  # the specification's library knows no merge keys
    compose.validate()
    compose.to_spec()


def test_it_is_what_the_specification_allows() -> None:
    validated(TEXT)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("restart: on-failure", "restart: sometimes"),
        ("condition: service_healthy", "condition: healthy"),
        ("image: postgres", "imagge: postgres"),
        ("retries: 60", "retries: many"),
    ],
)
def test_the_specification_bites(right: str, wrong: str) -> None:
    assert right in TEXT
    with pytest.raises(ValueError, match=wrong.split()[1] if "imagge" not in wrong else "imagge"):
        validated(TEXT.replace(right, wrong))


def test_what_is_mounted_is_there_and_volumes_are_declared() -> None:
    declared = yaml.safe_load(TEXT)["volumes"]
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", ())]
    assert mounts
    for mount in mounts:
        place = mount.split(":")[0]
        assert (DEPLOY / place).exists() if place.startswith(".") else place in declared, place
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= SERVICES.keys()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_prometheus_scrapes_a_service_where_it_serves() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    (target,) = [target for job in scraped for static in job["static_configs"] for target in static["targets"]]
    service, port = target.split(":")
    command = SERVICES[service]["command"]
    assert command[command.index("--metrics-port") + 1] == port


def test_every_secret_is_a_variable_that_must_be_set() -> None:
    named = re.findall(r"\w*PASSWORD: (.*)", TEXT) + re.findall(r"postgresql://\w+:([^@]*)@", TEXT)
    assert len(named) >= 5
    for value in named:
        assert re.fullmatch(r"\$\{\w+:\?choose one\}", value), value


def test_the_shops_services_give_the_rows_that_the_store_has(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The statements of ``store.sql`` as its role runs them, then sync and rebuild with the role's rights alone."""
    store, rights = (DEPLOY / "example/store.sql").read_text().split("CREATE ROLE projections", 1)
    database.sql(store.replace("(1, 30000)", "(1, 600)"))
    grants = rights.split(";", 1)[1]
    role = database.role(*[s for s in re.sub(r"\bprojections\b", "{role}", grants).split(";") if s.strip()])
    monkeypatch.setenv("STORE_URL", role.url)
    monkeypatch.setenv("READS_URL", role.url)
    (tmp_path / "runner.toml").write_text(
        (DEPLOY / "example/runner.toml").read_text().replace('"/data/', f'"{tmp_path}/data/')
    )
    (tmp_path / "orders.py").write_text((DEPLOY / "example/orders.py").read_text())
    monkeypatch.chdir(tmp_path)
    for name in ("sync", "rebuild"):
        assert app.run(SERVICES[name]["command"]) == 0, capsys.readouterr().err
    expected = database.sql(
        """SELECT data ->> 'currency', count(*), sum((data ->> 'amount')::numeric)
        FROM events WHERE type = 'OrderPaid' GROUP BY 1 ORDER BY 1"""
    )
    assert [row[1] for row in expected] == [180, 180, 180]
    assert expected == database.sql(
        "SELECT currency, count(*), sum(paid) FROM reads.orders WHERE status = 'paid' GROUP BY 1 ORDER BY 1"
    )
    assert database.sql("SELECT count(*) FROM reads.orders") == [(600,)]
    payments, paid = database.sql("SELECT sum(payments), sum(paid) FROM reads.takings WHERE day = '2026-01-01'")[0]
    counted = database.sql("SELECT count(*) FROM events WHERE type = 'OrderPaid' AND at < '2026-01-02 00:00Z'")
    assert ([(payments,)], type(paid)) == (counted, Decimal)
