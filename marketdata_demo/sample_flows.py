"""Files of invented daily prices in the vendor's shape, for the demo, the tests and the benchmarks.

Nothing here is market data: prices are a seeded random walk. The shape is the vendor's: GBK, a notice in line 1, 38
columns, decimals with the noise of doubles, blank cells, days without trading, moves beyond the limit.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

ENCODING = "gb18030"
NOTICE = "本数据为示例，由程序生成，不是行情"
HEADER = (
    *("股票代码", "股票名称", "交易日期", "开盘价", "最高价", "最低价", "收盘价", "前收盘价", "成交量", "成交额"),
    *("流通市值", "总市值", "净利润TTM", "现金流TTM", "净资产", "总资产", "总负债", "净利润(当季)"),
    *(f"{who}资金{way}额" for who in ("中户", "大户", "散户", "机构") for way in ("买入", "卖出")),
    *(f"{index}成分股" for index in ("沪深300", "上证50", "中证500", "中证1000", "中证2000", "创业板指")),
    *(f"新版申万{level}级行业名称" for level in "一二三"),
    *(f"09:{minute}收盘价" for minute in (35, 45, 55)),
)
BOARDS = (("sh600", "示例"), ("sz000", "样本"), ("sz300", "演示"), ("sh688", "模拟"), ("bj921", "试验"))
INDUSTRIES = (("汽车", "汽车零部件", "底盘与发动机系统"), ("银行", "国有大型银行", "国有大型银行"))
EVERY_ST = 17
"""So many stocks apart, one has a name that begins with ST."""
EVERY_BAD_ROW = 50
"""So many stocks apart, one has a row without an opening price, which is refused."""
HALTED_SHARE = 0.02
WILD_SHARE = 0.003


def stocks(count: int) -> list[tuple[str, str]]:
    """Codes and names of `count` invented stocks, spread over the boards."""
    found = []
    for number in range(count):
        prefix, word = BOARDS[number % len(BOARDS)]
        title = f"{word}{number:04d}"
        found.append((f"{prefix}{number // len(BOARDS):03d}", f"ST{title}" if number % EVERY_ST == 0 else title))
    return found


def weekdays(last: dt.date, count: int) -> list[dt.date]:
    """The last `count` weekdays up to and including `last`."""
    days = (last - dt.timedelta(days=back) for back in range(count * 2 + 7))
    return sorted([day for day in days if day.weekday() < 5][:count])


def stock(code: str, name: str, days: Sequence[dt.date], seed: int = 7) -> pl.DataFrame:
    """The rows of one stock on `days`, with the vendor's columns."""
    rng = np.random.default_rng([seed, *code.encode()])
    n = len(days)
    moves = rng.normal(0, 0.015, n).clip(-0.045, 0.045)
    moves = np.where(rng.random(n) < WILD_SHARE, rng.choice([-0.4, 0.5], n), moves)
    close = np.round(rng.uniform(5, 60) * np.cumprod(1 + moves), 2).clip(1)
    pre_close = np.concatenate([close[:1], close[:-1]])
    opened = np.round((pre_close + close) / 2, 2)
    volume = rng.integers(100_000, 20_000_000, n).astype(float)
    volume[rng.random(n) < HALTED_SHARE] = 0.0
    shares = float(rng.integers(10_000_000, 900_000_000))
    quarter = np.arange(n) // 63
    columns: dict[str, object] = dict.fromkeys(HEADER)
    columns |= {
        "股票代码": code,
        "股票名称": name,
        "交易日期": pl.Series(days).dt.strftime("%Y-%m-%d"),
        "开盘价": opened,
        "最高价": np.maximum(opened, close) + 0.05,
        "最低价": np.minimum(opened, close) - 0.05,
        "收盘价": close,
        "前收盘价": pre_close,
        "成交量": volume,
        "成交额": np.round(volume * (opened + close) / 2, 2),
        "流通市值": shares * 0.6 * close,
        "总市值": shares * close,
        "净资产": 4.7e8 + quarter * 1.1e6,
        "总资产": 6.2e8 + quarter * 1.3e6,
        "总负债": 1.5e8 + quarter * 0.2e6,
        **dict(zip(HEADER[32:35], INDUSTRIES[len(code) % 2], strict=True)),
    }
    return pl.DataFrame(
        [
            value.alias(name) if isinstance(value, pl.Series) else _series(name, value, n)
            for name, value in columns.items()
        ]
    )


def _series(name: str, value: object, rows: int) -> pl.Series:
    if isinstance(value, np.ndarray):
        return pl.Series(name, value)
    return pl.Series(name, [value] * rows, dtype=pl.String)


def vendor_bytes(frame: pl.DataFrame) -> bytes:
    """`frame` as the vendor writes it."""
    return f"{NOTICE}\n{frame.write_csv(quote_style='never')}".encode(ENCODING)


def write(folder: Path, count: int, last: dt.date, days: int = 120, seed: int = 7) -> list[Path]:
    """Write the files of `count` stocks over `days` weekdays up to `last`; equal arguments give equal bytes.

    Files that stand with the same bytes are left alone. Gives those that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    calendar = weekdays(last, days)
    written = []
    for number, (code, name) in enumerate(stocks(count)):
        data = vendor_bytes(stock(code, name, calendar, seed))
        if number % EVERY_BAD_ROW == 0 and days > 100:
            data = _without_open(data)
        path = folder / f"{code}.csv"
        if not path.exists() or path.read_bytes() != data:
            partial = path.with_suffix(".partial")
            partial.write_bytes(data)
            written.append(partial.replace(path))
    return written


def _without_open(data: bytes) -> bytes:
    """The same, with a blank opening price in the last row."""
    head, _, last = data.rstrip(b"\n").rpartition(b"\n")
    cells = last.split(b",")
    cells[HEADER.index("开盘价")] = b""
    return b"\n".join([head, b",".join(cells), b""])
