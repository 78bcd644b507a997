"""Files of invented minute bars and order books in the shape of real ones, for the demo, the tests and the benchmarks.

Nothing here is market data: prices are a seeded random walk. The codes are in ranges that no exchange has given out
(699xxx in Shanghai, 309xxx in Shenzhen, 929xxx in Beijing), so no row can be taken for a stock's. Equal arguments give
equal files.
"""

import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from marketdata_assets.reference.calendar import Calendar, ashares
from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.file_drop import ORDER_BOOKS

Array = np.ndarray

MONTHS = 2
BOOK_DEPTH = 5
ZONE = "Asia/Shanghai"


@dataclass(frozen=True)
class Stock:
    """An invented stock. `quiet` is the share of its minutes in which nobody trades."""

    symbol: str
    name: str
    price: float  # yuan
    volume: int  # shares in a usual minute
    quiet: float = 0.0
    suspended: bool = False  # on the third trading day of the last month
    late: bool = False  # listed on the sixth trading day of the first month


STOCKS = (
    Stock("699001.SH", "示例银行", 9.4, 90_000),
    Stock("699002.SH", "样本能源", 31.7, 24_000),
    Stock("699688.SH", "模拟芯片", 128.5, 6_000),
    Stock("309001.SZ", "演示科技", 17.2, 40_000, suspended=True),
    Stock("309002.SZ", "范例软件", 55.0, 11_000, late=True),
    Stock("929001.BJ", "试验材料", 12.3, 3_000, quiet=0.04),
)


@dataclass(frozen=True)
class Written:
    """What was written, and what it holds."""

    files: tuple[Path, ...]
    symbols_file: Path
    symbols: tuple[str, ...]
    months: tuple[str, ...]
    bars: int
    books: int
    suspended: tuple[tuple[str, dt.date], ...]


@dataclass(frozen=True)
class Plan:
    """Which stocks trade on which days."""

    stocks: Sequence[Stock]
    months: Sequence[str]
    calendar: Calendar = field(default_factory=ashares)

    def sessions(self, month: str) -> list[dt.date]:
        return self.calendar.trading_days(Days.month(month))

    def listed(self, stock: Stock) -> dt.date:
        return self.sessions(self.months[0])[5] if stock.late else dt.date(2010, 1, 4)

    def suspended(self, stock: Stock) -> dt.date | None:
        return self.sessions(self.months[-1])[2] if stock.suspended else None

    def days(self, stock: Stock, month: str) -> list[dt.date]:
        """The days of the month on which the stock trades."""
        listed, suspended = self.listed(stock), self.suspended(stock)
        return [day for day in self.sessions(month) if day >= listed and day != suspended]


def last_months(today: dt.date, count: int = MONTHS) -> list[str]:
    """The `count` months before the one of `today`."""
    months = [today.replace(day=1) - dt.timedelta(days=1)]
    while len(months) < count:
        months.append(months[-1].replace(day=1) - dt.timedelta(days=1))
    return [f"{day:%Y-%m}" for day in reversed(months)]


def write(
    folder: Path,
    symbols_file: Path,
    today: dt.date,
    *,
    stocks: Sequence[Stock] = STOCKS,
    months: int = MONTHS,
    seed: int = 7,
) -> Written:
    """Write bars of the last whole months, order books of their last day and the list of stocks.

    Shanghai's stocks come as CSV, a file a month, the others as Parquet. A file that already has this content is not
    touched.
    """
    plan = Plan(stocks, last_months(today, months))
    files: list[Path] = []
    bars = books = 0
    for month in plan.months:
        for suffix, of_file in (("csv", _shanghai(stocks)), ("parquet", _others(stocks))):
            frames = [stock_bars(stock, plan.days(stock, month), seed) for stock in of_file]
            if frames:
                bars += sum(frame.height for frame in frames)
                files.append(_put(folder / f"{month}.{suffix}", pl.concat(frames)))
    last = plan.sessions(plan.months[-1])[-1]
    snapshots = pl.concat([stock_books(stock, last, seed) for stock in stocks])
    books = snapshots.height
    files.append(_put(folder / ORDER_BOOKS / f"{last}.csv", snapshots))
    _put(symbols_file, _listings(plan))
    suspended = [(stock.symbol, day) for stock in stocks if (day := plan.suspended(stock))]
    symbols = tuple(stock.symbol for stock in stocks)
    return Written(tuple(files), symbols_file, symbols, tuple(plan.months), bars, books, tuple(suspended))


def stock_bars(stock: Stock, days: Sequence[dt.date], seed: int = 7) -> pl.DataFrame:
    """The bars of one stock on `days`, labelled by the end of their minute on the exchange's clock."""
    frames = [_bars_of_day(stock, day, seed) for day in days]
    return pl.concat(frames) if frames else _EMPTY


def closing_price(stock: Stock, day: dt.date, seed: int = 7) -> float:
    """The last price of a day in yuan; the next day opens there."""
    return _close(stock, day, seed) / 100


def stock_books(stock: Stock, day: dt.date, seed: int = 7) -> pl.DataFrame:
    """A snapshot of the book at the end of each minute; in a few of them nobody asks, as at a limit up."""
    bars = _bars_of_day(stock, day, seed)
    rng = _rng(stock, day, seed, 2)
    count = bars.height
    middle = np.rint(bars["close"].to_numpy() * 100).astype(np.int64)
    one_sided = np.zeros(count, bool)
    one_sided[100:103] = True
    columns: dict[str, pl.Series | pl.Expr] = {"symbol": bars["symbol"], "ts": bars["ts"]}
    for side, sign in (("bid", -1), ("ask", 1)):
        offset = rng.integers(0, 2, count) if side == "bid" else rng.integers(1, 3, count)
        for level in range(1, BOOK_DEPTH + 1):
            price = pl.Series((middle + sign * (offset + level - 1)) / 100)
            size = pl.Series(rng.integers(1, 80, count) * 100)
            hidden = pl.Series(one_sided & (side == "ask"))
            columns[f"{side}_price_{level}"] = _unless(hidden, price)
            columns[f"{side}_size_{level}"] = _unless(hidden, size)
    return pl.DataFrame(columns)


def _bars_of_day(stock: Stock, day: dt.date, seed: int) -> pl.DataFrame:
    """241 minutes that begin at the close of the walk of the day before and stay within the daily limit."""
    times = pl.Series(ashares().labels(day, "end")).dt.convert_time_zone(ZONE).dt.strftime("%Y-%m-%d %H:%M:%S")
    count = len(times)
    rng = _rng(stock, day, seed, 1)
    start, end = _close(stock, day - dt.timedelta(days=1), seed), _close(stock, day, seed)
    busy = 0.6 + 1.9 * np.linspace(-1, 1, count) ** 2  # most is traded at the opening and at the close
    volume = np.rint(rng.gamma(2.0, 0.5, count) * busy * stock.volume / 100).astype(np.int64) * 100
    quiet = rng.random(count) < stock.quiet
    quiet[0] = False
    volume[quiet] = 0
    silent = volume == 0
    walk = np.concatenate([[start], np.maximum(1, _bridge(rng, count, start, end, max(1.0, start * 0.0008)))])
    traded = np.maximum.accumulate(np.concatenate([[0], np.where(silent, 0, np.arange(1, count + 1))]))
    prices = walk[traded]  # where nobody trades, the price stays
    opening, close = prices[:-1], prices[1:]
    spread = np.where(silent, 0, rng.integers(0, 3, (2, count)))
    high, low = np.maximum(opening, close) + spread[0], np.maximum(1, np.minimum(opening, close) - spread[1])
    return pl.DataFrame(
        {
            "symbol": pl.repeat(stock.symbol, count, eager=True),
            "ts": times,
            **{name: prices / 100 for name, prices in zip(_PRICES, (opening, high, low, close), strict=True)},
            "volume": volume,
            "turnover": np.rint(volume * (opening + high + low + close) / 4) / 100,
        }
    )


_PRICES = ("open", "high", "low", "close")
_EMPTY = pl.DataFrame(
    schema={
        "symbol": pl.String,
        "ts": pl.String,
        **dict.fromkeys(_PRICES, pl.Float64),
        "volume": pl.Int64,
        "turnover": pl.Float64,
    }
)


def _close(stock: Stock, day: dt.date, seed: int) -> int:
    """The position of the walk at the end of `day`, in cents, whatever days were asked for before."""
    phase = float(_rng(stock, dt.date(2000, 1, 1), seed, 0).random())
    number = day.toordinal()
    slow = np.sin(number / 41 + 6.28 * phase) * 0.09 + np.sin(number / 11 + 20 * phase) * 0.03
    step = _rng(stock, day, seed, 3).normal(0, 0.008)
    return max(100, int(np.rint(stock.price * 100 * (1 + slow + step))))


def _bridge(rng: np.random.Generator, steps: int, start: int, end: int, size: float) -> Array:
    walk = np.cumsum(rng.normal(0, size, steps))
    bridge: Array = np.rint(start + walk + (end - start - walk[-1]) * np.linspace(0, 1, steps)).astype(np.int64)
    return bridge


def _rng(stock: Stock, day: dt.date, seed: int, use: int) -> np.random.Generator:
    return np.random.default_rng([seed, use, day.toordinal(), *stock.symbol.encode()])


def _unless(hidden: pl.Series, values: pl.Series) -> pl.Series:
    return pl.select(pl.when(~hidden).then(values)).to_series()


def _shanghai(stocks: Sequence[Stock]) -> list[Stock]:
    return [stock for stock in stocks if stock.symbol.endswith(".SH")]


def _others(stocks: Sequence[Stock]) -> list[Stock]:
    return [stock for stock in stocks if not stock.symbol.endswith(".SH")]


def _listings(plan: Plan) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "symbol": [stock.symbol for stock in plan.stocks],
            "name": [stock.name for stock in plan.stocks],
            "listed": [plan.listed(stock) for stock in plan.stocks],
        }
    )


def _put(path: Path, frame: pl.DataFrame) -> Path:
    buffer = io.BytesIO()
    if path.suffix == ".csv":
        frame.write_csv(buffer)
    else:
        clock = pl.col("ts").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms")
        frame.with_columns(clock).write_parquet(buffer)
    if not (path.is_file() and path.read_bytes() == buffer.getvalue()):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(buffer.getvalue())
        partial.replace(path)
    return path
