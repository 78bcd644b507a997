"""Files of minute bars as vendors write them, and plain readings of them by pandas, csv and Decimal.

Nothing is shared with the package.
"""

import datetime as dt
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from tests.bars.bar_files import HEADER

MONTHS = ["2024-01", "2024-02"]
CODES = ("600000.SH", "000001.SZ", "688001.SH")
VENDOR = {"SH": ("sh", "XSHG", "SHSE"), "SZ": ("sz", "XSHE", "SZSE")}
OURS = ("open", "high", "low", "close", "volume", "amount")


@cache
def market(code: str, days: tuple[str, ...] = ("2024-01-31", "2024-02-01"), start: bool = False) -> pd.DataFrame:
    """Bars of some days by time: prices with two decimals, volumes in shares with parts of lots, amounts that fit.

    Not to be changed: they are made once.
    """
    random = np.random.default_rng(int(code[:6]))
    morning, afternoon = (("09:30", "11:29"), ("13:00", "14:59")) if start else (("09:31", "11:30"), ("13:01", "15:00"))
    times = [time for day in days for span in (morning, afternoon)
             for time in pd.date_range(f"{day} {span[0]}", f"{day} {span[1]}", freq="min")]  # fmt: skip
    close = (1000 + np.cumsum(random.integers(-3, 4, len(times)))) / 100
    frame = pd.DataFrame({"time": times, "open": np.roll(close, 1), "close": close})
    frame["high"] = frame[["open", "close"]].max(axis=1) + random.integers(0, 3, len(times)) / 100
    frame["low"] = frame[["open", "close"]].min(axis=1) - random.integers(0, 3, len(times)) / 100
    frame = frame.round(2)
    frame["volume"] = random.integers(0, 400, len(times)) * 100 + random.choice([0, 0, 0, 37, 50, 63], len(times))
    frame["amount"] = (frame["volume"] * frame["close"]).round(2)
    frame.insert(1, "code", code)
    return frame


def vendor(code: str, which: int) -> str:
    """The code as `sh.600000`, `600000.XSHG` or `SHSE.600000`."""
    digits, exchange = code.split(".")
    name = VENDOR[exchange][which]
    return f"{digits}.{name}" if which == 1 else f"{name}.{digits}"


Row = tuple[str, dt.datetime, *tuple[Decimal | None, ...]]


Cells = dict[str, str]
"""A row of a file by its columns."""


def cell(one: Cells, column: str | int) -> str:
    """The text in a column of some name or number."""
    return list(one.values())[column] if isinstance(column, int) else one[column]


def plain(
    frame: pd.DataFrame, code: Callable[[Cells], str], time: Callable[[Cells], dt.datetime], columns: str,
    volume: str = "1", amount: str = "1",
) -> list[Row]:  # fmt: skip
    """The rows of a table of texts: `columns` are those of open, high, low, close, volume and amount, or - for none."""
    names = [int(name) if name.isdigit() else name for name in columns.split()]
    rows = []
    for one in frame.to_dict("records"):
        values = [None if name == "-" else Decimal(cell(one, name)) for name in names]
        prices = [value.quantize(Decimal("0.0001"), ROUND_HALF_UP) for value in values[:4] if value is not None]
        lots = (values[4] * Decimal(volume)).quantize(Decimal(1), ROUND_HALF_UP)
        yuan = None if values[5] is None else (values[5] * Decimal(amount)).quantize(Decimal("0.0001"), ROUND_HALF_UP)
        rows.append((code(one), time(one), *prices, lots, yuan))
    return sorted(rows)


def at(*columns: str | int, form: str = "") -> Callable[[Cells], dt.datetime]:
    """The time in a column, or in several by names or numbers."""

    def time(one: Cells) -> dt.datetime:
        text = "".join(cell(one, column).zfill(4) for column in columns)
        moment = dt.datetime.strptime(text, form) if form else dt.datetime.fromisoformat(text)  # noqa: DTZ007
        return moment.replace(tzinfo=None)

    return time


texts = partial(pd.read_csv, dtype=str, keep_default_na=False)


@dataclass
class Shape:
    """How files of a shape are written into a folder, how they are read plainly, and what a person had to write."""

    write: Callable[[Path], object]
    read: Callable[[Path], list[Row]] | None = None
    own: str = ""
    said: str = ""


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def classic(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame.assign(
        code=frame["code"].str[-2:].str.lower() + frame["code"].str[:6], name="浦发银行", volume=frame["volume"] // 100,
        change=0.1, amplitude=0.2,
    )  # fmt: skip
    rows = rows[["time", "code", "name", "open", "close", "high", "low", "volume", "amount", "change", "amplitude"]]
    return rows.set_axis(HEADER.split(","), axis=1)


def read_classic(frame: pd.DataFrame) -> list[Row]:
    def code(one: Cells) -> str:
        return f"{one['代码'][2:]}.{one['代码'][:2].upper()}"

    return plain(frame, code, at("时间"), "开盘价 最高价 最低价 收盘价 成交量 成交额")


def classic_zip(folder: Path, encoding: str, by_day: bool = False) -> None:
    """A member for each stock or, with a text about them, for each day."""
    if by_day:
        frames = {day: pd.concat([market(code, (day,)) for code in CODES]) for day in ("2024-01-31", "2024-02-01")}
    else:
        frames = {code: market(code) for code in CODES}
    members = {
        f"{name.replace('-', '')}.csv": classic(rows).to_csv(index=False).encode(encoding)
        for name, rows in frames.items()
    }
    zipped(folder / "2024_1min.zip", {**({"说明.txt": b"x"} if by_day else {}), **members})


def read_classic_zip(folder: Path, encoding: str) -> list[Row]:
    with zipfile.ZipFile(folder / "2024_1min.zip") as archive:
        found = [archive.read(name) for name in archive.namelist() if name.endswith(".csv")]
    return read_classic(pd.concat(texts(io.BytesIO(one), encoding=encoding) for one in found))


def spreadsheet(folder: Path) -> None:
    rows = classic(pd.concat(map(market, CODES)).sort_values("time", kind="stable"))
    rows["时间"] = [f"{t.year}/{t.month}/{t.day} {t.hour}:{t.minute:02d}" for t in rows["时间"]]
    rows.to_csv(folder / "excel.csv", index=False, encoding="gb18030")


def read_spreadsheet(folder: Path) -> list[Row]:
    rows = texts(folder / "excel.csv", encoding="gb18030")
    rows["时间"] = pd.to_datetime(rows["时间"], format="%Y/%m/%d %H:%M").astype(str)
    return read_classic(rows)


def reader(
    name: str, columns: str, time: Callable[[Cells], dt.datetime],
    code: str | Callable[[Cells], str] = CODES[0], volume: str = "0.01", amount: str = "1", **options: str,
) -> Callable[[Path], list[Row]]:  # fmt: skip
    """A plain reading of a text file; `code` is that of all its rows, or says that of each."""

    def read(folder: Path) -> list[Row]:
        of_row = code if callable(code) else lambda _: code
        return plain(texts(folder / name, **options), of_row, time, columns, volume, amount)

    return read


def coded(column: str, which: int) -> Callable[[Cells], str]:
    """The code that a column has as `vendor` spells it."""
    by = {vendor(code, which): code for code in CODES}
    return lambda one: by[one[column]]


JQ = "open high low close volume money"


def jq(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["time", "open", "close", "high", "low", "volume", "amount"]].rename(columns={"amount": "money"})


def unnamed(folder: Path, name: str = f"{vendor(CODES[0], 1)}.csv", step: int = 1) -> None:
    """The first stock with its times as an index without a name."""
    jq(market(CODES[0])).iloc[step - 1 :: step].set_index("time").rename_axis(None).to_csv(folder / name)


def jq_files(folder: Path) -> None:
    for code in CODES:
        jq(market(code)).set_index("time").rename_axis(None).to_csv(folder / f"{vendor(code, 1)}.csv")


def read_jq_files(folder: Path) -> list[Row]:
    return sorted(row for code in CODES for row in reader(f"{vendor(code, 1)}.csv", JQ, at(0), code)(folder))


def jq_many(folder: Path, name: str = "minutes.csv") -> None:
    rows = pd.concat([jq(market(code)).assign(code=vendor(code, 1)) for code in CODES], ignore_index=True)
    rows[["time", "code", "open", "close", "high", "low", "volume", "money"]].to_csv(folder / name)


def jq_bars(folder: Path) -> None:
    jq(market(CODES[0])).rename(columns={"time": "date"}).to_csv(folder / "600000.XSHG.csv")


def rq() -> pd.DataFrame:
    rows = pd.concat([jq(market(code)).assign(order_book_id=vendor(code, 1)) for code in CODES])
    rows = rows.rename(columns={"time": "datetime", "money": "total_turnover"}).assign(num_trades=3)
    return rows.set_index(["order_book_id", "datetime"])


def read_rq(frame: pd.DataFrame) -> list[Row]:
    frame = frame.astype({"datetime": str}).astype(str)
    return plain(frame, coded("order_book_id", 1), at("datetime"), "open high low close volume total_turnover", "0.01")


def rq_feather(folder: Path) -> None:
    rows, buffer = rq().reset_index(), io.BytesIO()
    rows["datetime"] = rows["datetime"].dt.tz_localize("Asia/Shanghai").dt.tz_convert("UTC")
    rows.to_feather(buffer)
    zipped(folder / "rq.zip", {"rq.feather": buffer.getvalue()})


def read_rq_feather(folder: Path) -> list[Row]:
    with zipfile.ZipFile(folder / "rq.zip") as archive:
        rows = pd.read_feather(io.BytesIO(archive.read("rq.feather")))
    rows["datetime"] = rows["datetime"].dt.tz_convert("Asia/Shanghai").dt.tz_localize(None)
    return read_rq(rows)


def tushare(folder: Path) -> None:
    rows = market(CODES[1]).rename(columns={"time": "trade_time", "code": "ts_code", "volume": "vol"})
    rows = rows[["ts_code", "trade_time", "close", "open", "high", "low", "vol", "amount"]].iloc[::-1]
    rows.astype({"vol": float}).to_csv(folder / "000001.SZ.csv")


def eastmoney(folder: Path) -> None:
    rows = market(CODES[1]).assign(average=10.0).drop(columns="code")
    rows["volume"] //= 100
    rows = rows[["time", "open", "close", "high", "low", "volume", "amount", "average"]]
    rows.set_axis(["时间", "开盘", "收盘", "最高", "最低", "成交量", "成交额", "均价"], axis=1).to_csv(
        folder / "000001.csv", index=False, encoding="utf-8-sig"
    )


def sina(folder: Path) -> None:
    rows = market(CODES[0]).rename(columns={"time": "day"})[["day", "open", "high", "low", "close", "volume"]]
    rows.to_csv(folder / "sh600000.csv", index=False)


def baostock(folder: Path) -> None:
    rows = market(CODES[0]).iloc[4::5]
    rows = rows.assign(
        date=rows["time"].dt.date, code="sh.600000", adjustflag=2, time=rows["time"].dt.strftime("%Y%m%d%H%M%S000")
    )
    columns = ["date", "time", "code", "open", "high", "low", "close", "volume", "amount", "adjustflag"]
    rows[columns].to_csv(folder / "bao.csv", index=False)


def myquant(folder: Path) -> None:
    rows = pd.concat(market(code) for code in CODES[:2])
    rows = rows.assign(symbol=[vendor(code, 2) for code in rows["code"]], frequency="60s", position=0, pre_close=0.0)
    rows["eob"] = rows["time"].dt.tz_localize("Asia/Shanghai")
    rows["bob"] = rows["eob"] - pd.Timedelta(minutes=1)
    columns = ["symbol", "frequency", "open", "close", "high", "low", "amount", "volume", "bob", "eob"]
    rows[columns].to_csv(folder / "gm.csv")


def tdx(folder: Path, adjusted: str = "前复权", period: str = "1分钟线", tab: str = "\t", header: bool = True) -> None:
    names = ["日期", "时间", "开盘", "最高", "最低", "收盘", "成交量", "成交额"]
    lines = [f"600000 浦发银行 {period} {adjusted}", tab.join(f"    {name}" for name in names)]
    for one in market(CODES[0]).itertuples():
        cells = f"{one.time:%Y/%m/%d} {one.time:%H%M} {one.open:.2f} {one.high:.2f} {one.low:.2f} {one.close:.2f}"
        lines.append(tab.join([*cells.split(), str(one.volume), f"{one.amount:.2f}"]))
    lines = [*lines[0 if header else 2 :], "#数据来源:通达信", ""]
    (folder / "SH#600000.txt").write_bytes("\r\n".join(lines).encode("gb18030"))


def read_tdx(folder: Path, first: int = 2, tab: str = "\t") -> list[Row]:
    lines = (folder / "SH#600000.txt").read_bytes().decode("gb18030").split("\r\n")[first:-2]
    time = at(0, 1, form="%Y/%m/%d%H%M")
    return plain(pd.DataFrame([line.split(tab) for line in lines]), lambda _: CODES[0], time, "2 3 4 5 6 7", "0.01")


def ths(folder: Path) -> None:
    lines = ["时间\t开盘\t最高\t最低\t收盘\t涨幅\t振幅\t总手\t金额\t换手%\t成交次数"]
    for n, one in enumerate(market(CODES[0]).itertuples()):
        change = "--" if n == 0 else "+0.12%"
        prices = "\t".join(f"{price:.3f}" for price in (one.open, one.high, one.low, one.close))
        rest = f"{change}\t0.20%\t{one.volume:,}\t{one.amount:,.2f}\t0.10\t37"
        lines.append(f"{one.time:%Y-%m-%d %H:%M}\t{prices}\t{rest}")
    (folder / "SH600000.txt").write_text("\r\n".join(lines), encoding="gb18030", newline="")


def read_ths(folder: Path) -> list[Row]:
    frame = texts(folder / "SH600000.txt", encoding="gb18030", sep="\t", thousands=None)
    frame = frame.apply(lambda column: column.str.replace(",", ""))
    return plain(frame, lambda _: CODES[0], at("时间"), "开盘 最高 最低 收盘 总手 金额", "0.01")


def wind(folder: Path) -> None:
    rows = market(CODES[0], start=True).set_index("time").drop(columns="code").rename(columns={"amount": "amt"})
    rows.rename_axis(None).to_csv(folder / "600000.SH.csv")


def a_minute_later(one: Cells) -> dt.datetime:
    return at(0)(one) + dt.timedelta(minutes=1)


OWN = """mine:
  columns: {date: TradingDay, time: Minute, code: Ticker, open: O, high: H, low: L, close: C, volume: V, amount: Value}
  volume: lots
  amount: thousands
  adjustment: forward
"""
OWN_COLUMNS = "O H L C V Value"
OWN_NAMES = {"code": "Ticker", "open": "O", "high": "H", "low": "L", "close": "C", "volume": "V", "amount": "Value"}


def own_csv(folder: Path) -> None:
    rows = pd.concat(market(code) for code in CODES)
    rows["TradingDay"] = rows["time"].dt.strftime("%Y%m%d")
    rows["Minute"] = rows["time"].dt.strftime("%H%M").str.lstrip("0")
    rows["volume"], rows["amount"] = rows["volume"] // 100, (rows["amount"] / 1000).round(4)
    rows.drop(columns="time").rename(columns=OWN_NAMES).to_csv(
        folder / "mine.csv", index=False, sep=";", encoding="utf-16"
    )


def own_parquet(folder: Path) -> None:
    rows = pd.concat(market(code) for code in CODES)
    rows["Minute"] = [int(time.tz_localize("Asia/Shanghai").timestamp() * 1000) for time in rows["time"]]
    rows.drop(columns="time").rename(columns=OWN_NAMES).to_parquet(folder / "mine.parquet")


def read_own_parquet(folder: Path) -> list[Row]:
    def time(one: Cells) -> dt.datetime:
        return dt.datetime(1970, 1, 1, 8) + dt.timedelta(milliseconds=int(one["Minute"]))

    frame = pd.read_parquet(folder / "mine.parquet").astype(str)
    return plain(frame, lambda one: one["Ticker"], time, OWN_COLUMNS, amount="1000")


def foreign(folder: Path) -> None:
    (folder / "600000.csv").write_text("date,open,high,low,close,volume\n2024-01-31 09:31:00,10,10,10,10,500\n")


SHAPES = {
    "classic: a yearly zip in UTF-8": Shape(
        partial(classic_zip, encoding="utf-8-sig"), partial(read_classic_zip, encoding="utf-8-sig")
    ),
    "classic: a yearly zip of GBK": Shape(
        partial(classic_zip, encoding="gb18030"), partial(read_classic_zip, encoding="gb18030")
    ),
    "classic: a zip of a GBK file a day, many stocks each": Shape(
        partial(classic_zip, encoding="gb18030", by_day=True), partial(read_classic_zip, encoding="gb18030")
    ),
    "classic: saved by a spreadsheet, 2024/1/31 9:31, GBK, minute after minute": Shape(spreadsheet, read_spreadsheet),
    "jqdata: get_price of a stock, a file each, the index without a name": Shape(jq_files, read_jq_files),
    "jqdata: get_price(panel=False) of many stocks": Shape(
        jq_many, reader("minutes.csv", JQ, at("time"), coded("code", 1))
    ),
    "jqdata: the same, packed by gzip": Shape(
        partial(jq_many, name="minutes.csv.gz"), reader("minutes.csv.gz", JQ, at("time"), coded("code", 1))
    ),
    "jqdata: get_bars, not adjusted": Shape(jq_bars, said="not adjusted, as its profile jqdata_bars says"),
    "jqdata: get_bars with fq_ref_date": Shape(
        jq_bars, reader("600000.XSHG.csv", JQ, at("date")), own="jqdata_bars: {adjustment: forward}"
    ),
    "ricequant: get_price as CSV": Shape(
        lambda folder: rq().to_csv(folder / "rq.csv"), lambda folder: read_rq(texts(folder / "rq.csv"))
    ),
    "ricequant: get_price as Parquet, with its index": Shape(
        lambda folder: rq().to_parquet(folder / "rq.parquet"),
        lambda folder: read_rq(pd.read_parquet(folder / "rq.parquet").reset_index()),
    ),
    "ricequant: get_price as Feather inside a zip, times in UTC": Shape(rq_feather, read_rq_feather),
    "tushare: stk_mins, as traded": Shape(tushare, said="put bars as traded into MARKETDATA_TICKS_DIR"),
    "tushare: stk_mins, newest first, adjusted by its user": Shape(
        tushare,
        reader("000001.SZ.csv", "open high low close vol amount", at("trade_time"), lambda one: one["ts_code"]),
        own="tushare_mins: {adjustment: forward}",
    ),
    "akshare: stock_zh_a_hist_min_em, as traded": Shape(eastmoney, said="as its profile akshare_em says"),
    "akshare: stock_zh_a_hist_min_em, adjusted by its user": Shape(
        eastmoney,
        reader("000001.csv", "开盘 最高 最低 收盘 成交量 成交额", at("时间"), CODES[1], "1", encoding="utf-8-sig"),
        own="akshare_em: {adjustment: forward}",
    ),
    "akshare: stock_zh_a_minute(adjust=qfq), without amounts": Shape(
        sina,
        reader("sh600000.csv", "open high low close volume -", at("day")),
        own="akshare_sina: {adjustment: forward}",
    ),
    "baostock: bars of 5 minutes": Shape(baostock, said="its bars are of 5m, as its profile baostock says"),
    "myquant: history(adjust=ADJUST_PREV), times with an offset": Shape(
        myquant,
        reader("gm.csv", "open high low close volume amount", at("eob"), coded("symbol", 2)),
        own="myquant: {adjustment: forward}",
    ),
    "tdx: text with tabs, 前复权 in its title": Shape(tdx, read_tdx),
    "tdx: text, 不复权 in its title": Shape(
        partial(tdx, adjusted="不复权"), said="not adjusted, as its title says '不复权'"
    ),
    "tdx: text of 15 minutes": Shape(
        partial(tdx, period="15分钟线"), said="its bars are of 15m, as its title says '15分钟线'"
    ),
    "tdx: text without title and header": Shape(
        partial(tdx, tab=",", header=False), partial(read_tdx, first=0, tab=","), own="tdx_plain: {adjustment: forward}"
    ),
    "ths: text with tabs, thousands and percents": Shape(ths, read_ths, own="ths: {adjustment: forward}"),
    "wind: w.wsi(PriceAdj=F), labelled by the start": Shape(
        wind,
        reader("600000.SH.csv", "open high low close volume amt", a_minute_later),
        own="wind: {adjustment: forward}",
    ),
    "another vendor: date and time in two columns, semicolons, UTF-16, thousands of yuan": Shape(
        own_csv,
        reader(
            "mine.csv",
            OWN_COLUMNS,
            at("TradingDay", "Minute", form="%Y%m%d%H%M"),
            lambda one: one["Ticker"],
            "1",
            "1000",
            sep=";",
            encoding="utf-16",
        ),
        own=OWN,
    ),
    "another vendor: Parquet with times as numbers of milliseconds": Shape(
        own_parquet, read_own_parquet, own=OWN.replace("date: TradingDay, ", "")
    ),
    "jqdata's columns with bars of 5 minutes": Shape(
        partial(unnamed, step=5), said="all its bars are 5 minutes apart or more"
    ),
    "no vendor's columns": Shape(
        foreign, said="no profile fits its columns date,open,high,low,close,volume; the nearest is"
    ),
    "a file whose name has no code": Shape(
        partial(unnamed, name="202401.csv"), said="neither a column nor its name has the code; name it as sh600000"
    ),
}
