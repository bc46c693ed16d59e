"""Prints the dashboard's expressions as recording rules, so that promtool can check what Grafana would send."""

import json
from pathlib import Path

DASHBOARD = Path(__file__).parent / "dashboards" / "projection-runner.json"
VARIABLES = {"$__rate_interval": "5m", "$job": ".*"}


def expressions() -> list[str]:
    """With a value in the place of each of Grafana's variables."""
    found = [t["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for t in panel.get("targets", ())]
    for name, value in VARIABLES.items():
        found = [expression.replace(name, value) for expression in found]
    return found


if __name__ == "__main__":
    rules = [{"record": f"dashboard:{n}", "expr": expression} for n, expression in enumerate(expressions())]
    print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # noqa: T201 - a script; JSON is YAML
