"""Yearly zips of invented 1-minute bars in the vendor's shape, for the demo, the tests and the benchmarks.

Nothing here is market data: prices are a seeded random walk, adjusted by invented dividends. They move as A-shares do:
gaps overnight, most volume at the open and at the close, ticks of a cent, lots, daily price limits, two call auctions.
"""

import datetime as dt
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from marketdata_assets.bars.layout import BOM, HEADER
from marketdata_assets.reference.codes import board_of

Array = np.ndarray

HOLIDAYS = {(1, 1), (5, 1), *((10, day) for day in range(1, 8))}
DIVIDENDS = {"sh600001": 40.0}
"""Yuan by which a stock's history is adjusted; 40 makes every price of it negative, as long histories have it."""

STOCKS: tuple[tuple[str, str], ...] = (
    ("sh600001", "示例银行"),
    ("sz000001", "样本地产"),
    ("sz300001", "演示科技"),
    ("sz301001", "范例软件"),
    ("sh688001", "模拟芯片"),
    ("sh689001", "虚构半导体"),
    ("bj920001", "试验材料"),
    ("bj430001", "假想机械"),
)

MINUTES = 240
"""Of continuous trading and the closing auction; the opening auction has a bar of its own before them."""
AUCTION = (237, 238)
"""The minutes in which orders for the closing auction are collected, and nothing is traded."""
LIMITS = {"main": 0.1, "chinext": 0.2, "star": 0.2, "beijing": 0.3, "other": 0.1}
CHINEXT_WIDENED = dt.date(2020, 8, 24)
DAILY_MOVE, INTRADAY_MOVE, OVERNIGHT_MOVE = 0.016, 0.012, 0.005
"""Usual moves, relative to the price."""
SEALED = 0.01
"""A close that is nearer to its price limit than this is at the limit."""
LOTS_A_DAY = 300_000
QUIET = {"beijing": 0.1}
"""The share of minutes without a trade."""
UNRELATED_DAYS = 15
"""Days that are further apart than this have others between them, which were not asked for."""


def session_minutes(day: dt.date) -> np.ndarray:
    """The 241 bar times of one trading day: 09:30, then minutes labelled by their end, lunch left out."""
    morning = np.arange(9 * 60 + 30, 11 * 60 + 31)
    afternoon = np.arange(13 * 60 + 1, 15 * 60 + 1)
    return np.datetime64(day, "s") + np.concatenate([morning, afternoon]).astype("timedelta64[m]")


def weekdays(year: int, until: dt.date | None = None) -> list[dt.date]:
    """Trading days of `year` up to and including `until`: Monday to Friday but for the holidays with a fixed date."""
    days = (dt.date(year, 1, 1) + dt.timedelta(days=n) for n in range(366))
    open_days = (d for d in days if d.year == year and d.weekday() < 5 and (d.month, d.day) not in HOLIDAYS)
    return [d for d in open_days if until is None or d <= until]


@dataclass(frozen=True)
class Sessions:
    """The prices between which a stock trades on each day, in cents, one element a day.

    `aim` is where the day's walk would end without limits; `low_limit` and `high_limit` are by the close before.
    """

    opening: Array
    aim: Array
    low_limit: Array
    high_limit: Array


def stock_year(code: str, name: str, days: Sequence[dt.date], seed: int, dividend: float = 0.0) -> pl.DataFrame:
    """One stock's bars on `days`, columns in the vendor's order, prices adjusted forward by `dividend` yuan.

    The same seed with another dividend is the same stock after a rebase: other prices, same volume and amount. More
    days after these leave the bars of these as they are.
    """
    sessions = _sessions(code, days, seed)
    traded, opened, high, low = _prices(code, days, seed, sessions)
    volume = _volume(code, days, seed, sessions)
    volume[:, 1:][_silent(code, days, seed)] = 0
    shift = round(dividend * 100)
    first = np.where(opened - shift == 0, 1, opened - shift)
    columns = {
        "时间": pl.Series(np.concatenate([session_minutes(day) for day in days]).astype("datetime64[us]")),
        "代码": pl.repeat(code, volume.size, eager=True),
        "名称": pl.repeat(name, volume.size, eager=True),
        "开盘价": (opened - shift) / 100,
        "收盘价": (traded - shift) / 100,
        "最高价": (high - shift) / 100,
        "最低价": (low - shift) / 100,
        "成交量": volume,
        "成交额": volume * (opened + high + low + traded) / 4,
        "涨幅": np.round((traded - opened) / first * 100, 2),
        "振幅": np.round((high - low) / first * 100, 2),
    }
    flat = {name: values.ravel() if isinstance(values, np.ndarray) else values for name, values in columns.items()}
    return pl.DataFrame(flat).with_columns(pl.col("时间").dt.strftime("%Y-%m-%d %H:%M:%S")).select(HEADER)


def price_limits(code: str, day: dt.date, before: int) -> tuple[int, int]:
    """The lowest and the highest price of a day in cents, by the close of the day before."""
    board = board_of(f"{code[2:]}.{code[:2].upper()}")
    share = LIMITS["main"] if board == "chinext" and day < CHINEXT_WIDENED else LIMITS[board]
    return max(1, int(before * (1 - share) + 0.5)), int(before * (1 + share) + 0.5)


def _sessions(code: str, days: Sequence[dt.date], seed: int) -> Sessions:
    """A walk of daily closes around that of the year, each within the limits of the one before."""
    of_year = {year: _year_walk(code, year, seed) for year in {day.year for day in days}}
    gaps = _rng(code, seed, days[0].year, 2).normal(0, OVERNIGHT_MOVE, 366)
    rows, last, before = [], dt.date.min, 0
    for day in days:
        walk, at = of_year[day.year], day.timetuple().tm_yday
        if (day - last).days > UNRELATED_DAYS:
            before = round(walk[at - 1])
        low, high = price_limits(code, day, before)
        opening = before * (walk[at] / before) ** 0.3 * np.exp(gaps[at - 1])
        aim = _aim(walk[at], before, low, high)
        rows.append((np.clip(round(opening), low, high), aim, low, high))
        last, before = day, int(np.clip(round(aim), low, high))
    return Sessions(*np.array(rows).T)


def _aim(target: float, before: int, low: int, high: int) -> float:
    """Where a day's walk ends: `target`, or well beyond a limit that it comes close to, so that it stays at it."""
    if target > high - SEALED * before:
        return high * 1.02
    return low * 0.98 if target < low + SEALED * before else target


def _year_walk(code: str, year: int, seed: int) -> Array:
    """A price in cents at the end of each day of the year, element 0 at the end of the year before.

    The walk ends where that of the next year begins, so that files of neighbouring years fit.
    """
    start, end = _new_year_price(code, seed, year), _new_year_price(code, seed, year + 1)
    trading = np.zeros(367)
    trading[[day.timetuple().tm_yday for day in weekdays(year)]] = 1
    moves = _rng(code, seed, year, 0).standard_t(4, 367).clip(-6, 6) * DAILY_MOVE * trading
    moves[np.flatnonzero(trading)[-1]] = 0  # no limit keeps the last day away from the price of the new year
    walk, passed = np.cumsum(moves), np.cumsum(trading) / trading.sum()
    prices: Array = np.maximum(100.0, start * np.exp(walk + (np.log(end / start) - walk[-1]) * passed))
    return prices


def _new_year_price(code: str, seed: int, year: int) -> int:
    """Where a year's prices start and the year's before end, in cents."""
    return int(_rng(code, seed, year, 1).integers(900, 1600))


def _prices(code: str, days: Sequence[dt.date], seed: int, sessions: Sessions) -> tuple[Array, Array, Array, Array]:
    """Close, open, high and low in cents, a row for each day; see `Sessions`."""
    noise = np.stack([_rng(code, seed, day.toordinal(), 3).standard_normal((3, MINUTES)) for day in days])
    variance = _smile() / _smile().sum()
    steps = np.cumsum(noise[:, 0] * INTRADAY_MOVE * np.sqrt(variance), axis=1)
    opening, aim = np.log(sessions.opening)[:, None], np.log(sessions.aim)[:, None]
    walk = np.rint(np.exp(opening + steps + (aim - opening - steps[:, -1:]) * np.cumsum(variance)))
    limits = sessions.low_limit[:, None], sessions.high_limit[:, None]
    auctioned = np.column_stack([sessions.opening, np.clip(walk, *limits)]).astype(np.int64)
    silent = np.column_stack([np.zeros(len(days), bool), _silent(code, days, seed)])
    last_trade = np.maximum.accumulate(np.where(silent, 0, np.arange(MINUTES + 1)), axis=1)
    close = np.take_along_axis(auctioned, last_trade, axis=1)
    opened = np.column_stack([close[:, 0], close[:, :-1]])
    wick = np.abs(noise[:, 1:]) * INTRADAY_MOVE * np.sqrt(variance) / 2 * sessions.opening[:, None, None]
    wick = np.where(silent[:, None, 1:], 0, np.rint(wick)).astype(np.int64)
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    high[:, 1:] += wick[:, 0]
    low[:, 1:] -= wick[:, 1]
    return close, opened, np.minimum(high, limits[1].astype(np.int64)), np.maximum(low, limits[0].astype(np.int64))


def _volume(code: str, days: Sequence[dt.date], seed: int, sessions: Sessions) -> Array:
    """Lots of each bar, a row for each day: more when the price moves, at the open and at the close."""
    noise = np.stack([_rng(code, seed, day.toordinal(), 4).standard_normal(MINUTES + 2) for day in days])
    usual = LOTS_A_DAY * np.exp(_rng(code, seed, 0, 5).normal(0, 0.5))
    moved = np.abs(np.log(sessions.aim / sessions.opening))[:, None]
    of_day = usual * (0.7 + 12 * moved) * np.exp(0.3 * noise[:, -1:])
    share = np.concatenate([[_smile()[0]], _smile()])
    share[-1] *= 2  # the closing auction
    lots: Array = np.rint(of_day * share / share.sum() * np.exp(0.5 * noise[:, :-1])).astype(np.int64)
    return lots


def _smile() -> Array:
    """How busy each minute is, relative to a quiet one."""
    minute = np.arange(MINUTES)
    afternoon = np.exp(-np.abs(minute - MINUTES / 2) / 6)
    smile: Array = 1 + 3 * np.exp(-minute / 15) + 0.7 * afternoon + 1.5 * np.exp((minute - MINUTES) / 12)
    return smile


def _silent(code: str, days: Sequence[dt.date], seed: int) -> Array:
    """Whether nobody trades in a minute, a row for each day."""
    quiet = QUIET.get(board_of(f"{code[2:]}.{code[:2].upper()}"), 0.0)
    silent = np.stack([_rng(code, seed, day.toordinal(), 6).random(MINUTES) for day in days]) < quiet
    silent[:, AUCTION] = True
    silent[:, -1] = False
    return silent


def _rng(code: str, seed: int, place: int, use: int) -> np.random.Generator:
    return np.random.default_rng([seed, use, place, *code.encode()])


def csv_bytes(frame: pl.DataFrame) -> bytes:
    """`frame` as the vendor writes it: UTF-8 with BOM, header line, no quotes."""
    buffer = io.BytesIO()
    frame.write_csv(buffer, quote_style="never")
    return BOM + buffer.getvalue()


def write_year(
    folder: Path,
    year: int,
    stocks: Sequence[tuple[str, str]] = STOCKS,
    until: dt.date | None = None,
    seed: int = 7,
    dividends: Mapping[str, float] = DIVIDENDS,
) -> Path:
    """Write `{year}_1min.zip`, one `{code}_{year}.csv` for each of `stocks`; equal arguments give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    days = weekdays(year, until)
    path = folder / f"{year}_1min.zip"
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for code, name in stocks:
            member = zipfile.ZipInfo(f"{code}_{year}.csv", date_time=(year, 12, 31, 16, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, csv_bytes(stock_year(code, name, days, seed, dividends.get(code, 0.0))))
    return partial.replace(path)
