"""A definition made of a file loads that file whole, and holds for the next one.

No row of one replaces a row of another, no text loses digits; each line that is no row, each text that is NULL and each
doubt is named.
"""

import datetime as dt
import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import psycopg
import pytest

from marketdata_assets.flows import checks
from marketdata_assets.flows.definition import parse
from marketdata_assets.flows.inference import guess
from marketdata_assets.flows.trial import preview, try_file
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Unit, file_at
from tests.flows.flow_files import deliver, made, read_all, run


def parquet() -> bytes:
    out = io.BytesIO()
    times = [dt.datetime(2024, 1, 2, 1), dt.datetime(2024, 1, 2, 2)]
    pl.DataFrame({"sym": ["A", "A"], "t": times, "p": [1.5, 2.5]}).write_parquet(out)
    return out.getvalue()


CASES: dict[str, tuple[str | bytes, dict[str, str], list[str], tuple[Any, ...]]] = {
    "AAPL.csv": (
        "Date,Close,Volume\n2024-01-02,185.64,82488700\n2024-01-03,184.25,58414500\n",
        {"symbol": "text", "date": "date", "close": "numeric(16,4)", "volume": "bigint"},
        ["symbol", "date"],
        ("AAPL", dt.date(2024, 1, 2), 185.64, 82488700),
    ),
    "gbk.csv": (
        "注意：供应商数据\n股票代码,交易日期,收盘价,成交额,涨跌幅\n000001,20240102,9.21,11.6亿,-1.2%\n000002,20240102,9,8000万,0%\n".encode(
            "gb18030"
        ),
        {"symbol": "text", "trade_date": "date", "close": "numeric(16,4)", "amount": "numeric(17,4)",
         "pct_change": "numeric(16,4)"},
        ["symbol", "trade_date"],
        ("000001", dt.date(2024, 1, 2), 9.21, 1_160_000_000, -0.012),
    ),
    "headerless.csv": (
        "A,1704162600000,10.5\nB,1704162600000,0.25\n",
        {"column_1": "text", "column_2": "timestamptz", "column_3": "numeric(16,4)"},
        ["column_1", "column_2"],
        ("A", dt.datetime(2024, 1, 2, 2, 30, tzinfo=dt.UTC), 10.5),
    ),
    "c.tsv": (
        "code\ttime\tpx\nA\t02.01.2024 10:30\t1,234.5\nB\t02.01.2024 10:30\t-\n",
        {"code": "text", "time": "timestamp", "px": "numeric(16,4)"},
        ["code", "time"],
        ("A", dt.datetime(2024, 1, 2, 10, 30), 1234.5),
    ),
    "d.jsonl": (
        '{"s":"A","q":{"t":"2024-01-02T03:04:05Z","p":1.25}}\n{"s":"B","q":{"t":"2024-01-02T03:04:05Z"}}\n',
        {"s": "text", "q_t": "timestamptz", "q_p": "numeric(16,4)"},
        ["s", "q_t"],
        ("A", dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC), 1.25),
    ),
    "e.json": (
        json.dumps({"data": {"items": [{"s": "A", "d": "2024-01-02", "n": 5}, {"s": "B", "d": "2024-01-02", "n": 6}]}}),
        {"s": "text", "d": "date", "n": "bigint"},
        ["s", "d"],
        ("A", dt.date(2024, 1, 2), 5),
    ),
    "f.parquet": (
        parquet(),
        {"sym": "text", "t": "timestamp", "p": "double"},
        ["sym", "t"],
        ("A", dt.datetime(2024, 1, 2, 1), 1.5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_definition_made_of_a_file_loads_all_of_it(name: str, tmp_path: Path) -> None:
    data, columns, key, first = CASES[name]
    flow, _, path = made(tmp_path, name, data)
    assert {name: str(kind) for name, kind in flow.target.columns.items()} == columns
    assert (flow.target.key, flow.target.mode) == (key, "upsert")
    tried = try_file(flow, path)
    assert (dict(tried.rejects), tried.read, tried.rows.height) == ({}, 2, 2)
    assert tried.rows.row(0) == first


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("id,day,note", '{n},2024-01-0{n},"first line {n}\nsecond"'),
        ("n,date,title", "7,2024-01-0{n},Price {n}"),
        ("level_0,day,what", "7,2024-01-0{n},the price of this share has risen by {n} percent since"),
        ("n,日期,备注", "7,2024-01-0{n},第{n}条"),
    ],
)
def test_texts_for_people_are_in_no_key(header: str, row: str, tmp_path: Path) -> None:
    lines = [header, *(row.format(n=n) for n in (1, 2)), ""]
    flow, _, _ = made(tmp_path, "prices.csv", "\n".join(lines))
    assert (flow.target.key, flow.target.mode) == ([], "replace")


def test_lines_that_end_with_a_carriage_return_alone_are_no_row(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="its lines end with CR alone; save it with LF or CRLF"):
        made(tmp_path, "mac.csv", "symbol,date,close\rA,2024-01-02,1\rB,2024-01-02,2\r")


def test_what_is_unsure_is_said_in_the_definition(tmp_path: Path) -> None:
    _, one, _ = made(tmp_path, "headerless.csv", CASES["headerless.csv"][0])
    assert "the first line looks like a row, so the file is taken to have no header" in one.text
    assert "column_2: {type: timestamptz, epoch: auto}  # taken for ms since 1970, by its digits" in one.text
    assert any("column_2: taken for ms since 1970" in remark for remark in one.unsure)


def test_rows_without_a_key_are_kept_by_file(tmp_path: Path) -> None:
    flow, one, _ = made(tmp_path, "prices.csv", "price\n1.5\n1.5\n")
    assert (flow.target.mode, flow.target.key) == ("replace", [])
    assert "no columns identify a row of the sample" in one.text


def test_a_preview_shows_the_rows_after_each_step(tmp_path: Path) -> None:
    flow = parse(
        "loader: {columns: [code, close], types: {close: double}}\n"
        "handlers:\n  - drop_invalid: {positive: close > 0}\n  - derive: {twice: close * 2}\n"
        "target: {table: t, key: [code], columns: {code: text, twice: 'numeric(16,4)'}}\n"
        "quality: {max_rejected_share: 1}\n"
    )
    path = tmp_path / "a.csv"
    path.write_text("code,close\nA,1\nB,-1\nC,x\nD,4\n")
    unit = Unit(file_at(path), size=path.stat().st_size)
    steps: list[tuple[str, int, list[Any]]] = [(s.title, s.count, s.rows.rows()) for s in preview(flow, unit, 2)]
    assert steps == [
        ("read", 3, [("A", 1.0), ("B", -1.0)]),
        ("1 drop_invalid", 2, [("A", 1.0), ("D", 4.0)]),
        ("2 derive", 2, [("A", 1.0, 2.0), ("D", 4.0, 8.0)]),
        ("table t", 2, [("A", 2.0), ("D", 8.0)]),
        ("rejected", 2, [(3, "breaks the rule 'positive'"), (4, "close 'x' is no number")]),
    ]
    assert Decimal(2) == steps[3][2][0][1]


TIMES = {
    "day of the name": ("eod_{:%Y%m%d}.csv", "symbol,close", "{s},{px}", ["day", "symbol"]),
    "day with dashes": ("{:%Y-%m-%d}.csv", "代码,收盘价", "{s},{px}", ["day", "symbol"]),
    "symbol and day": ("AAPL_{:%Y_%m_%d}.csv", "bid,ask", "{px},{px}", []),
    "AM and PM": ("{:%d}.csv", "symbol,t,close", "{s},{day:%m/%d/%Y} 4:00:00 PM,{px}", ["symbol", "t"]),
    "days of Excel": ("{:%d}.csv", "symbol,date,close", "{s},{serial},{px}", ["symbol", "date"]),
    "days of Excel with a time": ("{:%d}.csv", "symbol,time,close", "{s},{serial}.5,{px}", ["symbol", "time"]),
    "months by name": ("{:%d}.csv", "symbol,d,close", "{s},{day:%b %d %Y},{px}", ["symbol", "d"]),
    "short months": ("{:%d}.csv", "symbol,d,close", "{s},{day:%d-%b-%y},{px}", ["symbol", "d"]),
    "long months": ("{:%d}.csv", "symbol,d,close", "{s},{day:%d %B %Y},{px}", ["symbol", "d"]),
    "nanoseconds": ("{:%d}.csv", "symbol,ts,px", "{s},{day}T09:30:00.123456789Z,{px}", ["symbol", "ts"]),
    "nanoseconds of a clock": ("{:%d}.csv", "symbol,ts,px", "{s},{day} 09:30:00.123456789,{px}", ["symbol", "ts"]),
    "names in two languages": (
        "x-trades-{:%Y-%m-%d}.csv",
        "trade_id/撮合id,symbol,px,created_time/成交时间",
        "{s},A,{px},17040{serial}01{s}",
        ["symbol", "created_time", "trade_id"],
    ),
    "no time at all": ("{:%d}.csv", "symbol,close", "{s},{px}", []),
    "a date of something else": ("{:%d}.csv", "symbol,list_date,close", "{s},1991-04-03,{px}", []),
    "no subject": ("some prices {:%d}.csv", "date,close", "2024-01-0{s},{px}", []),
    "a clock and a day of the name": ("{:%Y%m%d}.csv", "code,time,px", "{s},09:30:00,{px}", ["day", "code", "time"]),
    "trades": ("{:%d}.csv", "code,date,trade_id,px", "A,{day},{s},{px}", ["code", "date", "trade_id"]),
}  # fmt: skip


RECORDED = {
    "fetched": (
        "download_time,symbol,date,close",
        "2024-01-0{file} 08:00:01,A,2024-01-02,1\n2024-01-0{file} 08:00:02,A,2024-01-03,2\n",
    ),
    "created": (
        "created_at,symbol,date,close",
        "2024-01-0{file} 08:00:00,A,2024-01-02,1\n2024-01-0{file} 08:00:00,B,2024-01-02,2\n",
    ),
    "in Chinese": (
        "代码,更新时间,日期,收盘",
        "000001,2024-01-0{file} 08:00:00,2024-01-02,1\n000002,2024-01-0{file} 08:00:01,2024-01-02,2\n",
    ),
    "a padded volume": (
        "code,date,volume,close",
        "600000,20240102,000012{file},00010.50\n000001,20240102,000012{file},00009.20\n",
    ),
    "padded digits": (
        "code,date,other,close",
        "600000,20240102,00008012{file},10.50\n000001,20240102,00008012{file},9.20\n",
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_rows_of_a_redelivery_replace_those_before(name: str, tmp_path: Path) -> None:
    """When a row was recorded, and what is measured, identifies none."""
    for file in (6, 5):
        header, rows = RECORDED[name]
        flow, one, _ = made(tmp_path, f"x{file}.csv", f"{header}\n{rows.format(file=file)}")
    assert len(read_all(flow, tmp_path)) == 2
    if "padded" not in name:
        assert any(re.fullmatch("key: da(te|y) is taken for the time of a row, not .+", said) for said in one.unsure)
    if "volume" in name:
        row = read_all(flow, tmp_path)[0]
        assert (row["volume"], row["close"]) == (126, Decimal("10.50"))


def test_codes_that_are_numbers_are_text_and_named(tmp_path: Path) -> None:
    out = io.BytesIO()
    pl.DataFrame({"code": [1, 600000], "day": [dt.date(2024, 1, 2)] * 2, "px": [1.5, 2.5]}).write_parquet(out)
    rows = [{"code": code, "day": "2024-01-02", "px": 1.5} for code in (1, 600000)]
    for file, data in (
        ("a.parquet", out.getvalue()),
        ("b.json", json.dumps(rows)),
        ("c.csv", "code,day,px\n1,2024-01-02,1\n600000,2024-01-02,2\n"),
    ):
        flow, one, path = made(tmp_path, file, data)
        assert try_file(flow, path).rows["code"].to_list() == ["1", "600000"]
        assert "zeros before them were lost" in one.types["code"], file


def test_a_code_that_has_lost_its_zeros_in_a_later_file_fails_a_check(dsn: str, tmp_path: Path) -> None:
    days = [dt.date(2024, 1, 3)] * 2
    flow, _, _ = made(tmp_path, "a.parquet", _codes(["000001", "600000"], [dt.date(2024, 1, 2)] * 2))
    deliver(tmp_path, "b.parquet", _codes([1, 600000], days, [None, float("nan")]))
    deliver(tmp_path, "c.parquet", _codes([2.0, None], days))
    report = run(flow, dsn, tmp_path)
    (failed,) = report.failed
    assert (failed.unit, "column code is Float64, the target has text" in (failed.error or "")) == ("c.parquet", True)
    with psycopg.connect(dsn) as connection:
        finding = checks.column_as_expected(connection, flow, "code", flow.quality.columns["code"])
    assert [example["row"] for example in finding.examples] == ["1, 2024-01-03"]


def _codes(codes: Any, days: list[dt.date], names: Any = ("平安", "浦发")) -> bytes:
    out = io.BytesIO()
    pl.DataFrame({"code": codes, "name": names, "day": days, "px": [1.5, 2.5]}).write_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize("name", TIMES)
def test_no_file_replaces_rows_of_another(name: str, tmp_path: Path) -> None:
    file, header, row, key = TIMES[name]
    for number, day in enumerate((dt.date(2024, 1, 13), dt.date(2024, 1, 14))):
        serial = (day - dt.date(1899, 12, 30)).days
        lines = [row.format(s=s, day=day, serial=serial, px=f"{number + 1}{s}.5") for s in "12"]
        flow, one, _ = made(tmp_path, file.format(day), "\n".join([header, *lines, ""]))
        assert bool(key) == bool(flow.target.key) or name == "symbol and day"
        assert (flow.target.key, flow.target.mode) == (
            key or flow.target.key,
            "upsert" if flow.target.key else "replace",
        )
    price = next(column for column in ("close", "px", "bid") if column in flow.target.columns)
    assert sorted(float(row[price]) for row in read_all(flow, tmp_path)) == [11.5, 12.5, 21.5, 22.5]
    if not flow.target.key:
        assert any("no columns identify a row of the sample" in remark for remark in one.unsure)
        assert one.summary[1] == "key:        none, mode replace"


def test_a_quarter_is_a_time_of_a_key(tmp_path: Path) -> None:
    for column, values in (
        ("quarter", "2024Q1 2024-Q1 Q1-2024 2024年一季度"),
        ("month", "2024-01 202401 2024年1月"),
        ("year", "2024"),
    ):
        for value in values.split():
            flow, _, path = made(tmp_path, "gdp.csv", f"country,{column},gdp\nA,{value},1.5\nB,{value},2.5\n")
            assert flow.target.key == ["country", column], value
            assert [str(row[1]) for row in try_file(flow, path).rows.rows()] == [value] * 2


@pytest.mark.parametrize(
    ("texts", "days"),
    [
        (["2024-01-02", "01/13/2024", "4-Jan-24"], [2, 13, 4]),
        (["1/2/24", "1/13/2024"], [2, 13]),
        (["24-01-02", "24-01-03"], [2, 3]),
        (["20240102", "2024-01-13", "14.01.2024"], [2, 13, 14]),
        (["13/01/2024", "01/14/2024"], None),
    ],
)
def test_dates_in_several_forms_are_each_read_in_theirs(
    texts: list[str], days: list[int] | None, tmp_path: Path
) -> None:
    flow, one, path = made(tmp_path, "a.csv", "symbol,d,px\n" + "".join(f"A,{text},1.5\n" for text in texts))
    if days is None:
        assert (flow.target.columns["d"].kind, "kept as text" in one.types["d"]) == ("text", True)
        return
    read = [row[1] for row in try_file(flow, path).rows.rows()]
    assert read == [dt.date(2024, 1, day) for day in days]


ENGLISH = (
    "code",
    "symbol",
    "ticker",
    "ts_code",
    "order_id",
    "order_no",
    "account",
    "CUSIP",
    "Contract Code",
    "client_id",
)
CHINESE = ("证券代码", "资金账号", "委托编号", "股东代码", "成交编号", "合约代码")


@pytest.mark.parametrize("name", [*ENGLISH, *CHINESE])
def test_a_subject_is_text_whatever_its_digits(name: str, tmp_path: Path) -> None:
    flow, _, path = made(tmp_path, "sh.csv", f"{name},day,close\n600000,2024-01-02,6.61\n600519,2024-01-02,1685.01\n")
    (ours,) = [flow.loader.columns[name]]
    assert flow.target.columns[ours].kind == "text"
    deliver(tmp_path, "sh.csv", f"{name},day,close\n000001,2024-01-02,9.21\nNA,2024-01-02,1\n")
    assert sorted(try_file(flow, path).rows[ours]) == ["000001", "NA"]


def test_a_number_that_is_none_in_a_later_file_rejects_its_row(tmp_path: Path) -> None:
    flow, _, path = made(tmp_path, "a.csv", "symbol,day,lot\nA,2024-01-02,100\n")
    deliver(tmp_path, "a.csv", "symbol,day,lot\nA,2024-01-02,001\nB,2024-01-02,1\n")
    assert [*try_file(flow, path).rejects] == [2]


MISSING = ("NA", "N/A", "n/a", "N.A.", "#N/A", "#N/A N/A", ".", "/", "--", "-", "null", "NaN", r"\N")


@pytest.mark.parametrize("text", MISSING)
def test_a_text_is_null_where_the_others_are_numbers_and_it_is_said(text: str, tmp_path: Path) -> None:
    data = f"symbol,day,close,name\n{text},2024-01-02,1.5,a\nB,2024-01-02,{text},x-{text}\nC,2024-01-03,2.5,c\n"
    flow, one, path = made(tmp_path, "a.csv", data)
    assert (flow.target.key, flow.loader.missing) == (["symbol", "day"], {"close": [text]})
    assert f"close: {text!r} is taken for NULL (1 of 3 rows)" in one.unsure
    assert [row[:3:2] for row in try_file(flow, path).rows.rows()] == [(text, 1.5), ("B", None), ("C", 2.5)]


def test_a_value_column_is_in_no_key_although_a_text_is_among_its_numbers(tmp_path: Path) -> None:
    flow, one, _ = made(
        tmp_path, "rates.csv", "series,DATE,rate\nx,2024-01-01,n.m.\ny,2024-01-01,3.95\nz,2024-01-01,3.91\n"
    )
    assert flow.target.key == ["series", "date"]
    assert one.types["rate"] == "most are numbers, but not 'n.m.'; if that is NULL, name it in missing"


def test_excel_texts_money_and_percents_of_a_brokers_export(tmp_path: Path) -> None:
    text = (
        '成交日期,证券代码,证券名称,买卖标志,成交价格,成交数量,发生金额,盈亏比例(%),委托编号,昨结算\n'
        '20240102,="000001",平安银行,买入,¥9.21,"1,000","(9,210.50)",12.5%,="0012",8500\n'
        '20240102,="600000",浦发银行,卖出,¥6.61,200,"1,322.00",-1.5%,="0013",8510.5\n'
        '合计,,,,,"1,200","(7,888.50)",,,\n'
    )  # fmt: skip
    flow, one, path = made(tmp_path, "交割单.csv", text.encode("gb18030"))
    assert [*flow.target.columns] == ["trade_date", "symbol", "name", "side", "price", "quantity", "net_amount",
                                      "profit_pct", "order_id", "pre_settle"]  # fmt: skip
    tried = try_file(flow, path)
    first = (dt.date(2024, 1, 2), "000001", "平安银行", "买入", 9.21, 1000, -9210.5, 0.125, "0012", 8500)
    assert (tried.rows.height, tried.rows.row(0), dict(tried.rejects)) == (2, first, {})
    assert not any("column_" in remark for remark in one.unsure)


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "quotes are data": ('sym|name|px\nA|"Foo|1\nB|b|2\nC|c"|3\nD|d|4\n', {"sep": "|", "quoting": 3}),
    "inches": ('sym,name,px\nA,5" pipe,1\nB,b,2\n', {"quoting": 3}),
    "escaped": ('sym,name,px\nA,"a \\"q\\", b",3\nB,"x",4\n', {"escapechar": "\\"}),
    "single": ("sym;name;px\nA;'x;y';1\nB;'z';2\n", {"sep": ";", "quotechar": "'"}),
    "apostrophes": ("sym,name,px\nA,O'Neil,1\nB,b,2\n", {}),
    "a folder": ('sym,name,px\nA,"C:\\",1\nB,"D:\\",2\n', {}),
    "lines": ('sym,name,px\nA,"x\ny",1\nB,b,2\n', {}),
    "bars": ("sym||name||px\nA||a b||1\nB||b||2\n", {"sep": r"\|\|", "engine": "python"}),
    "bars around": ("sym|@|name|@|px\nA|@|a|@|1\nB|@|b|@|2\n", {"sep": r"\|@\|", "engine": "python"}),
    "colons": ("sym::name::px\nA::a::1\nB::b::2\n", {"sep": "::", "engine": "python"}),
    "comments": ("# made\nsym,name,px\nA,a,1\n# note, 2\nB,b,2\n", {"comment": "#"}),
    "comments and a title": (
        "# made\nprices of us\nsym,name,px\nA,a,1\n# note, 2\nB,b,2\n",
        {"comment": "#", "skiprows": 2},
    ),
    "a commented header": ("#sym,name,px\nA,a,1\nB,b,2\n", {}),
    "blanks": ('sym, name, px\nA, "Foo, Inc", 1\nB, b, 2\n', {"skipinitialspace": True}),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_found_that_reads_as_pandas_does(name: str, tmp_path: Path) -> None:
    text, options = FORMS[name]
    flow, _, path = made(tmp_path, "some table.csv", text)
    tried = try_file(flow, path)
    expected = pd.read_csv(io.StringIO(text), keep_default_na=False, **options)
    assert dict(tried.rejects) == {}
    assert [list(row) for row in tried.rows.rows()] == expected.to_numpy().tolist()


POINTS = 'a point is taken for the decimal point; if it separates thousands, write {thousands: ".", decimal: ","}'


@pytest.mark.parametrize(
    ("name", "texts", "kind", "said"),
    [
        ("high", ["188", "183"], "numeric(16,4)", ""),
        ("volume", ["188"], "bigint", ""),
        ("volume", ["1", "-007"], "bigint", ""),
        ("time", ["93000", "931"], "text", "times of a day, which are kept as text, as they are written"),
        ("x", ["1 234,50", "2,5"], "numeric(16,4)", ""),
        ("x", ["$5.00", "-$3.00"], "numeric(16,4)", ""),
        ("x", ["1.234", "987"], "numeric(16,4)", POINTS),
        ("x", ["1.234", "987.5"], "numeric(16,4)", ""),
        ("time", ["09:30:00"], "text", ""),
        (
            "date",
            ["soon", "2024-01-02"],
            "text",
            "named as a time, and in no form that is known, so it is kept as text",
        ),
        ("trade_id", ["1", "2"], "bigint", ""),
        ("x", ["1", "2"], "bigint", ""),
        ("x", ["000001", "600000"], "text", ""),
        ("x", ["1.5", "2"], "numeric(16,4)", ""),
        ("x", ["123456789012.25"], "numeric(19,4)", ""),
        ("x", ["0.00000001"], "numeric(16,8)", ""),
        ("x", ["1e-5", "2.0"], "double", "with exponents, so not exact"),
        ("x", ["1,234", "12"], "bigint", ""),
        ("x", ["0,5", "1,25"], "numeric(16,4)", "a comma is taken for the decimal point"),
        ("x", ["true", "false"], "boolean", ""),
        ("x", ["20240102", "20240103"], "date", ""),
        ("x", ["20240102", "20249999"], "bigint", ""),
        ("x", ["01/02/2024"], "date", "%d/%m/%Y and %m/%d/%Y fit all values; %d/%m/%Y is taken"),
        ("x", ["13/02/2024"], "date", ""),
        ("x", ["01-02-2024", "01-03-2024"], "date", "%d-%m-%Y and %m-%d-%Y fit all values; %m-%d-%Y is taken"),
        ("x", ["02-01-24", "13-01-24"], "date", "%y-%m-%d and %d-%m-%y fit all values; %d-%m-%y is taken"),
        ("x", ["24/01/02", "24/01/03"], "date", "%d/%m/%y and %y/%m/%d fit all values; %y/%m/%d is taken"),
        ("x", ["24.01.02", "24.01.03"], "date", "%d.%m.%y and %y.%m.%d fit all values; %y.%m.%d is taken"),
        ("x", ["2024-01-02T03:04:05+08:00"], "timestamptz", ""),
        ("x", ["", None], "text", "no value in the sample"),
        ("x", ["a", "1"], "text", ""),
    ],
)
def test_a_type_takes_every_value_of_the_sample(name: str, texts: list[str | None], kind: str, said: str) -> None:
    found = guess(name, texts)
    assert (str(found.cell.type), found.unsure) == (kind, said)


def test_what_was_guessed_is_said_in_three_lines(tmp_path: Path) -> None:
    _, one, _ = made(tmp_path, "eod_20240102.csv", "symbol,px,n\nA,1e-5,1\nB,2.5,2\n")
    assert one.summary == [
        "time:       day",
        "key:        [day, symbol], mode upsert",
        "types:      px (with exponents, so not exact)",
    ]
    assert one.guessed == {
        "time": ["day"],
        "key": ["day", "symbol"],
        "mode": "upsert",
        "unsure_types": {"px": "with exponents, so not exact"},
    }


LATER: dict[str, tuple[str, list[str], list[str]]] = {
    "microseconds behind nanoseconds": ("time", ["1704187800000000000"], ["1704187801000000"]),
    "seconds before and behind 2001": ("date", ["946684800", "1009843200"], ["1009929600"]),
    "milliseconds that fall": ("x", ["1704187802000", "1704187801000", "1704187800000"], ["1704187800000000"]),
    "clocks of digits": ("time", ["1000", "1001"], ["0930"]),
    "clocks without zeros": ("time", ["93100", "150000"], ["093200"]),
    "an id of a security": ("SecurityID", ["600519", "300750"], ["000001"]),
    "a code of a source": ("secucode", ["600519", "300750"], ["000001"]),
    "a code in Japanese": ("銘柄コード", ["7203", "6758"], ["0001"]),
    "names that are words": ("company", ["T", "F"], ["GM"]),
    "names that are numbers": ("asset", ["1E5", "2E3"], ["GM"]),
    "18 decimals": ("x", ["0.123456789012345678", "2.5"], ["1.000000000000000001"]),
    "12 decimals": ("x", ["1.123456789012", "2.5"], ["33.123456789012"]),
    "blanks of French files": ("x", ["1\u00a0234,5", "2,25"], ["1\u202f234\u202f567,5"]),
    "blanks and a point": ("x", ["1 234.5", "2.25"], ["1 234 567.5"]),
    "typographic apostrophes": ("x", ["1’234.5", "2.25"], ["1’234’567.5"]),
    "money with thousands in the next file": ("x", ["(12.5)", "2.25"], ["(1,234.50)"]),
    "percents with thousands": ("x", ["1,212.5%", "0.5%"], ["1.5%"]),
    "percents with a comma": ("x", ["12,5%", "0,5%"], ["1,5%"]),
    "a time of one piece": ("date", ["20240102T093000"], ["20240103T093000"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LATER)
def test_what_is_guessed_takes_the_next_file(name: str, tmp_path: Path) -> None:
    column, texts, later = LATER[name]
    lines = [f"A{number};2024-01-02;{text}" for number, text in enumerate(texts)]
    flow, _, path = made(tmp_path, "some table.csv", "\n".join([f"sym;day;{column}", *lines, ""]))
    (ours,) = (our for source, our in flow.loader.columns.items() if source == column)
    deliver(tmp_path, path.name, "\n".join([f"sym;day;{column}", *(f"B;2024-01-03;{text}" for text in later), ""]))
    tried = try_file(flow, path)
    assert dict(tried.rejects) == {}
    number = str.maketrans(dict.fromkeys(",’ \xa0\u202f()%", "") | ({",": "."} if ",5" in texts[0] else {}))
    kind = flow.target.columns[ours].kind
    assert kind == "timestamptz" if "fall" in name else kind == "numeric" if column == "x" else kind != "bigint"
    for given, read in zip(later, tried.rows[ours], strict=True):
        if kind == "text":
            assert read == given
        elif kind == "numeric":
            share = 100 if "%" in given else 1
            expected = Decimal(given.translate(number)) / share
            assert abs(Decimal(str(read))) == expected
        else:
            assert read.year in (2002, 2024)


def test_digits_that_no_number_is_read_of_are_text() -> None:
    assert guess("volume", ["１００", "２００"]).cell.type.kind == "text"


def test_numbers_that_are_kept_as_text_or_double_are_named(tmp_path: Path) -> None:
    for texts, said in (
        (["12.5%", "0"], "numbers in forms that are not known together, as '12.5%', are kept as text"),
        (["12.5-", "1"], "numbers in forms that are not known together, as '12.5-', are kept as text"),
        (["5bp", "1bp"], "numbers in forms that are not known together, as '5bp', are kept as text"),
        (["0.30000000000000004", "1.5"], "kept as double, so 15 digits are exact"),
        (["1.5", "2", "inf"], "most are numbers, but not 'inf'; if that is NULL, name it in missing"),
    ):
        assert guess("x", texts).unsure == said
    rising = ["1500000000000", "1600000000000", "1700000000000"]
    assert str(guess("x", rising).cell.type) == "bigint"


DAYS = (
    *("Jan{0:%d%Y}", "{0:%d}Jan2024", "{0:%d}-Jan-2024", "{0:%y%m%d}", "{0:%d.%m.%Y}", "{0:%m-%d-%Y}", "{0:%Y.%m.%d}"),
    *("{0.year}年{0.month}月{0.day}日", "{0.year}-{0.month}-{0.day}", "{0:%Y%m%d}093000", "v2_{0:%Y%m%d}T093000"),
)


@pytest.mark.parametrize("form", DAYS)
def test_a_day_of_the_name_in_any_form_is_one_of_the_key(form: str, tmp_path: Path) -> None:
    days = (dt.date(2024, 1, 2), dt.date(2024, 1, 13))
    for day in reversed(days):
        flow, _, _ = made(tmp_path, f"eod_{form.format(day)}.csv", f"symbol,close\nA,{day.day}\n")
    assert flow.target.key == ["day", "symbol"]
    assert sorted((row["day"], row["close"]) for row in read_all(flow, tmp_path)) == [(day, day.day) for day in days]


DIFFERENCES: dict[str, tuple[str, str, str]] = {
    "market": ("market", "XNAS", "XNYS"),
    "side": ("买卖方向", "买", "卖"),
    "period": ("interval", "1d", "1w"),
    "currency": ("currency", "USD", "EUR"),
    "level": ("level", "1", "2"),
    "expiry": ("expiry", "2024-02-01", "2024-03-01"),
    "strike": ("strike", "100.5", "110.5"),
    "report": ("report_date", "2023-12-31", "2023-09-30"),
    "account": ("account", "1001", "1002"),
    "fund": ("fund_code", "F1", "F2"),
    "country": ("country_code", "US", "CN"),
    "type": ("option_type", "call", "put"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_rows_that_differ_in_more_than_the_sample_shows_are_all_there(name: str, tmp_path: Path) -> None:
    column, first, other = DIFFERENCES[name]
    for file, value in (("data2.csv", other), ("data1.csv", first)):
        flow, _, _ = made(tmp_path, file, f"symbol,date,{column},qty\nA,2024-01-02,{value},1\nB,2024-01-02,{value},2\n")
    assert flow.target.mode == "upsert"
    assert len(read_all(flow, tmp_path)) == 4


NAMED_AFTER: dict[str, tuple[str, str]] = {
    "a signal": ("date,close,signal", "2024-01-02,{px},buy\n2024-01-03,{px},sell\n"),
    "a state": ("日期,收盘,是否停牌", "2024-01-02,{px},否\n2024-01-03,{px},是\n"),
    "a clock with an offset": ("date,time,close", "20240102,09:31+08:00,{px}\n20240102,09:32+08:00,{px}\n"),
    "sides of trades": ("time,px,bs", "2024-01-02 09:31:00,{px},B\n2024-01-02 09:31:00,{px},S\n"),
    "numbers of orders": ("time,order_id,px", "2024-01-02 09:31:00,1,{px}\n2024-01-02 09:31:00,2,{px}\n"),
    "constituents": ("代码,日期,权重", "000001,2024-01-02,{px}\n600036,2024-01-02,{px}\n"),
}


@pytest.mark.parametrize("files", [("000905", "000300"), ("SZ#399300", "SH#399300")])
@pytest.mark.parametrize("name", NAMED_AFTER)
def test_files_that_are_named_after_what_they_are_about_replace_no_rows_of_each_other(
    name: str, files: tuple[str, str], tmp_path: Path
) -> None:
    header, rows = NAMED_AFTER[name]
    for px, file in enumerate(files):
        flow, _, _ = made(tmp_path, f"{file}.csv", f"{header}\n{rows.format(px=px)}")
    assert flow.target.mode == "upsert"
    assert len(read_all(flow, tmp_path)) == 4


@pytest.mark.parametrize("name", ["kline_1d.csv", "kline_weekly.csv", "qfq/kline.csv"])
def test_what_only_the_name_of_a_file_says_makes_no_key(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    flow, one, _ = made(tmp_path, name, "symbol,date,px\nA,2024-01-02,1.5\n")
    assert (flow.target.key, flow.target.mode) == ([], "replace")
    assert any("is in no row, and rows of other files may have the same key" in remark for remark in one.unsure)


@pytest.mark.parametrize("name", ["order_price", "account_balance", "股东人数", "fund_nav", "deal_qty"])
def test_a_value_named_after_a_subject_is_a_number(name: str) -> None:
    assert guess(name, ["1234.5"]).cell.type.kind == "numeric"
