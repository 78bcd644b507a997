"""Alphas as the page lists and compares them: the figures of all, PnL and correlations of some."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from marketdata_assets.alphas.correlation import CONSTANT, LEAST_DAYS, correlations, daily_returns
from marketdata_assets.alphas.record_sets import asset_name
from marketdata_assets.read.alpha_correlation import NOT_FETCHED
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
    numbers = cs.float().replace([math.nan, math.inf, -math.inf], None)
    shown = best.with_columns(pl.col("dateCreated").dt.strftime("%Y-%m-%d"), numbers)
    return {"columns": list(COLUMNS), "rows": shown.rows(), "of": frame.height}


def compared(databases: Renamed, ids: Sequence[str]) -> dict[str, Any]:
    """The cumulative PnL of some alphas and how their daily returns correlate, see `alphas.correlation`.

    `ids` are `account/id`; an id alone means every account that has its PnL. `why` is the reason an alpha has no
    correlations. Raises BadParameter.

    `{"alphas": [{"account": ..., "id": ..., "days": [...], "pnl": [...], "why": null}], "correlations": [[1.0, null]],
    "days": [[900, 12]], "least": 60}`.
    """
    stored, found = asset_name("pnl"), {}
    names = [name for one in _checked_number(ids) for name in (one, one.partition("/")[2])]
    for account in present_accounts(databases[stored], stored, None):
        for one in documents_of(databases, "pnl", account, names, names=("date", "pnl")):
            found[f"{account}/{one['_id']}"] = one["columns"].get("date", []), one["columns"].get("pnl", [])
    same = {one: [key for key in found if one in (key, key.partition("/")[2])] or [one] for one in ids}
    keys = _checked_number([*dict.fromkeys(key for one in ids for key in same[one])])
    returns = daily_returns((key, *found[key]) for key in keys if key in found)
    values, days = correlations(returns.values, returns.values)
    place = {key: row for row, key in enumerate(returns.ids)}
    why = {key: None if key in place else returns.left_out.get(key, NOT_FETCHED) for key in keys}

    def square(matrix: Any) -> list[list[float | None]]:
        pairs = [[(place.get(one), place.get(other)) for other in keys] for one in keys]
        cells = [[None if None in pair else float(matrix[pair]) for pair in row] for row in pairs]
        return [[None if cell is None or np.isnan(cell) else round(cell, 4) for cell in row] for row in cells]

    def drawn(key: str) -> dict[str, Any]:
        account, name = key.split("/", 1) if "/" in key else (None, key)
        dates, pnl = found[key] if why[key] in (None, CONSTANT) else ([], [])
        days, totals = np.array(dates, "datetime64[D]").astype(str).tolist(), np.array(pnl, np.float64).tolist()
        known = [total if np.isfinite(total) else None for total in totals]
        return {"account": account, "id": name, "days": days, "pnl": known, "why": why[key]}

    return {
        "alphas": [drawn(key) for key in keys],
        "correlations": square(values),
        "days": square(days),
        "least": LEAST_DAYS,
    }


def _checked_number(ids: Sequence[str]) -> Sequence[str]:
    if not 1 <= len(ids) <= MOST_COMPARED:
        raise BadParameter("ids", ",".join(ids)[:40], f"names {len(ids)} alphas; name 1 to {MOST_COMPARED}.")
    return ids
