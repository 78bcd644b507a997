"""Files as vendors, exchanges and statistics offices deliver them, two of each, and the rows that a person sees there.

Each shape is made of typed values, so that what must be in the table is known without reading a file.
"""
# ruff: noqa: E501 - lines are as they are delivered

import datetime as dt
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Row = tuple[Any, ...]
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


def text(header: str, lines: Iterable[str], footer: str = "", end: str = "\n") -> str:
    return end.join([*header.splitlines(), *lines, *footer.splitlines(), ""])


def akshare() -> Shape:
    """akshare stock_zh_a_hist, saved by pandas for Excel."""
    header = "日期,股票代码,开盘,收盘,最高,最低,成交量,成交额,振幅,涨跌幅,涨跌额,换手率"
    files, rows = {}, []
    for code in CODES[:2]:
        lines = []
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            extra = (D(1158366 + n), D("1075742252.45"), D("2.24"), D("-1.92"), D("-0.18"), D("0.60"))
            lines.append(",".join(map(str, (day, code, o, c, h, low, *extra))))
            rows.append((day, code, o, c, h, low, *extra))
        files[f"{code}.csv"] = text(header, lines).encode("utf-8-sig")
    return Shape(files, rows)


def baostock() -> Shape:
    header = "date,code,open,high,low,close,preclose,volume,amount,adjustflag,turn,tradestatus,pctChg,isST"
    files, rows = {}, []
    for code in ("sh.600000", "sz.000001"):
        lines = []
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            lines.append(
                f"{day},{code},{o:.10f},{h:.10f},{low:.10f},{c:.10f},{o:.10f},{1000 + n},{n}.2500,3,0.0{n % 9}1000,1,-0.151200,0"
            )
            rows.append(
                (
                    day,
                    code,
                    o,
                    h,
                    low,
                    c,
                    o,
                    D(1000 + n),
                    D(f"{n}.25"),
                    D(3),
                    D(f"0.0{n % 9}1"),
                    D(1),
                    D("-0.1512"),
                    D(0),
                )
            )
        files[f"{code}.csv"] = text(header, lines).encode()
    return Shape(files, rows)


def yfinance_old() -> Shape:
    files, rows = {}, []
    for name in ("AAPL", "MSFT"):
        lines = []
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            lines.append(f"{day},{o:.6f},{h:.6f},{low:.6f},{c:.6f},{c - 1:.6f},{82488700 + n}")
            rows.append((name, day, o, h, low, c, c - 1, D(82488700 + n)))
        files[f"{name}.csv"] = text("Date,Open,High,Low,Close,Adj Close,Volume", lines).encode()
    return Shape(files, rows)


def yfinance_new() -> Shape:
    """Since 2024 `download(...).to_csv()` has three lines of header."""
    files, rows = {}, []
    for name in ("AAPL", "MSFT"):
        header = f"Price,Close,High,Low,Open,Volume\nTicker,{name},{name},{name},{name},{name}\nDate,,,,,"
        lines = []
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            lines.append(f"{day},{c},{h},{low},{o},{1000 + n}")
            rows.append((name, day, c, h, low, o, D(1000 + n)))
        files[f"{name}.csv"] = text(header, lines).encode()
    return Shape(files, rows)


def stooq() -> Shape:
    header = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
    files, rows = {}, []
    for name in ("AAPL.US", "NA.US"):
        lines = []
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            lines.append(f"{name},D,{day:%Y%m%d},000000,{o},{h},{low},{c},{82496943 + n},0")
            rows.append((name, "D", day, "000000", o, h, low, c, D(82496943 + n), D(0)))
        files[f"{name.lower()}.txt"] = text(header, lines, end="\r\n").encode()
    return Shape(files, rows)


def fred() -> Shape:
    files, rows = {}, []
    lines = []
    for n, day in enumerate(WEEK):
        value = None if n % 7 == 3 else D(f"3.{n:02}")
        lines.append(f"{day},{'.' if value is None else value}")
        rows.append((day, value))
    files["DGS10.csv"] = text("observation_date,DGS10", lines).encode()
    return Shape(files, rows, named_after_file=True)


def ecb() -> Shape:
    """eurofxref-hist.csv: a comma ends each line, currencies that ended are N/A."""
    lines, rows = [], []
    for n, day in enumerate(reversed(WEEK)):
        lines.append(f"{day},1.09{n:02},155.{n:02},1.9558,N/A,")
        rows.append((day, D(f"1.09{n:02}"), D(f"155.{n:02}"), D("1.9558"), None))
    return Shape({"eurofxref-hist.csv": text("Date,USD,JPY,BGN,CYP,", lines).encode()}, rows, named_after_file=True)


def sec_lines() -> Shape:
    files, rows = {}, []
    for cik, year in ((320193, 2023), (789019, 2024)):
        lines = []
        for n in range(20):
            end, filed = DAYS[n], DAYS[n] + dt.timedelta(days=40)
            accession = f"0000{cik}-{year % 100}-{n:06}"
            fact = {
                "cik": f"{cik:010}",
                "end": str(end),
                "val": 383285000000 + n,
                "accn": accession,
                "fy": year,
                "fp": "FY",
                "form": "10-K",
                "filed": str(filed),
            }
            lines.append(json.dumps(fact))
            rows.append((f"{cik:010}", end, D(383285000000 + n), accession, D(year), "FY", "10-K", filed))
        files[f"{cik}.jsonl"] = text("", lines).encode()
    return Shape(files, rows)


def cftc() -> Shape:
    header = '"Market_and_Exchange_Names","As_of_Date_In_Form_YYMMDD","Report_Date_as_YYYY-MM-DD","CFTC_Contract_Market_Code","Open_Interest_All","Pct_of_OI_NonComm_Long"'
    files, rows = {}, []
    for year, (first, name) in enumerate(
        (
            ("001602", "WHEAT-SRW - CHICAGO BOARD OF TRADE"),
            ("06765A", "CRUDE OIL, LIGHT SWEET - NEW YORK MERCANTILE EXCHANGE"),
        )
    ):
        lines = []
        for n, day in enumerate(DAYS[year::7]):
            lines.append(f'"{name}",{day:%y%m%d},{day},{first}, {392000 + n},{20 + n}.{n}')
            rows.append((name, D(f"{day:%y%m%d}"), day, first, D(392000 + n), D(f"{20 + n}.{n}")))
        files[f"annual_{2024 + year}.txt"] = text(header, lines).encode()
    return Shape(files, rows)


def nasdaq_list() -> Shape:
    header = "Symbol|Security Name|Market Category|Test Issue|Financial Status|Round Lot Size|ETF|NextShares"
    names = [
        ("AAPL", "Apple Inc. - Common Stock", "Q"),
        ("NA", "Nano Labs Ltd - ADS", "G"),
        ("TRUE", "TrueCar, Inc.", "Q"),
        ("NAN", "Nuveen New York Fund", "N"),
        *((f"SYM{n}", f'Company "{n}" - Class A', "S") for n in range(20)),
    ]
    lines = [f"{symbol}|{name}|{market}|N|N|100|N|N" for symbol, name, market in names]
    rows = [(symbol, name, market, "N", "N", D(100), "N", "N") for symbol, name, market in names]
    return Shape({"nasdaqlisted.txt": text(header, lines, "File Creation Time: 0102202421:31|||||||").encode()}, rows)


def czce() -> Shape:
    """A day of the Zhengzhou exchange: padded columns between bars, thousands, subtotals."""
    files, rows = {}, []
    for day in WEEK[:2]:
        title = f"郑州商品交易所期货每日行情表({day})\n合约代码   |昨结算      |今开盘    |最高价    |最低价     |今收盘    |成交量(手)     |持仓量     "
        lines = []
        for n in range(12):
            o, h, low, c = (value * 500 for value in prices(n))
            lines.append(
                f"AP4{n:02}      |{o:,.2f}    |{o:,.2f}  |{h:,.2f}  |{low:,.2f}  |{c:,.2f}  |{12000 + n:,}       |{n},000     "
            )
            rows.append((f"AP4{n:02}", o, o, h, low, c, D(12000 + n), D(n * 1000), day))
        lines.append(
            "小计         |            |          |          |           |          |144,066        |66,000     "
        )
        files[f"FutureDataDaily_{day:%Y%m%d}.txt"] = text(
            title,
            lines,
            "总计         |            |          |          |           |          |144,066        |66,000     ",
        ).encode()
    return Shape(files, rows)


def cffex() -> Shape:
    header = "合约代码,今开盘,最高价,最低价,成交量,成交金额,持仓量,持仓变化,今收盘,今结算,前结算,涨跌1,涨跌2,Delta"
    files, rows = {}, []
    for number, day in enumerate(WEEK[:2]):
        lines = []
        for n in range(8):
            o, h, low, c = (value * 300 + number for value in prices(n))
            lines.append(
                f"IF240{n + 1}         ,{o},{h},{low},{55000 + n},{n + 1}34567.125,{6000 + n},{n},{c},{c},{o},{c - o},{c - o},--"
            )
            rows.append(
                (
                    f"IF240{n + 1}",
                    o,
                    h,
                    low,
                    D(55000 + n),
                    D(f"{n + 1}34567.125"),
                    D(6000 + n),
                    D(n),
                    c,
                    c,
                    o,
                    c - o,
                    c - o,
                    None,
                    day,
                )
            )
        files[f"{day:%Y%m%d}_1.csv"] = text(
            header, lines, "小计,,,,440028,,48028,,,,,,,\n合计,,,,440028,,48028,,,,,,,"
        ).encode("gbk")
    return Shape(files, rows)


def binance_klines() -> Shape:
    """No header; milliseconds until 2024, microseconds since."""
    files, rows = {}, []
    for day, unit in ((dt.date(2024, 1, 2), 1000), (dt.date(2025, 1, 2), 1_000_000)):
        first, lines = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC), []
        for n in range(30):
            start = first + dt.timedelta(minutes=n)
            end = start + dt.timedelta(minutes=1) - dt.timedelta(microseconds=1_000_000 // unit)
            o, h, low, c = (value * 4000 for value in prices(n))
            opened, closed = (round(at.timestamp() * 1_000_000) * unit // 1_000_000 for at in (start, end))
            lines.append(f"{opened},{o},{h},{low},{c},35.{n:02}724,{closed},1519032.35,13{n:02},23.18766,980394.28,0")
            rows.append(
                (
                    start,
                    o,
                    h,
                    low,
                    c,
                    D(f"35.{n:02}724"),
                    end,
                    D("1519032.35"),
                    D(f"13{n:02}"),
                    D("23.18766"),
                    D("980394.28"),
                    D(0),
                )
            )
        files[f"BTCUSDT-1m-{day}.csv"] = text("", lines).encode()
    return Shape(files, [("BTCUSDT", *row) for row in rows])


def okx_trades() -> Shape:
    header = "instrument_name,trade_id,side,price,size,created_time"
    files, rows = {}, []
    for part, day in enumerate(WEEK[:2]):
        first, lines = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC), []
        for n in range(30):
            at, side = first + dt.timedelta(milliseconds=1234 * n), "buy" if n % 3 else "sell"
            lines.append(
                f"BTC-USDT-SWAP,{9000 + 30 * part + n},{side},42{n:03}.1,0.{n + 1:02},{int(at.timestamp() * 1000)}"
            )
            rows.append(("BTC-USDT-SWAP", D(9000 + 30 * part + n), side, D(f"42{n:03}.1"), D(f"0.{n + 1:02}"), at))
        files[f"BTC-USDT-SWAP-trades-{day}.csv"] = text(header, lines).encode()
    return Shape(files, rows)


def bybit_trades() -> Shape:
    header = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    files, rows = {}, []
    for part, day in enumerate(WEEK[:2]):
        first, lines = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC), []
        for n in range(30):
            at = first + dt.timedelta(seconds=n, microseconds=n * 100)
            match = f"{part:08x}-5d31-5a0a-9b1c-{n:012x}"
            lines.append(
                f"{int(first.timestamp()) + n}.{n:04},BTCUSDT,Sell,0.{n + 1:03},42{n:03}.50,ZeroMinusTick,{match},{n + 1}.5e+09,0.{n + 1:03},{n}.25"
            )
            rows.append(
                (
                    at,
                    "BTCUSDT",
                    "Sell",
                    D(f"0.{n + 1:03}"),
                    D(f"42{n:03}.50"),
                    "ZeroMinusTick",
                    match,
                    D(f"{n + 1}.5e+09"),
                    D(f"0.{n + 1:03}"),
                    D(f"{n}.25"),
                )
            )
        files[f"BTCUSDT{day}.csv"] = text(header, lines).encode()
    return Shape(files, rows)


def tdx() -> Shape:
    files, rows = {}, []
    for code, name in (("000001", "平安银行"), ("600519", "贵州茅台")):
        lines = []
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            lines.append(f"{day:%Y/%m/%d}\t{o}\t{h}\t{low}\t{c}\t{1158366 + n}\t{1075742208 + n}.00")
            rows.append((code, day, o, h, low, c, D(1158366 + n), D(1075742208 + n)))
        title = f"{code} {name} 日线 前复权\n      日期\t    开盘\t    最高\t    最低\t    收盘\t    成交量\t    成交额"
        files[f"{code}.txt"] = text(title, lines, "数据来源:通达信", end="\r\n").encode("gbk")
    return Shape(files, rows)


def ths() -> Shape:
    """An `.xls` of 同花顺 that is tab-separated text."""
    files, rows = {}, []
    for day in WEEK[:2]:
        lines = []
        for n, code in enumerate(("SZ000001", "SH600519", "SZ300750", "SH688981", "SZ000002", "SH601318")):
            value = None if n == 3 else D(f"1{n}.31")
            lines.append(
                f"{code}\t股票{n}\t{'--' if value is None else f'+{value}%'}\t{n + 9}.21\t{n}.5亿\t{day:%Y-%m-%d}"
            )
            rows.append(
                (code, f"股票{n}", None if value is None else value / 100, D(f"{n + 9}.21"), D(f"{n}.5") * 10**8, day)
            )
        files[f"Table_{day:%m%d}.xls"] = text("代码\t    名称\t涨幅\t现价\t总金额\t日期", lines).encode("gbk")
    return Shape(files, rows)


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
    header = "成交日期\t成交时间\t证券代码\t证券名称\t操作\t成交数量\t成交均价\t成交金额\t合同编号\t成交编号"
    files, rows = {}, []
    for part, day in enumerate(WEEK[:2]):
        lines = []
        for n in range(12):
            code, order, trade = CODES[n % 3], f"00{part}{n:04}", f"01{part}{n:05}"
            lines.append(
                f'{day:%Y%m%d}\t09:{30 + n}:05\t="{code}"\t名称{n % 3}\t证券买入\t{100 * (n + 1)}\t1{n}.250\t{n + 1}025.00\t="{order}"\t="{trade}"'
            )
            rows.append(
                (
                    day,
                    f"09:{30 + n}:05",
                    code,
                    f"名称{n % 3}",
                    "证券买入",
                    D(100 * (n + 1)),
                    D(f"1{n}.25"),
                    D(f"{n + 1}025"),
                    order,
                    trade,
                )
            )
        files[f"成交_{day:%Y%m%d}.csv"] = text(header, lines).encode("gbk")
    return Shape(files, rows)


def twse() -> Shape:
    files, rows = {}, []
    for month in (1, 2):
        lines = []
        for n, day in enumerate([day for day in DAYS if day.month == month]):
            o, h, low, c = (value * 50 for value in prices(n))
            lines.append(
                f'"{day.year - 1911}/{day:%m/%d}","{26059058 + n:,}","{15424590000 + n:,}","{o}","{h}","{low}","{c}","+1.00","{21_000 + n:,}",'
            )
            written = f"{day.year - 1911}/{day:%m/%d}"  # years since 1911 are in no form that is known
            rows.append(
                (f"2024{month:02}", written, D(26059058 + n), D(15424590000 + n), o, h, low, c, D(1), D(21000 + n))
            )
        title = f'"113年{month:02}月 2330 台積電           各日成交資訊"\n"日期","成交股數","成交金額","開盤價","最高價","最低價","收盤價","漲跌價差","成交筆數",'
        notes = '"說明:"\n"符號說明:+/-/X表示漲/跌/不比價"'
        files[f"STOCK_DAY_2330_2024{month:02}.csv"] = text(title, lines, notes, end="\r\n").encode("big5")
    return Shape(files, rows)


def investing() -> Shape:
    lines, rows = [], []
    for n, day in enumerate(WEEK):
        o, h, low, c = prices(n)
        lines.append(
            f'"{day:%b %d, %Y}","{c + 1000:,}","{o + 1000:,}","{h + 1000:,}","{low + 1000:,}","{n + 100}.84M","-1.{n:02}%"'
        )
        rows.append((day, c + 1000, o + 1000, h + 1000, low + 1000, D(f"{n + 100}.84") * 10**6, D(f"-1.{n:02}") / 100))
    return Shape(
        {
            "Brent Oil Futures Historical Data.csv": text(
                '"Date","Price","Open","High","Low","Vol.","Change %"', lines
            ).encode("utf-8-sig")
        },
        rows,
    )


def nasdaq_days() -> Shape:
    files, rows = {}, []
    for name in ("AAPL", "TSLA"):
        lines = []
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            lines.append(f"{day:%m/%d/%Y},${c},{82488670 + n},${o},${h},${low}")
            rows.append((name, day, c, D(82488670 + n), o, h, low))
        files[f"{name}.csv"] = text("Date,Close/Last,Volume,Open,High,Low", lines).encode()
    return Shape(files, rows)


def joinquant() -> Shape:
    """get_price(...).to_csv(): the index is a column without a name."""
    files, rows = {}, []
    for code in ("000001.XSHE", "600519.XSHG"):
        lines = []
        for n in range(30):
            at = dt.datetime(2024, 1, 2, 9, 31) + dt.timedelta(minutes=n)
            o, h, low, c = prices(n)
            lines.append(f"{at},{o},{c},{h},{low},{1000.0 + n},{n + 1}345.5")
            rows.append((code, at, o, c, h, low, D(1000 + n), D(f"{n + 1}345.5")))
        files[f"{code}.csv"] = text(",open,close,high,low,volume,money", lines).encode()
    return Shape(files, rows)


def day_files() -> Shape:
    """The day is in the name alone."""
    files, rows = {}, []
    for number, day in enumerate(WEEK[:3]):
        lines = []
        for n, code in enumerate(CODES):
            lines.append(f"{code},{n + 9 + number}.{n}5,{100 * n + number}")
            rows.append((day, code, D(f"{n + 9 + number}.{n}5"), D(100 * n + number)))
        files[f"eod_{day:%Y%m%d}.csv"] = text("symbol,close,volume", lines).encode()
    return Shape(files, rows)


def tushare() -> Shape:
    header = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount"
    files, rows = {}, []
    for code in ("000001.SZ", "430047.BJ"):
        lines = []
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            lines.append(
                f"{code},{day:%Y%m%d},{o},{h},{low},{c},{o},{c - o},1.1{n:02},{1158366.45 + n:.2f},{1075742.252 + n:.3f}"
            )
            rows.append(
                (
                    code,
                    day,
                    o,
                    h,
                    low,
                    c,
                    o,
                    c - o,
                    D(f"1.1{n:02}"),
                    D(f"{1158366.45 + n:.2f}"),
                    D(f"{1075742.252 + n:.3f}"),
                )
            )
        files[f"{code}.csv"] = text(header, lines).encode()
    return Shape(files, rows)


def okx_candles() -> Shape:
    """The body of an answer: arrays of texts."""
    files, rows = {}, []
    for number, day in enumerate(WEEK[:2]):
        data = []
        for n in range(20):
            at = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC) + dt.timedelta(minutes=n)
            o, h, low, c = (value * 4000 for value in prices(n))
            data.append(
                [str(int(at.timestamp() * 1000)), *map(str, (o, h, low, c)), f"1{n}.5", f"0.{n + 1}", f"4{n}", "1"]
            )
            rows.append(
                (("BTC-USDT", "ETH-USDT")[number], at, o, h, low, c, D(f"1{n}.5"), D(f"0.{n + 1}"), D(f"4{n}"), D(1))
            )
        files[f"{('BTC', 'ETH')[number]}-USDT.json"] = json.dumps({"code": "0", "msg": "", "data": data}).encode()
    return Shape(files, rows)


def alpha_vantage() -> Shape:
    """A map by day."""
    files, rows = {}, []
    for name in ("IBM", "NA"):
        series = {}
        for n, day in enumerate(WEEK):
            o, h, low, c = prices(n)
            series[str(day)] = {
                "1. open": str(o),
                "2. high": str(h),
                "3. low": str(low),
                "4. close": str(c),
                "5. volume": str(5000 + n),
            }
            rows.append((name, day, o, h, low, c, D(5000 + n)))
        files[f"{name}.json"] = json.dumps(
            {"Meta Data": {"1. Information": "Daily Prices", "2. Symbol": name}, "Time Series (Daily)": series}
        ).encode()
    return Shape(files, rows)


def world_bank() -> Shape:
    """Years are columns, after four lines of title."""
    years = list(range(1990, 2010))
    header = (
        '"Data Source","World Development Indicators",\n\n"Last Updated Date","2024-12-16",\n\n"Country Name","Country Code","Indicator Name","Indicator Code",'
        + ",".join(f'"{year}"' for year in years)
        + ","
    )
    lines, rows = [], []
    for n, (country, code) in enumerate((("Aruba", "ABW"), ("Namibia", "NAM"), ("Korea, Rep.", "KOR"))):
        values = [None if year < 1993 else D(f"{n + 1}{year}.25") for year in years]
        lines.append(
            f'"{country}","{code}","GDP (current US$)","NY.GDP.MKTP.CD",'
            + ",".join("" if v is None else f'"{v}"' for v in values)
            + ","
        )
        rows.append((country, code, "GDP (current US$)", "NY.GDP.MKTP.CD", *values))
    return Shape({"API_NY.GDP.MKTP.CD_DS2_en_csv_v2.csv": text(header, lines, end="\r\n").encode("utf-8-sig")}, rows)


def dce() -> Shape:
    """A day of the Dalian exchange: tabs and blanks, 小计 after each product, 总计 at the end."""
    files, rows = {}, []
    for number, day in enumerate(WEEK[:2]):
        lines = []
        for product in ("豆一", "玉米"):
            for n in range(5):
                o, h, low, c = (value * 400 + number for value in prices(n))
                lines.append(f"{product}\t24{n + 1:02}\t{o:,.0f}\t{h:,.0f}\t{low:,.0f}\t{c:,.0f}\t{n * 1111:,}\t{n}.25")
                rows.append(
                    (product, f"24{n + 1:02}", *(D(f"{v:.0f}") for v in (o, h, low, c)), D(n * 1111), D(f"{n}.25"), day)
                )
            lines.append(f"{product}小计\t\t\t\t\t\t11,110\t12.5")
        files[f"{day:%Y%m%d}_Daily.txt"] = text(
            "商品名称\t合约\t开盘价\t最高价\t最低价\t收盘价\t成交量\t成交额", lines, "总计\t\t\t\t\t\t22,220\t25.0"
        ).encode()
    return Shape(files, rows)


def shfe() -> Shape:
    """A day of the Shanghai exchange as its site has it: blanks after names, subtotals among the rows."""
    files, rows = {}, []
    for number, day in enumerate(WEEK[:2]):
        items = []
        for n in range(6):
            o, h, low, c = (int(value * 5000) + number for value in prices(n))
            items.append(
                {
                    "PRODUCTID": "cu_f    ",
                    "DELIVERYMONTH": f"24{n + 1:02}",
                    "OPENPRICE": o,
                    "HIGHESTPRICE": h,
                    "LOWESTPRICE": low,
                    "CLOSEPRICE": c,
                    "VOLUME": n * 100,
                }
            )
            rows.append(("cu_f", f"24{n + 1:02}", D(o), D(h), D(low), D(c), D(n * 100), day))
        rows.append(("cu_f", "小计", None, None, None, None, D(1500), day))  # `new` says that not all are numbers
        items.append(
            {
                "PRODUCTID": "cu_f    ",
                "DELIVERYMONTH": "小计",
                "OPENPRICE": "",
                "HIGHESTPRICE": "",
                "LOWESTPRICE": "",
                "CLOSEPRICE": "",
                "VOLUME": 1500,
            }
        )
        files[f"kx{day:%Y%m%d}.json"] = json.dumps(
            {"o_curinstrument": items, "o_year": "2024"}, ensure_ascii=False
        ).encode()
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


def quarters() -> Shape:
    lines, rows = [], []
    for n in range(16):
        year, quarter = 2020 + n // 4, n % 4 + 1
        lines.append(f"{year}-Q{quarter},CN,{n + 1}.5")
        rows.append((f"{year}-Q{quarter}", "CN", D(f"{n + 1}.5")))  # kept as they are written
    return Shape({"gdp.csv": text("TIME_PERIOD,REF_AREA,OBS_VALUE", lines).encode()}, rows)


SHAPES: dict[str, Callable[[], Shape]] = {
    made.__name__: made
    for made in (
        akshare, baostock, yfinance_old, yfinance_new, stooq, fred, ecb, world_bank, sec_lines, cftc, nasdaq_list, czce,
        dce, shfe, cffex, binance_klines, okx_trades, bybit_trades, tdx, ths, szse, columnar, broker, twse, investing, nasdaq_days,
        joinquant, day_files, tushare, okx_candles, alpha_vantage, excel_report, quarters,
    )
}  # fmt: skip
