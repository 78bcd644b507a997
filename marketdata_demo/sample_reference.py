"""Files of invented reference data for the stocks of `sample_ticks`, in the folder of dropped files, for the demo.

Nothing here is market data. Equal arguments give equal files; a file that already has this content is not touched.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.codes import Board, board_of
from marketdata_assets.reference.records import Days
from marketdata_demo import sample_reconciliation
from marketdata_demo.sample_ticks import MONTHS, STOCKS, Plan, Stock, closing_price, last_months

HOLIDAYS = {(1, 1), (5, 1), *((10, day) for day in range(1, 8))}
"""Of the announced days, month and day."""
MOVES: dict[Board, float] = {"main": 0.1, "chinext": 0.2, "star": 0.2, "beijing": 0.3}
RECODED = ("839001.BJ", "929001.BJ", dt.date(2025, 10, 9))
COMPARED = tuple(f"{code[2:]}.{code[:2].upper()}" for code, _ in sample_reconciliation.STOCKS)
"""Stocks of the sample minute bars that have daily files, too."""
HALTED = ("699002.SH", "10:00-10:30")
"""A stock that is suspended for a part of the last trading day of the last whole month."""


def write(folder: Path, today: dt.date, *, stocks: Sequence[Stock] = STOCKS) -> list[Path]:
    """Write the calendar, the instruments, and tables by day of the last whole months and this one until `today`."""
    plan = Plan(stocks, last_months(today, MONTHS))
    files = {
        "trading_calendar.csv": _announced(today),
        "instruments.csv": _instruments(plan),
        "name_history.csv": pl.DataFrame(
            [(one.symbol, one.name, plan.listed(one)) for one in stocks], ["symbol", "name", "first"], orient="row"
        ),
        "code_changes.csv": pl.DataFrame([RECODED], ["old", "new", "date"], orient="row"),
    }
    for month in (*plan.months, f"{today:%Y-%m}"):
        days = [day for day in plan.sessions(month) if day <= today]
        files[f"suspensions_{month}.csv"] = _suspensions(plan, month)
        files[f"adjust_factors_{month}.csv"] = pl.DataFrame(
            [(one.symbol, day, 1.0) for one in stocks for day in days if day >= plan.listed(one)]
            + [(symbol, day, 1.0) for symbol in COMPARED for day in days],
            ["symbol", "date", "adj_factor"],
            orient="row",
        )
        files[f"price_limits_{month}.csv"] = pl.DataFrame(
            [limits(one, day) for one in stocks for day in days if day >= plan.listed(one)],
            ["symbol", "date", "up", "down"],
            orient="row",
        )
    return [_put(folder / name, frame) for name, frame in files.items()]


def limits(stock: Stock, day: dt.date) -> tuple[str, dt.date, float, float]:
    """The highest and the lowest price of a day, by the close of the day before."""
    before, move = closing_price(stock, day - dt.timedelta(days=1)), MOVES[board_of(stock.symbol)]
    return stock.symbol, day, round(before * (1 + move), 2), round(before * (1 - move), 2)


def _announced(today: dt.date) -> pl.DataFrame:
    """Every day of last year until the end of the next one; the library's days where it knows them."""
    library = ashares()
    days = list(Days(dt.date(today.year - 1, 1, 1), dt.date(today.year + 1, 12, 31)))
    known = set(library.trading_days(Days(days[0], days[-1])))
    said = [day in known and (not library.is_provisional(day) or (day.month, day.day) not in HOLIDAYS) for day in days]
    return pl.DataFrame({"date": days, "open": [int(is_open) for is_open in said]})


def _instruments(plan: Plan) -> pl.DataFrame:
    rows = [(one.symbol, one.name, plan.listed(one)) for one in plan.stocks]
    return pl.DataFrame(rows, ["symbol", "name", "listed"], orient="row")


def _suspensions(plan: Plan, month: str) -> pl.DataFrame:
    rows = []
    if month == plan.months[-1]:
        rows += [(one.symbol, day, "") for one in plan.stocks if (day := plan.suspended(one))]
        rows.append((HALTED[0], plan.sessions(month)[-1], HALTED[1]))
    return pl.DataFrame(rows, {"symbol": pl.String, "date": pl.Date, "timing": pl.String}, orient="row")


def _put(path: Path, frame: pl.DataFrame) -> Path:
    text = frame.write_csv()
    if not (path.is_file() and path.read_text() == text):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(text)
        partial.replace(path)
    return path
