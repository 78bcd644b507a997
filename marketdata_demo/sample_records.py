"""Invented record sets in the API's shape, for demo and tests. Equal alphas give equal records.

The daily profits of an alpha have exactly its Sharpe ratio; those of all alphas share a part, so that they correlate.
"""

import datetime as dt
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev
from typing import Any

from marketdata_assets.alphas.record_sets import RecordSet

FIRST_DAY, DAYS = dt.date(2019, 1, 21), 520
TRADING_DAYS = 252
OTHERS = 10
BINS = 20
DAILY_RISK = 60_000.0  # of a book of 20 million USD


def response(alpha: dict[str, Any], record_set: RecordSet, others: Sequence[str] = ()) -> dict[str, Any]:
    """The API's response for one alpha; `others` are the account's alphas that it is compared with."""
    stats = alpha["is"]
    if record_set == "submission_check":
        correlated = {"name": "SELF_CORRELATION", "result": "PASS", "limit": 0.7, "value": 0.42}
        matched = {
            "name": "MATCHES_COMPETITION",
            "result": "PASS",
            "competitions": [{"id": "challenge", "name": "Challenge"}],
        }
        known = [one for one in stats["checks"] if one["name"] not in (correlated["name"], matched["name"])]
        return {"is": {"checks": [*known, correlated, matched]}}
    if record_set in ("self_correlation", "power_pool_correlation"):
        return _self_correlation(alpha, [one for one in others if one != alpha["id"]])
    if record_set == "prod_correlation":
        return _prod_correlation(alpha["id"])
    days = _weekdays()
    profits = _profits(alpha["id"], stats["sharpe"])
    if record_set == "yearly_stats":
        return _yearly_stats(stats, days, profits)
    if record_set == "daily_pnl":
        rows = [[day.isoformat(), round(profit, 2)] for day, profit in zip(days, profits, strict=True)]
        return _records("daily-pnl", [("date", "date"), ("pnl", "amount")], rows)
    if record_set == "pnl":
        total, rows = 0.0, []
        for day, profit in zip(days, profits, strict=True):
            total += profit
            rows.append([day.isoformat(), round(total, 2)])
        return _records("pnl", [("date", "date"), ("pnl", "amount")], rows)
    random = Random(f"turnover/{alpha['id']}")
    if record_set == "turnover":
        rows = [[day.isoformat(), round(stats["turnover"] * random.uniform(0.8, 1.2), 4)] for day in days]
        return _records("turnover", [("date", "date"), ("turnover", "percent")], rows)
    months = [number for number in range(1, DAYS) if days[number].month != days[number - 1].month]
    rows = [[days[number].isoformat(), round(_sharpe(profits[: number + 1]), 2)] for number in months]
    return _records("sharpe", [("date", "date"), ("sharpe", "decimal")], rows)


def _records(name: str, columns: Sequence[tuple[str, str]], rows: list[list[Any]], **bounds: Any) -> dict[str, Any]:
    properties = [{"name": column, "title": column.capitalize(), "type": kind} for column, kind in columns]
    return {"schema": {"name": name, "title": name, "properties": properties}, "records": rows, **bounds}


@cache
def _weekdays() -> list[dt.date]:
    every = (FIRST_DAY + dt.timedelta(days=number) for number in range(2 * DAYS))
    return [day for day in every if day.weekday() < 5][:DAYS]


@cache
def _market() -> list[float]:
    random = Random("market")
    return [random.gauss(0, 1) for _ in range(DAYS)]


def _profits(name: str, sharpe: float) -> list[float]:
    random = Random(f"pnl/{name}")
    share = random.uniform(0.0, 0.9)
    noise = [share * common + (1 - share) * random.gauss(0, 1) for common in _market()]
    mean, deviation = fmean(noise), pstdev(noise)
    return [DAILY_RISK * ((one - mean) / deviation + sharpe / TRADING_DAYS**0.5) for one in noise]


def _sharpe(profits: Sequence[float]) -> float:
    return float(fmean(profits) / (pstdev(profits) or 1.0) * TRADING_DAYS**0.5)


def _yearly_stats(stats: dict[str, Any], days: list[dt.date], profits: list[float]) -> dict[str, Any]:
    columns = [("year", "year"), ("pnl", "amount"), ("bookSize", "amount"), ("longCount", "integer")]
    columns += [("shortCount", "integer"), ("turnover", "percent"), ("sharpe", "decimal"), ("returns", "percent")]
    columns += [("drawdown", "percent"), ("margin", "permyriad"), ("fitness", "decimal"), ("stage", "string")]
    rows = []
    for year in sorted({day.year for day in days}):
        own = [profit for day, profit in zip(days, profits, strict=True) if day.year == year]
        sharpe, returns = _sharpe(own), fmean(own) * TRADING_DAYS / (stats["bookSize"] / 2)
        peak, total, drawdown = 0.0, 0.0, 0.0
        for profit in own:
            total += profit
            peak, drawdown = max(peak, total), max(drawdown, max(peak, total) - total)
        margin = returns / max(stats["turnover"], 0.01) / TRADING_DAYS
        fitness = sharpe * (abs(returns) / max(stats["turnover"], 0.125)) ** 0.5
        row = [f"{year}", round(total), stats["bookSize"], stats["longCount"], stats["shortCount"], stats["turnover"]]
        row += [round(sharpe, 2), round(returns, 4), round(drawdown / stats["bookSize"] * 2, 4), round(margin, 6)]
        rows.append([*row, round(fitness, 2), "IS"])
    return _records("yearly-stats", columns, rows)


def _self_correlation(alpha: dict[str, Any], others: Sequence[str]) -> dict[str, Any]:
    columns = [(name, "string") for name in ("id", "name", "instrumentType", "region", "universe")]
    columns += [("correlation", "decimal"), ("sharpe", "decimal"), ("returns", "percent"), ("turnover", "percent")]
    random, settings = Random(f"self/{alpha['id']}"), alpha["settings"]
    rows: list[list[Any]] = []
    for other in random.sample(sorted(others), min(OTHERS, len(others))):
        known = [other, None, settings["instrumentType"], settings["region"], settings["universe"]]
        rows.append([*known, round(random.betavariate(2, 3), 4), round(random.gauss(1.5, 0.3), 2), 0.08, 0.3])
    rows.sort(key=lambda row: -row[5])
    found = [row[5] for row in rows]
    return _records("selfCorrelation", columns, rows, min=min(found, default=None), max=max(found, default=None))


def _prod_correlation(name: str) -> dict[str, Any]:
    random = Random(f"prod/{name}")
    greatest = round(random.uniform(0.3, 0.95), 4)
    edges = [round(-1 + 2 * number / BINS, 2) for number in range(BINS + 1)]
    rows = [[low, high, random.randrange(1, 5000) if -0.4 < low < greatest else 0] for low, high in pairwise(edges)]
    columns = [("min", "decimal"), ("max", "decimal"), ("alphas", "integer")]
    return _records("prodCorrelation", columns, rows, min=-0.3, max=greatest)


OPERATORS = [
    {
        "name": name,
        "category": category,
        "scope": ["REGULAR"],
        "definition": definition,
        "description": text,
        "level": "ALL",
    }
    for name, category, definition, text in (
        ("rank", "Cross Sectional", "rank(x, rate=2)", "Ranks the values of a day between 0 and 1."),
        ("ts_rank", "Time Series", "ts_rank(x, d, constant = 0)", "Ranks the value among those of the last d days."),
        ("ts_delta", "Time Series", "ts_delta(x, d)", "The value less that of d days ago."),
        ("group_neutralize", "Group", "group_neutralize(x, group)", "Subtracts the mean of the group."),
    )
]


def data_sets(market: dict[str, Any]) -> list[dict[str, Any]]:
    """The data sets of a market, of which one has more fields than a page."""
    return [
        {
            "id": f"sample{number}",
            "name": f"Invented data {number}",
            "category": {"id": "pv", "name": "Price Volume"},
            **market,
            "coverage": 0.9,
            "fieldCount": count,
        }
        for number, count in enumerate((3, 60), 1)
    ]


def fields(data_set: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of a data set."""
    about = {name: data_set[name] for name in ("category", "region", "delay", "universe", "coverage")}
    owner = {"id": data_set["id"], "name": data_set["name"]}
    return [
        {
            "id": f"{data_set['id']}_{number}",
            "description": f"invented {number}",
            "dataset": owner,
            "type": "MATRIX",
            **about,
        }
        for number in range(data_set["fieldCount"])
    ]
