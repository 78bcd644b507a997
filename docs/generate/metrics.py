"""The metrics of the collector and the pipeline, and their alerts."""

from pathlib import Path
from typing import Any

import yaml

from docs.generate.markdown import code, table
from marketdata_assets.cli import figures
from marketdata_assets.collector import drain_service, metrics

DOCKER = Path(__file__).parents[2] / "docker"


def page() -> str:
    return f"""# Metrics and alerts

## Metrics of the collector

At `/metrics` of its HTTP port. `marketdata collect metrics` prints this table.

{metrics.table()}
## Metrics of the drain

At `/metrics` of `marketdata drain --follow`, by default `http://127.0.0.1:9102`.

{metrics.table(drain_service.FAMILIES)}
## Metrics of servers, tables and runs

At `/metrics` of `marketdata metrics`, by default `http://127.0.0.1:9101`.

{figures.table()}
## Alerts

The rules of `docker/alerts*.yml`. The [runbook](../runbook.md) explains what to do when an alert fires.

{table(("alert", "severity", "condition", "for"), map(_row, alerts()))}"""


def alerts() -> list[dict[str, Any]]:
    files = sorted(DOCKER.glob("alerts*.yml"), key=lambda file: file.stem)
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def _row(rule: dict[str, Any]) -> tuple[str, str, str, str]:
    name = rule["alert"]
    severity = rule["labels"]["severity"]
    return f"[{name}](../runbook.md#{name.lower()})", severity, code(rule["expr"]), str(rule.get("for", ""))
