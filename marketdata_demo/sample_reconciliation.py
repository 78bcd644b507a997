"""Daily files of the stocks of the sample minute bars: the same days, with a few values changed, for `reconciliation`.

The files have the vendor's shape of `sample_flows`; the unchanged values are what the minutes add up to.
"""

import datetime as dt
import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.bars.layout import COLUMNS
from marketdata_demo import sample_bars, sample_flows

STOCKS = tuple(stock for stock in sample_bars.STOCKS if stock[0] in ("sh600001", "sz000001", "sz300001", "sh688001"))


@dataclass(frozen=True)
class Change:
    """A value of a daily file that is not what the minutes say: on the day so many trading days before the last."""

    code: str
    days_before: int
    field: str
    factor: float


CHANGES = (
    Change("sz000001", 2, "volume", 1.1),
    Change("sz000001", 9, "turnover", 0.9),
    Change("sz300001", 5, "high", 1.02),
    Change("sh688001", 3, "close", 0.99),
    Change("sh688001", 3, "volume", 0.5),
)
VENDOR = {
    "open": "开盘价",
    "high": "最高价",
    "low": "最低价",
    "close": "收盘价",
    "volume": "成交量",
    "turnover": "成交额",
}

Planted = tuple[str, dt.date, str]
"""Symbol, date and field."""


def write(bars: Path, folder: Path, days: int = 120) -> set[Planted]:
    """Write a daily file for each of STOCKS from the newest years of minute bars in `bars`; gives what was changed.

    Files that are no samples are left alone, and so are those that have this content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    planted = set()
    for code, name in STOCKS:
        path = folder / f"{code}.csv"
        before = path.read_bytes() if path.exists() else b""
        if before and not before.startswith(sample_flows.NOTICE.encode(sample_flows.ENCODING)):
            continue
        daily = _daily(bars, code).tail(days)
        if daily.is_empty():
            continue
        shape = sample_flows.stock(code, name, daily["date"].to_list())
        columns = [pl.Series(vendor, daily[field]) for field, vendor in VENDOR.items()]
        frame = shape.with_columns(
            *columns, pl.Series("前收盘价", daily["close"].shift(1, fill_value=daily["open"][0]))
        )
        for change in (change for change in CHANGES if change.code == code):
            row, column = max(0, frame.height - 1 - change.days_before), VENDOR[change.field]
            frame[row, column] = round(frame[row, column] * change.factor, 2)
            planted.add((f"{code[2:]}.{code[:2].upper()}", daily["date"][row], change.field))
        if (data := sample_flows.vendor_bytes(frame)) != before:
            path.write_bytes(data)
    return planted


def _daily(bars: Path, code: str) -> pl.DataFrame:
    """The days of a stock in the two newest years, with traded prices and volume in shares."""
    frames = []
    for path in sorted(bars.glob("*_1min.zip"))[-2:]:
        with zipfile.ZipFile(path) as archive:
            name = f"{code}_{path.name[:4]}.csv"
            if name in archive.namelist():
                frames.append(pl.read_csv(archive.read(name)).rename(COLUMNS))
    if not frames:
        return pl.DataFrame()
    minutes = pl.concat(frames).with_columns(pl.col("time").str.to_datetime()).sort("time")
    dividend = sample_bars.DIVIDENDS.get(code, 0.0)
    return minutes.group_by(date=pl.col("time").dt.date(), maintain_order=True).agg(
        open=pl.col("open").first() + dividend,
        high=pl.col("high").max() + dividend,
        low=pl.col("low").min() + dividend,
        close=pl.col("close").last() + dividend,
        volume=pl.col("volume").sum().cast(pl.Float64) * 100,
        turnover=pl.col("amount").sum().cast(pl.Float64),
    )
