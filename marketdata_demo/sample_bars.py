"""Yearly zips of invented 1-minute bars in the vendor's shape, for the demo, the tests and the benchmarks.

Nothing here is market data: prices are a seeded random walk, adjusted by invented dividends.
"""

import datetime as dt
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from marketdata_assets.bars.layout import BOM, HEADER

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


def stock_year(code: str, name: str, days: Sequence[dt.date], seed: int, dividend: float = 0.0) -> pl.DataFrame:
    """One stock's bars on `days`, columns in the vendor's order, prices adjusted forward by `dividend` yuan.

    The same seed with another dividend is the same stock after a rebase: other prices, same volume and amount.
    """
    rng = np.random.default_rng([seed, *code.encode(), days[0].year])
    time = np.concatenate([session_minutes(day) for day in days])
    n = len(time)
    raw_close = _walk(rng, n, _new_year_price(code, seed, days[0].year), _new_year_price(code, seed, days[0].year + 1))
    raw_open = np.concatenate([raw_close[:1], raw_close[:-1]])
    high = np.maximum(raw_open, raw_close) + rng.integers(0, 3, n)
    low = np.minimum(raw_open, raw_close) - rng.integers(0, 3, n)
    volume = rng.integers(0, 3000, n)
    shift = round(dividend * 100)
    base = np.where(raw_open - shift == 0, 1, raw_open - shift)
    columns = {
        "时间": pl.Series(time.astype("datetime64[us]")).dt.strftime("%Y-%m-%d %H:%M:%S"),
        "代码": pl.repeat(code, n, eager=True),
        "名称": pl.repeat(name, n, eager=True),
        "开盘价": (raw_open - shift) / 100,
        "收盘价": (raw_close - shift) / 100,
        "最高价": (high - shift) / 100,
        "最低价": (low - shift) / 100,
        "成交量": volume,
        "成交额": volume * raw_close,
        "涨幅": np.round((raw_close - raw_open) / base * 100, 2),
        "振幅": np.round((high - low) / base * 100, 2),
    }
    return pl.DataFrame(columns).select(HEADER)


def _new_year_price(code: str, seed: int, year: int) -> int:
    """Where a year's prices start and the year's before end, in cents."""
    return int(np.random.default_rng([seed, *code.encode(), year, 1]).integers(700, 2000))


def _walk(rng: np.random.Generator, steps: int, start: int, end: int) -> np.ndarray:
    """A random walk in cents from `start` to `end`, never below one yuan."""
    walk = np.cumsum(rng.integers(-2, 3, steps))
    bridge = walk + (end - start - walk[-1]) * np.linspace(0, 1, steps)
    prices: np.ndarray = np.maximum(100, start + np.rint(bridge).astype(np.int64))
    return prices


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
