"""The registry of symbols: where it comes from, what a refresh replaces, and what it never takes away."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference import stored
from marketdata_assets.reference.files import ReferenceFiles
from marketdata_assets.reference.load import Run, Sources, load_instruments
from marketdata_assets.reference.records import Listing
from marketdata_assets.reference.tables import INSTRUMENTS
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import registry
from marketdata_assets.ticks.errors import BadFile, TicksError
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.tushare_reference import TushareReference
from marketdata_demo.servers.tushare import TushareServer
from tests.ticks.tick_clients import Clients, files_config

MONDAY = dt.datetime(2025, 6, 2, tzinfo=dt.UTC)
TUESDAY = MONDAY + dt.timedelta(days=1)
FIELDS = ["ts_code", "name", "list_date", "delist_date", "list_status", "exchange"]
ROWS = [
    ["600000.SH", "浦发银行", "19991110", None, "L", "SSE"],
    ["600001.SH", "邯郸钢铁", "19980122", "20091229", "D", "SSE"],
    ["000001.SZ", "平安银行", "19910403", "", "L", "SZSE"],
]


@pytest.fixture
def server(tushare_server: TushareServer) -> TushareServer:
    tushare_server.tables["stock_basic"] = (FIELDS, ROWS)
    return tushare_server


@pytest.fixture
def dropped(tmp_path: Path) -> Files:
    folder = tmp_path / "dropped"
    folder.mkdir()
    header = "symbol,ts,open,high,low,close,volume\n"
    (folder / "a.csv").write_text(header + "920001.BJ,2025-06-02 09:31:00,1,1,1,1,100\n")
    return Files(folder, files_config())


def known(client: Client, clients: Clients, server: TushareServer) -> pl.DataFrame:
    """The instruments as Tushare lists them now."""
    sources = Sources(ReferenceFiles(clients.home / "reference"), lambda: TushareReference(clients.tushare(server)))
    report = load_instruments(Run(client, sources, "run", MONDAY))[0]
    assert report.outcome == "ok", report.error
    return stored.rows(client, INSTRUMENTS)


def test_tushare_tells_what_there_is_and_what_is_no_more(
    client: Client, clients: Clients, server: TushareServer
) -> None:
    report = registry.refresh(client, known(client, clients, server), None, None, now=MONDAY)
    assert (report.symbols, report.sources, report.statuses) == (3, {"tushare": 3}, {"delisted": 1, "listed": 2})
    assert (report.added, report.vanished) == (("000001.SZ", "600000.SH", "600001.SH"), ())
    assert registry.listed(client) == [
        Listing("000001.SZ", "平安银行", dt.date(1991, 4, 3), None, "listed"),
        Listing("600000.SH", "浦发银行", dt.date(1999, 11, 10), None, "listed"),
        Listing("600001.SH", "邯郸钢铁", dt.date(1998, 1, 22), dt.date(2009, 12, 29), "delisted"),
    ]


def test_a_refresh_replaces_and_marks_what_vanished(client: Client, clients: Clients, server: TushareServer) -> None:
    registry.refresh(client, known(client, clients, server), None, None, now=MONDAY)
    renamed = ["600000.SH", "上海浦发", "19991110", None, "L", "SSE"]
    server.tables["stock_basic"] = (FIELDS, [renamed, ROWS[1], ["600002.SH", "齐鲁石化", "19980408", None, "L", "SSE"]])
    report = registry.refresh(client, known(client, clients, server), None, None, now=TUESDAY)
    assert (report.symbols, report.added, report.vanished) == (3, ("600002.SH",), ("000001.SZ",))
    assert [one.symbol for one in registry.listed(client)] == ["600000.SH", "600001.SH", "600002.SH"]
    whole = {one.symbol: one for one in registry.listed(client, vanished=True)}
    assert (whole["600000.SH"].name, whole["000001.SZ"].status) == ("上海浦发", "vanished")
    assert whole["000001.SZ"].listed == dt.date(1991, 4, 3)
    server.tables["stock_basic"] = (FIELDS, ROWS)
    back = registry.refresh(client, known(client, clients, server), None, None, now=TUESDAY + dt.timedelta(days=1))
    assert (back.added, back.vanished) == (("000001.SZ",), ("600002.SH",))
    client.command("OPTIMIZE TABLE symbols FINAL")
    assert len(registry.listed(client, vanished=True)) == 4


def test_a_file_takes_the_place_of_tushare_and_dropped_files_count_too(
    client: Client, clients: Clients, server: TushareServer, dropped: Files, tmp_path: Path
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("symbol,name,listed,delisted\n600000.SH,浦发银行,1999-11-10,\n# a note\n\n600001.SH,,,2009-12-29\n")
    report = registry.refresh(client, known(client, clients, server), file, dropped, now=MONDAY)
    assert report.sources == {"files": 1, "mine.csv": 2}
    assert registry.listed(client) == [
        Listing("600000.SH", "浦发银行", dt.date(1999, 11, 10), None, "listed"),
        Listing("600001.SH", "", None, dt.date(2009, 12, 29), "delisted"),
        Listing("920001.BJ", "", None, None, "listed"),
    ]
    alone = registry.refresh(client, None, None, dropped, now=TUESDAY)
    assert (alone.symbols, alone.vanished) == (1, ("600000.SH", "600001.SH"))


def test_what_a_list_leaves_out_is_taken_from_the_instruments(
    client: Client, clients: Clients, server: TushareServer, tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("600001.SH\n600009.SH\n")
    registry.refresh(client, known(client, clients, server), tmp_path / "mine.csv", None, now=MONDAY)
    assert registry.listed(client) == [
        Listing("600001.SH", "邯郸钢铁", dt.date(1998, 1, 22), dt.date(2009, 12, 29), "delisted"),
        Listing("600009.SH", "", None, None, "listed"),
    ]


def test_a_list_of_names_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "symbols.txt"
    file.write_text("\ufeff600000.SH\n\n000001.SZ \n", "utf-8")
    assert [one.symbol for one in registry.read(file)] == ["600000.SH", "000001.SZ"]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("sh600000", "'sh600000' is not a symbol such as 600000.SH"),
        ("SAP.DE", "'SAP.DE' names no exchange; write it as 600000.SH, or as 0700.HK"),
        ("600000.SH,a,19991110x", "'19991110x' is not a day such as 2026-09-30"),
        ("600000.SH,a,2001-01-02,2001-01-01", "600000.SH is delisted on 2001-01-01, before it is listed on 2001-01-02"),
        ("600000.SH,a,,,x", "5 values; expected symbol,name,listed,delisted"),
        ("000001.SZ", "000001.SZ is listed twice"),
        ('600000.SH,"a\n600001.SH,b', "is no line of CSV"),
        (f"600000.SH,{'a' * 200_000}", "is no line of CSV"),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_the_file_is_taken(tmp_path: Path, line: str, cause: str) -> None:
    file = tmp_path / "symbols.csv"
    file.write_text(f"symbol\n000001.SZ\n{line}\n")
    with pytest.raises(BadFile) as error:
        registry.read(file)
    assert str(error.value).startswith(f"{file}:3: {cause}")


def test_a_list_that_cannot_be_had_leaves_the_table_as_it_was(
    client: Client, clients: Clients, server: TushareServer, tmp_path: Path
) -> None:
    registry.refresh(client, known(client, clients, server), None, None, now=MONDAY)
    before = clickhouse.read(client, "SELECT * FROM symbols ORDER BY symbol")
    with pytest.raises(TicksError, match="Set TUSHARE_TOKEN"):
        registry.refresh(client, None, None, None, now=TUESDAY)
    (tmp_path / "none.txt").write_text("# nobody\n")
    with pytest.raises(TicksError, match=r"none\.txt names none"):
        registry.refresh(client, None, tmp_path / "none.txt", None, now=TUESDAY)
    assert clickhouse.read(client, "SELECT * FROM symbols ORDER BY symbol").equals(before)


@pytest.mark.parametrize(
    ("symbol", "remedy"), [("00700.HK", "write 0700.HK"), ("72030.T", "write it as 7203.T"), ("BTC-USD", "")]
)
def test_symbols_of_other_exchanges_are_listed_in_their_one_spelling(tmp_path: Path, symbol: str, remedy: str) -> None:
    (file := tmp_path / "symbols.csv").write_text(symbol)
    if not remedy:
        assert [one.symbol for one in registry.read(file)] == [symbol]
        return
    with pytest.raises(BadFile, match=remedy):
        registry.read(file)
