"""Files as vendors, exchanges and statistics offices deliver them, by `new` alone: each row is one of the table.

Each shape is made of typed values, so that what must be in the table, the rows that a person sees in the files, is
known without reading a file. There are two files of each.
"""
# ruff: noqa: E501 - lines are as they are delivered

import datetime as dt
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.flows import sample
from marketdata_assets.flows.definition import parse
from marketdata_assets.flows.draft import draft
from tests.flows.flow_files import read_all

Row = tuple[Any, ...]
Lines = Iterable[tuple[str, Row | None]]
"""The lines of a file with the row that each is; None where it is none."""
D = Decimal
DAYS = [dt.date(2024, 1, 2) + dt.timedelta(days=number) for number in range(40)]
WEEK = [day for day in DAYS if day.weekday() < 5]
CODES = ("000001", "600519", "300750")


@dataclass(frozen=True)
class Shape:
    """Files of one kind by name, the first of which is the sample, and the rows of all of them."""

    files: dict[str, bytes]
    rows: list[Row]
    named_after_file: bool = False
    """Whether the name of the file is a column more, which `new` tells and a person may take out."""


def prices(number: int) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Open, high, low, close."""
    base = D(1000 + 7 * number) / 100
    return base, base + D("0.25"), base - D("0.5"), base + D("0.11")


def week() -> Iterator[tuple[int, dt.date, Decimal, Decimal, Decimal, Decimal]]:
    """Each trading day with its number and prices."""
    return ((n, day, *prices(n)) for n, day in enumerate(WEEK))


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def delivered(
    files: Mapping[str, Lines],
    header: str = "",
    footer: str = "",
    encoding: str = "utf-8",
    end: str = "\n",
    **more: bool,
) -> Shape:
    """Files of text, all with this header and footer."""
    found = {name: [(header, None), *lines, (footer, None)] for name, lines in files.items()}
    texts = {name: [part for line, _ in lines for part in line.splitlines()] for name, lines in found.items()}
    rows = [row for lines in found.values() for _, row in lines if row is not None]
    return Shape({name: end.join([*parts, ""]).encode(encoding) for name, parts in texts.items()}, rows, **more)


def akshare() -> Shape:
    """akshare stock_zh_a_hist, saved by pandas for Excel."""

    def lines(code: str) -> Lines:
        for n, day, o, h, low, c in week():
            extra = (D(1158366 + n), D("1075742252.45"), D("2.24"), D("-1.92"), D("-0.18"), D("0.60"))
            yield ",".join(map(str, (day, code, o, c, h, low, *extra))), (day, code, o, c, h, low, *extra)

    header = "日期,股票代码,开盘,收盘,最高,最低,成交量,成交额,振幅,涨跌幅,涨跌额,换手率"
    return delivered({f"{code}.csv": lines(code) for code in CODES[:2]}, header, encoding="utf-8-sig")


def baostock() -> Shape:
    def lines(code: str) -> Lines:
        for n, day, o, h, low, c in week():
            written = ",".join(f"{price:.10f}" for price in (o, h, low, c, o))
            turn = (D(f"0.0{n % 9}1"), D(1), D("-0.1512"), D(0))
            yield (
                f"{day},{code},{written},{1000 + n},{n}.2500,3,0.0{n % 9}1000,1,-0.151200,0",
                (day, code, o, h, low, c, o, D(1000 + n), D(f"{n}.25"), D(3), *turn),
            )

    header = "date,code,open,high,low,close,preclose,volume,amount,adjustflag,turn,tradestatus,pctChg,isST"
    return delivered({f"{code}.csv": lines(code) for code in ("sh.600000", "sz.000001")}, header)


def yfinance_old() -> Shape:
    def lines(name: str) -> Lines:
        for n, day, o, h, low, c in week():
            line = f"{day},{o:.6f},{h:.6f},{low:.6f},{c:.6f},{c - 1:.6f},{82488700 + n}"
            yield line, (name, day, o, h, low, c, c - 1, D(82488700 + n))

    return delivered(
        {f"{name}.csv": lines(name) for name in ("AAPL", "MSFT")}, "Date,Open,High,Low,Close,Adj Close,Volume"
    )


def yfinance_new() -> Shape:
    """Since 2024 `download(...).to_csv()` has three lines of header."""

    def lines(name: str) -> Lines:
        yield f"Price,Close,High,Low,Open,Volume\nTicker,{name},{name},{name},{name},{name}\nDate,,,,,", None
        for n, day, o, h, low, c in week():
            yield f"{day},{c},{h},{low},{o},{1000 + n}", (name, day, c, h, low, o, D(1000 + n))

    return delivered({f"{name}.csv": lines(name) for name in ("AAPL", "MSFT")})


def stooq() -> Shape:
    def lines(name: str) -> Lines:
        for n, day, o, h, low, c in week():
            line = f"{name},D,{day:%Y%m%d},000000,{o},{h},{low},{c},{82496943 + n},0"
            yield line, (name, "D", day, "000000", o, h, low, c, D(82496943 + n), D(0))

    header = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
    return delivered({f"{name.lower()}.txt": lines(name) for name in ("AAPL.US", "NA.US")}, header, end="\r\n")


def fred() -> Shape:
    values = [(day, None if n % 7 == 3 else D(f"3.{n:02}")) for n, day in enumerate(WEEK)]
    lines = [(f"{day},{'.' if value is None else value}", (day, value)) for day, value in values]
    return delivered({"DGS10.csv": lines}, "observation_date,DGS10", named_after_file=True)


def ecb() -> Shape:
    """eurofxref-hist.csv: a comma ends each line, currencies that ended are N/A."""
    lines = [
        (f"{day},1.09{n:02},155.{n:02},1.9558,N/A,", (day, D(f"1.09{n:02}"), D(f"155.{n:02}"), D("1.9558"), None))
        for n, day in enumerate(reversed(WEEK))
    ]
    return delivered({"eurofxref-hist.csv": lines}, "Date,USD,JPY,BGN,CYP,", named_after_file=True)


def sec_lines() -> Shape:
    def lines(cik: int, year: int) -> Lines:
        for n in range(20):
            end, filed = DAYS[n], DAYS[n] + dt.timedelta(days=40)
            accession = f"0000{cik}-{year % 100}-{n:06}"
            values = (f"{cik:010}", end, 383285000000 + n, accession, year, "FY", "10-K", filed)
            fact = dict(zip(("cik", "end", "val", "accn", "fy", "fp", "form", "filed"), values, strict=True))
            yield json.dumps(fact, default=str), tuple(D(one) if isinstance(one, int) else one for one in values)

    return delivered({f"{cik}.jsonl": lines(cik, year) for cik, year in ((320193, 2023), (789019, 2024))})


def cftc() -> Shape:
    def lines(first: str, name: str, year: int) -> Lines:
        for n, day in enumerate(DAYS[year::7]):
            line = f'"{name}",{day:%y%m%d},{day},{first}, {392000 + n},{20 + n}.{n}'
            yield line, (name, D(f"{day:%y%m%d}"), day, first, D(392000 + n), D(f"{20 + n}.{n}"))

    header = '"Market_and_Exchange_Names","As_of_Date_In_Form_YYMMDD","Report_Date_as_YYYY-MM-DD","CFTC_Contract_Market_Code","Open_Interest_All","Pct_of_OI_NonComm_Long"'
    files = {
        "annual_2024.txt": lines("001602", "WHEAT-SRW - CHICAGO BOARD OF TRADE", 0),
        "annual_2025.txt": lines("06765A", "CRUDE OIL, LIGHT SWEET - NEW YORK MERCANTILE EXCHANGE", 1),
    }
    return delivered(files, header)


def nasdaq_list() -> Shape:
    header = "Symbol|Security Name|Market Category|Test Issue|Financial Status|Round Lot Size|ETF|NextShares"
    names = [
        ("AAPL", "Apple Inc. - Common Stock", "Q"),
        ("NA", "Nano Labs Ltd - ADS", "G"),
        ("TRUE", "TrueCar, Inc.", "Q"),
        ("NAN", "Nuveen New York Fund", "N"),
        *((f"SYM{n}", f'Company "{n}" - Class A', "S") for n in range(20)),
    ]
    lines = [("|".join((*one, "N|N|100|N|N")), (*one, "N", "N", D(100), "N", "N")) for one in names]
    return delivered({"nasdaqlisted.txt": lines}, header, "File Creation Time: 0102202421:31|||||||")


def czce() -> Shape:
    """A day of the Zhengzhou exchange: padded columns between bars, thousands, subtotals."""
    total = "         |            |          |          |           |          |144,066        |66,000     "

    def lines(day: dt.date) -> Lines:
        yield (
            f"郑州商品交易所期货每日行情表({day})\n合约代码   |昨结算      |今开盘    |最高价    |最低价     |今收盘    |成交量(手)     |持仓量     ",
            None,
        )
        for n in range(12):
            o, h, low, c = (value * 500 for value in prices(n))
            yield (
                f"AP4{n:02}      |{o:,.2f}    |{o:,.2f}  |{h:,.2f}  |{low:,.2f}  |{c:,.2f}  |{12000 + n:,}       |{n},000     ",
                (f"AP4{n:02}", o, o, h, low, c, D(12000 + n), D(n * 1000), day),
            )
        yield f"小计{total}\n总计{total}", None

    return delivered({f"FutureDataDaily_{day:%Y%m%d}.txt": lines(day) for day in WEEK[:2]})


def cffex() -> Shape:
    def lines(day: dt.date, number: int) -> Lines:
        for n in range(8):
            o, h, low, c = (value * 300 + number for value in prices(n))
            counts = (D(55000 + n), D(f"{n + 1}34567.125"), D(6000 + n), D(n))
            written = ",".join(map(str, (o, h, low, *counts, c, c, o, c - o, c - o)))
            yield (
                f"IF240{n + 1}         ,{written},--",
                (f"IF240{n + 1}", o, h, low, *counts, c, c, o, c - o, c - o, None, day),
            )

    header = "合约代码,今开盘,最高价,最低价,成交量,成交金额,持仓量,持仓变化,今收盘,今结算,前结算,涨跌1,涨跌2,Delta"
    footer = "小计,,,,440028,,48028,,,,,,,\n合计,,,,440028,,48028,,,,,,,"
    files = {f"{day:%Y%m%d}_1.csv": lines(day, number) for number, day in enumerate(WEEK[:2])}
    return delivered(files, header, footer, "gbk")


def binance_klines() -> Shape:
    """No header; milliseconds until 2024, microseconds since."""

    def lines(day: dt.date, unit: int) -> Lines:
        for n in range(30):
            start = midnight(day) + dt.timedelta(minutes=n)
            end = start + dt.timedelta(minutes=1) - dt.timedelta(microseconds=1_000_000 // unit)
            ohlc = tuple(value * 4000 for value in prices(n))
            volume, others = D(f"35.{n:02}724"), (D("1519032.35"), D(f"13{n:02}"), D("23.18766"), D("980394.28"), D(0))
            opened, closed = (round(at.timestamp() * 1_000_000) * unit // 1_000_000 for at in (start, end))
            written = ",".join(map(str, (opened, *ohlc, volume, closed, *others)))
            yield written, ("BTCUSDT", start, *ohlc, volume, end, *others)

    days = ((dt.date(2024, 1, 2), 1000), (dt.date(2025, 1, 2), 1_000_000))
    return delivered({f"BTCUSDT-1m-{day}.csv": lines(day, unit) for day, unit in days})


def okx_trades() -> Shape:
    def lines(day: dt.date, part: int) -> Lines:
        for n in range(30):
            at, side = midnight(day) + dt.timedelta(milliseconds=1234 * n), "buy" if n % 3 else "sell"
            trade, price, size = 9000 + 30 * part + n, f"42{n:03}.1", f"0.{n + 1:02}"
            line = f"BTC-USDT-SWAP,{trade},{side},{price},{size},{int(at.timestamp() * 1000)}"
            yield line, ("BTC-USDT-SWAP", D(trade), side, D(price), D(size), at)

    header = "instrument_name,trade_id,side,price,size,created_time"
    return delivered({f"BTC-USDT-SWAP-trades-{day}.csv": lines(day, part) for part, day in enumerate(WEEK[:2])}, header)


def bybit_trades() -> Shape:
    def lines(day: dt.date, part: int) -> Lines:
        for n in range(30):
            at = midnight(day) + dt.timedelta(seconds=n, microseconds=n * 100)
            match = f"{part:08x}-5d31-5a0a-9b1c-{n:012x}"
            size, price, gross, notional = f"0.{n + 1:03}", f"42{n:03}.50", f"{n + 1}.5e+09", f"{n}.25"
            yield (
                f"{int(midnight(day).timestamp()) + n}.{n:04},BTCUSDT,Sell,{size},{price},ZeroMinusTick,{match},{gross},{size},{notional}",
                (at, "BTCUSDT", "Sell", D(size), D(price), "ZeroMinusTick", match, D(gross), D(size), D(notional)),
            )

    header = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    return delivered({f"BTCUSDT{day}.csv": lines(day, part) for part, day in enumerate(WEEK[:2])}, header)


def tdx() -> Shape:
    def lines(code: str, name: str) -> Lines:
        yield (
            f"{code} {name} 日线 前复权\n      日期\t    开盘\t    最高\t    最低\t    收盘\t    成交量\t    成交额",
            None,
        )
        for n, day, o, h, low, c in week():
            line = f"{day:%Y/%m/%d}\t{o}\t{h}\t{low}\t{c}\t{1158366 + n}\t{1075742208 + n}.00"
            yield line, (code, day, o, h, low, c, D(1158366 + n), D(1075742208 + n))

    files = {f"{code}.txt": lines(code, name) for code, name in (("000001", "平安银行"), ("600519", "贵州茅台"))}
    return delivered(files, footer="数据来源:通达信", encoding="gbk", end="\r\n")


def ths() -> Shape:
    """An `.xls` of 同花顺 that is tab-separated text."""

    def lines(day: dt.date) -> Lines:
        for n, code in enumerate(("SZ000001", "SH600519", "SZ300750", "SH688981", "SZ000002", "SH601318")):
            rise = None if n == 3 else D(f"1{n}.31")
            yield (
                f"{code}\t股票{n}\t{'--' if rise is None else f'+{rise}%'}\t{n + 9}.21\t{n}.5亿\t{day:%Y-%m-%d}",
                (code, f"股票{n}", None if rise is None else rise / 100, D(f"{n + 9}.21"), D(f"{n}.5") * 10**8, day),
            )

    header = "代码\t    名称\t涨幅\t现价\t总金额\t日期"
    return delivered({f"Table_{day:%m%d}.xls": lines(day) for day in WEEK[:2]}, header, encoding="gbk")


def szse() -> Shape:
    """A list of the Shenzhen exchange: a page with a table, named `.xls`."""
    files, rows = {}, []
    for number, board in enumerate(("主板", "创业板")):
        cells = []
        for n in range(12):
            code, listed = f"{number * 300000 + n + 1:06}", DAYS[n]
            cells.append(
                f"<tr><td>{board}</td><td style='mso-number-format:\\@'>{code}</td><td>股票 {n}</td><td>{listed}</td><td align='right'>{n + 1},234,567.25</td></tr>"
            )
            rows.append((board, code, f"股票 {n}", listed, D(f"{n + 1}234567.25")))
        head = "<html><head><meta charset='gb2312'></head><body><table border=1><tr><th>板块</th><th>代码</th><th>简称</th><th>上市日期</th><th>总股本</th></tr>"
        files[f"list{number}.xls"] = f"{head}{''.join(cells)}</table></body></html>".encode("gbk")
    return Shape(files, rows)


def columnar() -> Shape:
    """Candles as arrays of equal length, beside a state."""
    files, rows = {}, []
    for name in ("BTC-PERPETUAL", "ETH-PERPETUAL"):
        ticks = [1704153600000 + 60000 * n for n in range(20)]
        result = {
            "status": "ok",
            "ticks": ticks,
            "open": [n + 0.5 for n in range(20)],
            "volume": [f"{n}.25" for n in range(20)],
        }
        rows += [
            (name[:3], dt.datetime.fromtimestamp(at / 1000, dt.UTC), D(n) + D("0.5"), D(f"{n}.25"))
            for n, at in enumerate(ticks)
        ]
        files[f"{name}.json"] = json.dumps({"jsonrpc": "2.0", "result": result}).encode()
    return Shape(files, rows)


def broker() -> Shape:
    def lines(day: dt.date, part: int) -> Lines:
        for n in range(12):
            clock, code, name = f"09:{30 + n}:05", CODES[n % 3], f"名称{n % 3}"
            order, trade = f"00{part}{n:04}", f"01{part}{n:05}"
            yield (
                f'{day:%Y%m%d}\t{clock}\t="{code}"\t{name}\t证券买入\t{100 * (n + 1)}\t1{n}.250\t{n + 1}025.00\t="{order}"\t="{trade}"',
                (day, clock, code, name, "证券买入", D(100 * (n + 1)), D(f"1{n}.25"), D(f"{n + 1}025"), order, trade),
            )

    header = "成交日期\t成交时间\t证券代码\t证券名称\t操作\t成交数量\t成交均价\t成交金额\t合同编号\t成交编号"
    files = {f"成交_{day:%Y%m%d}.csv": lines(day, part) for part, day in enumerate(WEEK[:2])}
    return delivered(files, header, encoding="gbk")


def twse() -> Shape:
    def lines(month: int) -> Lines:
        yield (
            f'"113年{month:02}月 2330 台積電           各日成交資訊"\n"日期","成交股數","成交金額","開盤價","最高價","最低價","收盤價","漲跌價差","成交筆數",',
            None,
        )
        for n, day in enumerate([day for day in DAYS if day.month == month]):
            o, h, low, c = (value * 50 for value in prices(n))
            written = f"{day.year - 1911}/{day:%m/%d}"  # years since 1911 are in no form that is known
            yield (
                f'"{written}","{26059058 + n:,}","{15424590000 + n:,}","{o}","{h}","{low}","{c}","+1.00","{21_000 + n:,}",',
                (f"2024{month:02}", written, D(26059058 + n), D(15424590000 + n), o, h, low, c, D(1), D(21000 + n)),
            )

    notes = '"說明:"\n"符號說明:+/-/X表示漲/跌/不比價"'
    files = {f"STOCK_DAY_2330_2024{month:02}.csv": lines(month) for month in (1, 2)}
    return delivered(files, footer=notes, encoding="big5", end="\r\n")


def investing() -> Shape:
    def lines() -> Lines:
        for n, day, *ohlc in week():
            o, h, low, c = (value + 1000 for value in ohlc)
            yield (
                f'"{day:%b %d, %Y}","{c:,}","{o:,}","{h:,}","{low:,}","{n + 100}.84M","-1.{n:02}%"',
                (day, c, o, h, low, D(f"{n + 100}.84") * 10**6, D(f"-1.{n:02}") / 100),
            )

    header = '"Date","Price","Open","High","Low","Vol.","Change %"'
    return delivered({"Brent Oil Futures Historical Data.csv": lines()}, header, encoding="utf-8-sig")


def nasdaq_days() -> Shape:
    def lines(name: str) -> Lines:
        for n, day, o, h, low, c in week():
            line = f"{day:%m/%d/%Y},${c},{82488670 + n},${o},${h},${low}"
            yield line, (name, day, c, D(82488670 + n), o, h, low)

    return delivered({f"{name}.csv": lines(name) for name in ("AAPL", "TSLA")}, "Date,Close/Last,Volume,Open,High,Low")


def joinquant() -> Shape:
    """get_price(...).to_csv(): the index is a column without a name."""

    def lines(code: str) -> Lines:
        for n in range(30):
            at = dt.datetime(2024, 1, 2, 9, 31) + dt.timedelta(minutes=n)
            o, h, low, c = prices(n)
            line = f"{at},{o},{c},{h},{low},{1000.0 + n},{n + 1}345.5"
            yield line, (code, at, o, c, h, low, D(1000 + n), D(f"{n + 1}345.5"))

    header = ",open,close,high,low,volume,money"
    return delivered({f"{code}.csv": lines(code) for code in ("000001.XSHE", "600519.XSHG")}, header)


def tushare() -> Shape:
    def lines(code: str) -> Lines:
        for n, day, o, h, low, c in week():
            values = (o, h, low, c, o, c - o, D(f"1.1{n:02}"), D(f"{1158366.45 + n:.2f}"), D(f"{1075742.252 + n:.3f}"))
            yield ",".join(map(str, (code, f"{day:%Y%m%d}", *values))), (code, day, *values)

    header = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount"
    return delivered({f"{code}.csv": lines(code) for code in ("000001.SZ", "430047.BJ")}, header)


def okx_candles() -> Shape:
    """The body of an answer: arrays of texts."""
    files, rows = {}, []
    for name, day in zip(("BTC-USDT", "ETH-USDT"), WEEK, strict=False):
        data = []
        for n in range(20):
            at = midnight(day) + dt.timedelta(minutes=n)
            values = (*(value * 4000 for value in prices(n)), D(f"1{n}.5"), D(f"0.{n + 1}"), D(f"4{n}"), D(1))
            data.append([str(int(at.timestamp() * 1000)), *map(str, values)])
            rows.append((name, at, *values))
        files[f"{name}.json"] = json.dumps({"code": "0", "msg": "", "data": data}).encode()
    return Shape(files, rows)


def alpha_vantage() -> Shape:
    """A map by day."""
    files, rows = {}, []
    for name in ("IBM", "NA"):
        series = {}
        for n, day, *ohlc in week():
            values = (*ohlc, D(5000 + n))
            keys = ("1. open", "2. high", "3. low", "4. close", "5. volume")
            series[str(day)] = dict(zip(keys, map(str, values), strict=True))
            rows.append((name, day, *values))
        about = {"1. Information": "Daily Prices", "2. Symbol": name}
        files[f"{name}.json"] = json.dumps({"Meta Data": about, "Time Series (Daily)": series}).encode()
    return Shape(files, rows)


def world_bank() -> Shape:
    """Years are columns, after four lines of title."""

    def lines() -> Lines:
        columns = ",".join(f'"{year}"' for year in range(1990, 2010))
        yield (
            f'"Data Source","World Development Indicators",\n\n"Last Updated Date","2024-12-16",\n\n"Country Name","Country Code","Indicator Name","Indicator Code",{columns},',
            None,
        )
        for n, (country, code) in enumerate((("Aruba", "ABW"), ("Namibia", "NAM"), ("Korea, Rep.", "KOR"))):
            values = [None if year < 1993 else D(f"{n + 1}{year}.25") for year in range(1990, 2010)]
            written = ",".join("" if value is None else f'"{value}"' for value in values)
            line = f'"{country}","{code}","GDP (current US$)","NY.GDP.MKTP.CD",{written},'
            yield line, (country, code, "GDP (current US$)", "NY.GDP.MKTP.CD", *values)

    return delivered({"API_NY.GDP.MKTP.CD_DS2_en_csv_v2.csv": lines()}, encoding="utf-8-sig", end="\r\n")


def dce() -> Shape:
    """A day of the Dalian exchange: tabs and blanks, 小计 after each product, 总计 at the end."""

    def lines(day: dt.date, number: int) -> Lines:
        for product in ("豆一", "玉米"):
            for n in range(5):
                ohlc = [value * 400 + number for value in prices(n)]
                written = "\t".join(f"{value:,.0f}" for value in ohlc)
                whole = (D(f"{value:.0f}") for value in ohlc)
                line = f"{product}\t24{n + 1:02}\t{written}\t{n * 1111:,}\t{n}.25"
                yield line, (product, f"24{n + 1:02}", *whole, D(n * 1111), D(f"{n}.25"), day)
            yield f"{product}小计\t\t\t\t\t\t11,110\t12.5", None

    header = "商品名称\t合约\t开盘价\t最高价\t最低价\t收盘价\t成交量\t成交额"
    files = {f"{day:%Y%m%d}_Daily.txt": lines(day, number) for number, day in enumerate(WEEK[:2])}
    return delivered(files, header, "总计\t\t\t\t\t\t22,220\t25.0")


def shfe() -> Shape:
    """A day of the Shanghai exchange as its site has it: blanks after names, subtotals among the rows."""
    keys = ("PRODUCTID", "DELIVERYMONTH", "OPENPRICE", "HIGHESTPRICE", "LOWESTPRICE", "CLOSEPRICE", "VOLUME")
    files, rows = {}, []
    for number, day in enumerate(WEEK[:2]):
        items = []
        for n in range(6):
            values = [*(int(value * 5000) + number for value in prices(n)), n * 100]
            items.append(("cu_f    ", f"24{n + 1:02}", *values))
            rows.append(("cu_f", f"24{n + 1:02}", *map(D, values), day))
        rows.append(("cu_f", "小计", None, None, None, None, D(1500), day))  # `new` says that not all are numbers
        items.append(("cu_f    ", "小计", "", "", "", "", 1500))
        found = {"o_curinstrument": [dict(zip(keys, item, strict=True)) for item in items], "o_year": "2024"}
        files[f"kx{day:%Y%m%d}.json"] = json.dumps(found, ensure_ascii=False).encode()
    return Shape(files, rows)


def excel_report() -> Shape:
    import openpyxl

    files, rows = {}, []
    for number, fund in enumerate(("000001", "110022")):
        book = openpyxl.Workbook()
        book.active.append(["基金净值"])
        book.active.append(["基金代码", "净值日期", "单位净值", "累计净值"])
        for n, day in enumerate(WEEK):
            book.active.append([fund, day, 1 + n / 8, 2 + n / 8])
            rows.append((fund, day, D(1) + D(n) / 8, D(2) + D(n) / 8))
        out = io.BytesIO()
        book.save(out)
        files[f"净值{number}.xlsx"] = out.getvalue()
    return Shape(files, rows)


SHAPES: dict[str, Callable[[], Shape]] = {
    made.__name__: made
    for made in (
        akshare, baostock, yfinance_old, yfinance_new, stooq, fred, ecb, world_bank, sec_lines, cftc, nasdaq_list, czce,
        dce, shfe, cffex, binance_klines, okx_trades, bybit_trades, tdx, ths, szse, columnar, broker, twse, investing, nasdaq_days,
        joinquant, tushare, okx_candles, alpha_vantage, excel_report,
    )
}  # fmt: skip


def plain(value: object) -> str:
    """A value without its type in the database; numbers are equal whatever their decimals."""
    if isinstance(value, int | float | Decimal):
        return f"number {Decimal(str(value)).normalize():f}"
    if isinstance(value, dt.datetime):
        return f"time {(value.astimezone(dt.UTC) if value.tzinfo else value).isoformat()}"
    return f"{type(value).__name__} {value}"


def counted(rows: list[Row]) -> Counter[tuple[str, ...]]:
    """Rows by their values, in whatever order the columns are."""
    return Counter(tuple(sorted(map(plain, row))) for row in rows)


@pytest.mark.parametrize("name", SHAPES)
def test_files_of_a_vendor_become_the_rows_that_they_hold(name: str, tmp_path: Path) -> None:
    if name == "excel_report":
        pytest.importorskip("openpyxl")
        pytest.importorskip("fastexcel")
    shape, folder = SHAPES[name](), tmp_path / name
    folder.mkdir()
    for number, (file, data) in enumerate(shape.files.items()):
        (folder / file).write_bytes(data)
        os.utime(folder / file, (0, 1_700_000_000 + number))
    first = folder / next(iter(shape.files))
    made = draft(name, sample.read(first), first)
    found = read_all(parse(made.text, name=name), tmp_path)
    if shape.named_after_file:
        found = [{column: value for column, value in row.items() if column != "symbol"} for row in found]
    assert counted([tuple(row.values()) for row in found]) == counted(shape.rows)
