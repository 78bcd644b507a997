"""Files of minute bars as vendors write them, and plain readings of them by pandas, csv and Decimal.

Nothing is shared with the package.
"""

import datetime as dt
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from bar_files import HEADER

MONTHS = ["2024-01", "2024-02"]
CODES = ("600000.SH", "000001.SZ", "688001.SH")
VENDOR = {"SH": ("sh", "XSHG", "SHSE"), "SZ": ("sz", "XSHE", "SZSE")}
OURS = ("open", "high", "low", "close", "volume", "amount")


def market(code: str, days: Iterable[str] = ("2024-01-31", "2024-02-01"), start: bool = False) -> pd.DataFrame:
    """Bars of some days by time: prices with two decimals, volumes in shares with parts of lots, amounts that fit."""
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


def plain(
    frame: pd.DataFrame, code: Callable[[pd.Series], str], time: Callable[[pd.Series], dt.datetime], columns: str,
    volume: str = "1", amount: str = "1",
) -> list[Row]:  # fmt: skip
    """The rows of a table of texts: `columns` are those of open, high, low, close, volume and amount, or - for none."""
    rows = []
    for _, one in frame.iterrows():
        values = [
            None if name == "-" else Decimal(one.iloc[int(name)] if name.isdigit() else one[name])
            for name in columns.split()
        ]
        prices = [value.quantize(Decimal("0.0001"), ROUND_HALF_UP) for value in values[:4] if value is not None]
        lots = (values[4] * Decimal(volume)).quantize(Decimal(1), ROUND_HALF_UP)
        yuan = None if values[5] is None else (values[5] * Decimal(amount)).quantize(Decimal("0.0001"), ROUND_HALF_UP)
        rows.append((code(one), time(one), *prices, lots, yuan))
    return sorted(rows)


def at(*columns: str | int, form: str = "ISO8601") -> Callable[[pd.Series], dt.datetime]:
    """The time in a column, or in several by names or numbers."""

    def time(one: pd.Series) -> dt.datetime:
        text = "".join(one.iloc[column] if isinstance(column, int) else one[column].zfill(4) for column in columns)
        return pd.to_datetime(text, format=form).tz_localize(None).to_pydatetime()

    return time


texts = partial(pd.read_csv, dtype=str, keep_default_na=False)


@dataclass
class Shape:
    """How files of a shape are written into a folder, how they are read plainly, and what a person had to write."""

    write: Callable[[Path], None]
    read: Callable[[Path], list[Row]] | None = None
    own: str = ""
    said: str = ""


SHAPES: dict[str, Shape] = {}


def shape(name: str, own: str = "", said: str = "") -> Callable[[Callable[[], tuple]], None]:
    def add(make: Callable[[], tuple]) -> None:
        SHAPES[name] = Shape(*make(), own=own, said=said)

    return add


def classic(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame.assign(
        code=frame["code"].str[-2:].str.lower() + frame["code"].str[:6], name="浦发银行", volume=frame["volume"] // 100,
        change=0.1, amplitude=0.2,
    )  # fmt: skip
    rows = rows[["time", "code", "name", "open", "close", "high", "low", "volume", "amount", "change", "amplitude"]]
    return rows.set_axis(HEADER.split(","), axis=1)


def read_classic(frame: pd.DataFrame) -> list[Row]:
    def code(one: pd.Series) -> str:
        return f"{one['代码'][2:]}.{one['代码'][:2].upper()}"

    return plain(frame, code, at("时间"), "开盘价 最高价 最低价 收盘价 成交量 成交额")


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def unzipped(path: Path, encoding: str) -> list[pd.DataFrame]:
    with zipfile.ZipFile(path) as archive:
        return [texts(io.BytesIO(archive.read(name)), encoding=encoding) for name in archive.namelist()]


def member(frame: pd.DataFrame, encoding: str) -> bytes:
    return frame.to_csv(index=False).encode(encoding)


@shape("classic: a yearly zip in UTF-8")
def _() -> tuple:
    def write(folder: Path) -> None:
        zipped(folder / "2024_1min.zip", {f"{c}.csv": member(classic(market(c)), "utf-8-sig") for c in CODES})

    return write, lambda folder: read_classic(pd.concat(unzipped(folder / "2024_1min.zip", "utf-8-sig")))


@shape("classic: a yearly zip of GBK")
def _() -> tuple:
    def write(folder: Path) -> None:
        zipped(folder / "2024_1min.zip", {f"{c}.csv": member(classic(market(c)), "gb18030") for c in CODES})

    return write, lambda folder: read_classic(pd.concat(unzipped(folder / "2024_1min.zip", "gb18030")))


@shape("classic: a zip of a GBK file a day, many stocks each")
def _() -> tuple:
    def write(folder: Path) -> None:
        days = {day: pd.concat([market(code, [day]) for code in CODES]) for day in ("2024-01-31", "2024-02-01")}
        members = {f"{day.replace('-', '')}.csv": member(classic(rows), "gb18030") for day, rows in days.items()}
        zipped(folder / "days.zip", {"说明.txt": b"x", **members})

    def read(folder: Path) -> list[Row]:
        with zipfile.ZipFile(folder / "days.zip") as archive:
            found = [archive.read(name) for name in archive.namelist() if name.endswith(".csv")]
        return read_classic(pd.concat(texts(io.BytesIO(one), encoding="gb18030") for one in found))

    return write, read


@shape("classic: saved by a spreadsheet, 2024/1/31 9:31, GBK, minute after minute")
def _() -> tuple:
    def write(folder: Path) -> None:
        rows = classic(pd.concat(map(market, CODES)).sort_values("time", kind="stable"))
        rows["时间"] = [f"{t.year}/{t.month}/{t.day} {t.hour}:{t.minute:02d}" for t in rows["时间"]]
        rows.to_csv(folder / "excel.csv", index=False, encoding="gb18030")

    def read(folder: Path) -> list[Row]:
        rows = texts(folder / "excel.csv", encoding="gb18030")
        rows["时间"] = pd.to_datetime(rows["时间"], format="%Y/%m/%d %H:%M").astype(str)
        return read_classic(rows)

    return write, read


def jq(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["time", "open", "close", "high", "low", "volume", "amount"]].rename(columns={"amount": "money"})


JQ = "open high low close volume money"


@shape("jqdata: get_price of a stock, a file each, the index without a name")
def _() -> tuple:
    def write(folder: Path) -> None:
        for code in CODES:
            jq(market(code)).set_index("time").rename_axis(None).to_csv(folder / f"{vendor(code, 1)}.csv")

    def read(folder: Path) -> list[Row]:
        rows: list[Row] = []
        for code in CODES:
            frame = texts(folder / f"{vendor(code, 1)}.csv")
            rows += plain(frame, lambda _, code=code: code, at(0), JQ, "0.01")
        return sorted(rows)

    return write, read


def jq_many(folder: Path, name: str = "minutes.csv") -> None:
    rows = pd.concat([jq(market(code)).assign(code=vendor(code, 1)) for code in CODES], ignore_index=True)
    rows[["time", "code", "open", "close", "high", "low", "volume", "money"]].to_csv(folder / name)


def read_jq_many(folder: Path, name: str = "minutes.csv") -> list[Row]:
    by = {vendor(code, 1): code for code in CODES}
    frame = texts(folder / name)
    return plain(frame, lambda one: by[one["code"]], at("time"), JQ, "0.01")


@shape("jqdata: get_price(panel=False) of many stocks")
def _() -> tuple:
    return jq_many, read_jq_many


@shape("jqdata: the same, packed by gzip")
def _() -> tuple:
    return partial(jq_many, name="minutes.csv.gz"), partial(read_jq_many, name="minutes.csv.gz")


def jq_bars(folder: Path) -> None:
    jq(market(CODES[0])).rename(columns={"time": "date"}).to_csv(folder / "600000.XSHG.csv")


@shape("jqdata: get_bars, not adjusted", said="not adjusted, as its profile jqdata_bars says")
def _() -> tuple:
    return (jq_bars,)


@shape("jqdata: get_bars with fq_ref_date", own="jqdata_bars: {adjustment: forward}")
def _() -> tuple:
    def read(folder: Path) -> list[Row]:
        frame = texts(folder / "600000.XSHG.csv")
        return plain(frame, lambda _: CODES[0], at("date"), JQ, "0.01")

    return jq_bars, read


def rq() -> pd.DataFrame:
    rows = pd.concat([jq(market(code)).assign(order_book_id=vendor(code, 1)) for code in CODES])
    rows = rows.rename(columns={"time": "datetime", "money": "total_turnover"}).assign(num_trades=3)
    return rows.set_index(["order_book_id", "datetime"])


def read_rq(frame: pd.DataFrame) -> list[Row]:
    by = {vendor(code, 1): code for code in CODES}
    columns = "open high low close volume total_turnover"
    frame = frame.astype({"datetime": str})
    time = at("datetime")
    return plain(frame.astype(str), lambda one: by[one["order_book_id"]], time, columns, "0.01")


@shape("ricequant: get_price as CSV")
def _() -> tuple:
    return lambda folder: rq().to_csv(folder / "rq.csv"), lambda folder: read_rq(texts(folder / "rq.csv"))


@shape("ricequant: get_price as Parquet, with its index")
def _() -> tuple:
    def read(folder: Path) -> list[Row]:
        return read_rq(pd.read_parquet(folder / "rq.parquet").reset_index())

    return lambda folder: rq().to_parquet(folder / "rq.parquet"), read


@shape("ricequant: get_price as Feather inside a zip, times in UTC")
def _() -> tuple:
    def write(folder: Path) -> None:
        rows = rq().reset_index()
        rows["datetime"] = rows["datetime"].dt.tz_localize("Asia/Shanghai").dt.tz_convert("UTC")
        buffer = io.BytesIO()
        rows.to_feather(buffer)
        zipped(folder / "rq.zip", {"rq.feather": buffer.getvalue()})

    def read(folder: Path) -> list[Row]:
        with zipfile.ZipFile(folder / "rq.zip") as archive:
            rows = pd.read_feather(io.BytesIO(archive.read("rq.feather")))
        rows["datetime"] = rows["datetime"].dt.tz_convert("Asia/Shanghai").dt.tz_localize(None)
        return read_rq(rows)

    return write, read


def tushare(folder: Path) -> None:
    rows = market(CODES[1]).rename(columns={"time": "trade_time", "code": "ts_code", "volume": "vol"})
    rows = rows[["ts_code", "trade_time", "close", "open", "high", "low", "vol", "amount"]].iloc[::-1]
    rows.astype({"vol": float}).to_csv(folder / "000001.SZ.csv")


@shape("tushare: stk_mins, as traded", said="put bars as traded into MARKETDATA_TICKS_DIR")
def _() -> tuple:
    return (tushare,)


@shape("tushare: stk_mins, newest first, adjusted by its user", own="tushare_mins: {adjustment: forward}")
def _() -> tuple:
    def read(folder: Path) -> list[Row]:
        time, columns = at("trade_time"), "open high low close vol amount"
        return plain(texts(folder / "000001.SZ.csv"), lambda one: one["ts_code"], time, columns, "0.01")

    return tushare, read


def eastmoney(folder: Path) -> None:
    rows = market(CODES[1]).assign(average=10.0).drop(columns="code")
    rows["volume"] //= 100
    rows = rows[["time", "open", "close", "high", "low", "volume", "amount", "average"]]
    rows.set_axis(["时间", "开盘", "收盘", "最高", "最低", "成交量", "成交额", "均价"], axis=1).to_csv(
        folder / "000001.csv", index=False, encoding="utf-8-sig"
    )


@shape("akshare: stock_zh_a_hist_min_em, as traded", said="as its profile akshare_em says")
def _() -> tuple:
    return (eastmoney,)


@shape("akshare: stock_zh_a_hist_min_em, adjusted by its user", own="akshare_em: {adjustment: forward}")
def _() -> tuple:
    def read(folder: Path) -> list[Row]:
        time, columns = at("时间"), "开盘 最高 最低 收盘 成交量 成交额"
        return plain(texts(folder / "000001.csv", encoding="utf-8-sig"), lambda _: "000001.SZ", time, columns)

    return eastmoney, read


@shape("akshare: stock_zh_a_minute(adjust=qfq), without amounts", own="akshare_sina: {adjustment: forward}")
def _() -> tuple:
    def write(folder: Path) -> None:
        rows = market(CODES[0]).rename(columns={"time": "day"})[["day", "open", "high", "low", "close", "volume"]]
        rows.to_csv(folder / "sh600000.csv", index=False)

    def read(folder: Path) -> list[Row]:
        time, columns = at("day"), "open high low close volume -"
        return plain(texts(folder / "sh600000.csv"), lambda _: CODES[0], time, columns, "0.01")

    return write, read


@shape("baostock: bars of 5 minutes", said="its bars are of 5m, as its profile baostock says")
def _() -> tuple:
    def write(folder: Path) -> None:
        rows = market(CODES[0]).iloc[4::5]
        rows = rows.assign(
            date=rows["time"].dt.date, code="sh.600000", adjustflag=2, time=rows["time"].dt.strftime("%Y%m%d%H%M%S000")
        )
        columns = ["date", "time", "code", "open", "high", "low", "close", "volume", "amount", "adjustflag"]
        rows[columns].to_csv(folder / "bao.csv", index=False)

    return (write,)


def myquant(folder: Path) -> None:
    rows = pd.concat(market(code) for code in CODES[:2])
    rows = rows.assign(symbol=[vendor(code, 2) for code in rows["code"]], frequency="60s", position=0, pre_close=0.0)
    rows["eob"] = rows["time"].dt.tz_localize("Asia/Shanghai")
    rows["bob"] = rows["eob"] - pd.Timedelta(minutes=1)
    columns = ["symbol", "frequency", "open", "close", "high", "low", "amount", "volume", "bob", "eob"]
    rows[columns].to_csv(folder / "gm.csv")


@shape("myquant: history(adjust=ADJUST_PREV), times with an offset", own="myquant: {adjustment: forward}")
def _() -> tuple:
    def read(folder: Path) -> list[Row]:
        by = {vendor(code, 2): code for code in CODES}
        time = at("eob")
        columns = "open high low close volume amount"
        return plain(texts(folder / "gm.csv"), lambda one: by[one["symbol"]], time, columns, "0.01")

    return myquant, read


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


@shape("tdx: text with tabs, 前复权 in its title")
def _() -> tuple:
    return tdx, read_tdx


@shape("tdx: text, 不复权 in its title", said="not adjusted, as its title says '不复权'")
def _() -> tuple:
    return (partial(tdx, adjusted="不复权"),)


@shape("tdx: text of 15 minutes", said="its bars are of 15m, as its title says '15分钟线'")
def _() -> tuple:
    return (partial(tdx, period="15分钟线"),)


@shape("tdx: text without title and header", own="tdx_plain: {adjustment: forward}")
def _() -> tuple:
    return partial(tdx, tab=",", header=False), partial(read_tdx, first=0, tab=",")


@shape("ths: text with tabs, thousands and percents", own="ths: {adjustment: forward}")
def _() -> tuple:
    def write(folder: Path) -> None:
        lines = ["时间\t开盘\t最高\t最低\t收盘\t涨幅\t振幅\t总手\t金额\t换手%\t成交次数"]
        for n, one in enumerate(market(CODES[0]).itertuples()):
            change = "--" if n == 0 else "+0.12%"
            prices = "\t".join(f"{price:.3f}" for price in (one.open, one.high, one.low, one.close))
            rest = f"{change}\t0.20%\t{one.volume:,}\t{one.amount:,.2f}\t0.10\t37"
            lines.append(f"{one.time:%Y-%m-%d %H:%M}\t{prices}\t{rest}")
        (folder / "SH600000.txt").write_text("\r\n".join(lines), encoding="gb18030", newline="")

    def read(folder: Path) -> list[Row]:
        frame = texts(folder / "SH600000.txt", encoding="gb18030", sep="\t", thousands=None)
        frame = frame.apply(lambda column: column.str.replace(",", ""))
        time = at("时间")
        return plain(frame, lambda _: CODES[0], time, "开盘 最高 最低 收盘 总手 金额", "0.01")

    return write, read


@shape("wind: w.wsi(PriceAdj=F), labelled by the start", own="wind: {adjustment: forward}")
def _() -> tuple:
    def write(folder: Path) -> None:
        rows = market(CODES[0], start=True).set_index("time").drop(columns="code").rename(columns={"amount": "amt"})
        rows.rename_axis(None).to_csv(folder / "600000.SH.csv")

    def read(folder: Path) -> list[Row]:
        time = lambda one: at(0)(one) + dt.timedelta(minutes=1)  # noqa: E731
        return plain(
            texts(folder / "600000.SH.csv"), lambda _: CODES[0], time, "open high low close volume amt", "0.01"
        )

    return write, read


OWN = """mine:
  columns: {date: TradingDay, time: Minute, code: Ticker, open: O, high: H, low: L, close: C, volume: V, amount: Value}
  volume: lots
  amount: thousands
  adjustment: forward
"""


@shape("another vendor: date and time in two columns, semicolons, UTF-16, thousands of yuan", own=OWN)
def _() -> tuple:
    def write(folder: Path) -> None:
        rows = pd.concat(market(code) for code in CODES)
        rows["TradingDay"], rows["Minute"] = (
            rows["time"].dt.strftime("%Y%m%d"),
            rows["time"].dt.strftime("%H%M").str.lstrip("0"),
        )
        rows["volume"], rows["amount"] = rows["volume"] // 100, (rows["amount"] / 1000).round(4)
        names = {"code": "Ticker", "open": "O", "high": "H", "low": "L", "close": "C", "volume": "V", "amount": "Value"}
        rows.drop(columns="time").rename(columns=names).to_csv(
            folder / "mine.csv", index=False, sep=";", encoding="utf-16"
        )

    def read(folder: Path) -> list[Row]:
        frame = texts(folder / "mine.csv", sep=";", encoding="utf-16")
        time = at("TradingDay", "Minute", form="%Y%m%d%H%M")
        return plain(frame, lambda one: one["Ticker"], time, "O H L C V Value", amount="1000")

    return write, read


@shape("another vendor: Parquet with times as numbers of milliseconds", own=OWN.replace("date: TradingDay, ", ""))
def _() -> tuple:
    def write(folder: Path) -> None:
        rows = pd.concat(market(code) for code in CODES)
        rows["Minute"] = [int(time.tz_localize("Asia/Shanghai").timestamp() * 1000) for time in rows["time"]]
        names = {"code": "Ticker", "open": "O", "high": "H", "low": "L", "close": "C", "volume": "V", "amount": "Value"}
        rows.drop(columns="time").rename(columns=names).to_parquet(folder / "mine.parquet")

    def read(folder: Path) -> list[Row]:
        frame = pd.read_parquet(folder / "mine.parquet").astype(str)
        epoch = dt.datetime(1970, 1, 1, 8)
        time = lambda one: epoch + dt.timedelta(milliseconds=int(one["Minute"]))  # noqa: E731
        return plain(frame, lambda one: one["Ticker"], time, "O H L C V Value", amount="1000")

    return write, read


@shape("jqdata's columns with bars of 5 minutes", said="all its bars are 5 minutes apart or more")
def _() -> tuple:
    def write(folder: Path) -> None:
        jq(market(CODES[0])).iloc[4::5].set_index("time").rename_axis(None).to_csv(folder / "600000.XSHG.csv")

    return (write,)


@shape("no vendor's columns", said="no profile fits its columns date,open,high,low,close,volume; the nearest is")
def _() -> tuple:
    def write(folder: Path) -> None:
        (folder / "600000.csv").write_text("date,open,high,low,close,volume\n2024-01-31 09:31:00,10,10,10,10,500\n")

    return (write,)


@shape("a file whose name has no code", said="neither a column nor its name has the code; name it as sh600000")
def _() -> tuple:
    def write(folder: Path) -> None:
        jq(market(CODES[0])).set_index("time").rename_axis(None).to_csv(folder / "202401.csv")

    return (write,)
