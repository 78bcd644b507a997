"""Ten deliveries as vendors send them: their files, where each is asked for, and what must be in the table afterwards.

A loader of ours or of a peer is not known here.
"""

import datetime as dt
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.size import sized

CODES, DAYS = sized((80, 250), (3, 10))
ROWS = CODES * DAYS
PAGE = sized(1000, 10)
FIRST = dt.date(2023, 1, 2)


@dataclass(frozen=True)
class Delivery:
    """`make` writes its file; `value` is the price's column, and `moment` the one of the day or time."""

    name: str
    file: str
    make: Callable[[bool], bytes]
    """The bytes; with True, the price of the tenth row is no number."""
    value: str
    moment: str
    total: float
    """The sum of the prices."""
    moment_type: str = "date"
    rejects: bool = True
    """Whether a price can be no number in this format."""


def rows() -> Iterator[tuple[int, str, dt.date]]:
    """Number, code and day of each row."""
    for code in range(CODES):
        for day in range(DAYS):
            yield code * DAYS + day, f"sh{600000 + code}", FIRST + dt.timedelta(days=day)


def _price(number: int, bad: bool) -> str:
    return "12..5" if bad and number == 9 else f"{number % 1000 + 1}.25"


def _lines(header: str, row: str, bad: bool) -> str:
    texts = [header] if header else []
    for number, code, day in rows():
        price = _price(number, bad)
        texts.append(row.format(n=number, code=code, day=day, price=price, s=1_700_000_000 + number))
    return "\n".join([*texts, ""])


def _gbk(bad: bool) -> bytes:
    header = "注意：数据仅供研究\n股票代码,股票名称,交易日期,收盘价,成交量"
    return _lines(header, "{code},浦发银行,{day},{price},{n}00", bad).encode("gb18030")


def _zip(name: str, data: bytes) -> bytes:
    """A zip with a name in GBK and no flag that says so, as Chinese tools write it."""
    out, raw = io.BytesIO(), name.encode("gbk")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x" * len(raw), data)
    return out.getvalue().replace(b"x" * len(raw), raw)


def _units(bad: bool) -> bytes:
    texts = ["代码,日期,成交额,涨跌幅"]
    texts += [f"{code},{day},{_price(n, bad)}亿,-1.{n % 100:02}%" for n, code, day in rows()]
    return "\n".join([*texts, ""]).encode()


def _excel(bad: bool) -> bytes:
    from openpyxl import Workbook  # type: ignore[import-untyped]

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(["Fund report"])
    sheet.append(["Fund", "Date", "NAV"])
    for number, code, day in rows():
        text = _price(number, bad)
        sheet.append([code, day, text if bad and number == 9 else float(text)])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _json_lines(bad: bool) -> bytes:
    texts = []
    for number, code, day in rows():
        price = _price(number, bad)
        value = price if bad and number == 9 else float(price)
        texts.append(json.dumps({"s": code, "q": {"t": f"{day}T08:00:00+08:00", "p": value}}))
    return gzip.compress("\n".join([*texts, ""]).encode())


def _parquet(bad: bool) -> bytes:
    import polars as pl

    of = list(rows())
    prices = [float(_price(number, False)) for number, _, _ in of]
    frame = pl.DataFrame({"symbol": [code for _, code, _ in of], "day": [day for _, _, day in of], "close": prices})
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def pages() -> Iterator[bytes]:
    """The bodies of a JSON API's pages; `next` is the number of the next one."""
    items = [{"s": code, "d": str(day), "p": float(_price(number, False))} for number, code, day in rows()]
    for first in range(0, len(items), PAGE):
        following = first // PAGE + 1 if first + PAGE < len(items) else None
        yield json.dumps({"data": {"items": items[first : first + PAGE], "next": following}}).encode()


TOTAL = sum(number % 1000 + 1.25 for number in range(ROWS))
INSTANT = "timestamp with time zone"
DELIVERIES = (
    Delivery("gbk", "日线.zip", lambda bad: _zip("浦发银行.csv", _gbk(bad)), "close", "trade_date", TOTAL),
    Delivery(
        "headerless",
        "trades.csv",
        lambda bad: _lines("", "{code},{s}123,{price}", bad).encode(),
        "column_3",
        "column_2",
        TOTAL,
        INSTANT,
    ),
    Delivery("named", "AAPL.csv", lambda bad: _named(bad), "close", "date", TOTAL),
    Delivery(
        "epochs",
        "ticks.csv",
        lambda bad: _lines("code,time,price", "{code},{s},{price}", bad).encode(),
        "price",
        "time",
        TOTAL,
        INSTANT,
    ),
    Delivery("units", "资金.csv", _units, "amount", "day", TOTAL * 1e8),
    Delivery("nested", "2024.zip", lambda bad: _nested(bad), "close", "trade_date", TOTAL),
    Delivery("excel", "nav.xlsx", _excel, "nav", "date", TOTAL),
    Delivery("lines", "quotes.jsonl.gz", _json_lines, "q_p", "q_t", TOTAL, INSTANT),
    Delivery("bucket", "bars.parquet", _parquet, "close", "day", TOTAL, rejects=False),
    Delivery("candles", "page.json", lambda bad: next(pages()), "p", "d", TOTAL, rejects=False),
)


def _named(bad: bool) -> bytes:
    """One stock's days: its name is that of the file."""
    first = dt.date(1900, 1, 1)
    texts = [f"{first + dt.timedelta(days=n)},{_price(n, bad)}" for n in range(ROWS)]
    return "\n".join(["Date,Close", *texts, ""]).encode()


def _nested(bad: bool) -> bytes:
    return _zip("一月.zip", _zip("浦发银行.csv", _gbk(bad)))


def write(delivery: Delivery, folder: Path, *, bad: bool = False) -> Path:
    """The delivery's file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / delivery.file
    path.write_bytes(delivery.make(bad))
    return path
