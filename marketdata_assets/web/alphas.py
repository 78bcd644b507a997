"""Alphas as the page lists and compares them: the figures of all, PnL and correlations of some."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.alphas.correlation import correlations, daily_returns
from marketdata_assets.alphas.record_sets import asset_name
from marketdata_assets.read.alpha_records import documents_of, present_accounts
from marketdata_assets.read.alphas import alphas
from marketdata_assets.stores.mongo import Renamed
from marketdata_assets.web.errors import BadParameter

COLUMNS = {
    **{name: name for name in ("id", "account", "name", "status")},
    **{name: f"settings.{name}" for name in ("region", "universe", "delay")},
    **{name: f"is.{name}" for name in ("sharpe", "fitness", "turnover", "returns", "drawdown")},
    "created": "dateCreated",
}
"""The columns of the list, and where documents have their values."""
MOST_LISTED = 20_000
MOST_COMPARED = 8


def listed(databases: Renamed) -> dict[str, Any]:
    """The regular alphas, the best Sharpe first: `columns`, a row for each, and how many there are."""
    frame = alphas("regular", columns=list(COLUMNS.values()), connection=databases)
    best = frame.sort("is.sharpe", descending=True, nulls_last=True).head(MOST_LISTED)
    shown = best.with_columns(pl.col("dateCreated").dt.strftime("%Y-%m-%d")).fill_nan(None)
    return {"columns": list(COLUMNS), "rows": shown.rows(), "of": frame.height}


def compared(databases: Renamed, ids: Sequence[str]) -> dict[str, Any]:
    """The cumulative PnL of some alphas and how their daily returns correlate, see `alphas.correlation`.

    `{"alphas": [{"id": ..., "days": [...], "pnl": [...]}], "correlations": [[1.0, null]], "days": [[900, 12]],
    "missing": [...]}`. Raises BadParameter.
    """
    if not 1 <= len(ids) <= MOST_COMPARED:
        raise BadParameter("ids", ",".join(ids)[:40], f"names {len(ids)} alphas; name 1 to {MOST_COMPARED}.")
    stored, found = asset_name("pnl"), {}
    for account in present_accounts(databases[stored], stored, None):
        for one in documents_of(databases, "pnl", account, ids, names=("date", "pnl")):
            found[one["_id"]] = one["columns"].get("date", []), one["columns"].get("pnl", [])
    drawn = [name for name in dict.fromkeys(ids) if name in found]
    returns = daily_returns((name, *found[name]) for name in drawn)
    values, days = correlations(returns.values, returns.values)
    place = {name: row for row, name in enumerate(returns.ids)}

    def square(matrix: Any) -> list[list[float | None]]:
        pairs = [[(place.get(one), place.get(other)) for other in drawn] for one in drawn]
        cells = [[None if None in pair else float(matrix[pair]) for pair in row] for row in pairs]
        return [[None if cell is None or np.isnan(cell) else round(cell, 4) for cell in row] for row in cells]

    return {
        "alphas": [{"id": name, "days": found[name][0], "pnl": found[name][1]} for name in drawn],
        "correlations": square(values),
        "days": square(days),
        "missing": [name for name in dict.fromkeys(ids) if name not in found],
    }
