"""`marketdata doctor`: every server's version, edition and latency, what is missing, and how to mend it."""

from typing import Annotated

import typer

from marketdata_assets.cli import output
from marketdata_assets.resources import ClickHouse, Health, Mongo, Nats, Postgres


def doctor(as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
    """Ask every server how it is; the exit code is 1 when one does not answer."""
    found = [Postgres().check(), Mongo().check(), ClickHouse().check(), Nats().check()]
    if as_json:
        output.as_json({"servers": [vars(health) for health in found]})
    else:
        columns = ("server", "state", "version", "edition", "ms", "url")
        output.table("servers", columns, [_row(health) for health in found])
        for health in found:
            for what in health.missing:
                output.console().print(f"{health.store}: {what}")
            if health.remedy:
                output.console().print(f"  remedy: {health.remedy}")
    if not all(health.ok for health in found):
        raise typer.Exit(1)


def _row(health: Health) -> tuple[str, ...]:
    latency = "" if health.latency_ms is None else f"{health.latency_ms:.1f}"
    return health.store, "ok" if health.ok else "not ok", health.version, health.edition, latency, health.url
