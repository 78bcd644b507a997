"""`marketdata status`: every asset at a glance."""

from collections import Counter
from typing import Annotated, Any

import typer

from marketdata_assets.bars import status as bars
from marketdata_assets.cli import output
from marketdata_assets.cli.instance import months_between
from marketdata_assets.resources import BarFiles, Postgres
from marketdata_assets.stores.postgres import connect

STATES = ("ok", "empty", "missing", "stale", "failed")
COLUMNS = ("asset", *STATES, "rows", "codes", "newest", "quarantine")


def status(as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
    """Show what stands in the tables, and which partitions are missing, stale or failed."""
    rows = bars_rows()
    if as_json:
        output.as_json({"assets": rows})
    else:
        output.table("assets", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    if any(row["failed"] for row in rows):
        raise typer.Exit(1)


def bars_rows() -> list[dict[str, Any]]:
    """The rows of the bars domain."""
    months = months_between(None)
    with connect(Postgres().dsn) as connection:
        bars.ensure_readable(connection)
        states = bars.month_states(connection, BarFiles().path, months)
        klines = bars.kline_states(connection, states)
        summaries = (bars.bars_summary(connection), bars.kline_summary(connection))
    return [
        _row("stock_1min_qfq", states, summaries[0]),
        _row("stock_monthly_kline", klines, summaries[1]),
    ]


def _row(asset: str, states: dict[str, bars.State], summary: bars.Summary) -> dict[str, Any]:
    counts = Counter[str](states.values())
    return {
        "asset": asset,
        "partitions": len(states),
        **{state: counts.get(state, 0) for state in STATES},
        "rows": summary.rows,
        "codes": summary.codes,
        "newest": f"{summary.newest:%Y-%m-%d}" if summary.newest else None,
        "quarantine": summary.quarantined,
    }
