"""Order books from dropped files into the table: what is loaded, what is kept, and what is reported."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks import tables
from marketdata_assets.ticks.fallback import Provider
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.load import load
from marketdata_assets.ticks.load_run import Limits, LoadOptions
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport
from marketdata_demo.servers.tushare import TushareServer
from tests.ticks.tick_clients import Clients, files_config

SYMBOL, OTHER = "600000.SH", "000001.SZ"
MONTH = "2025-06"
NOW = dt.datetime(2025, 7, 1, 1, tzinfo=dt.UTC)
HEADER = "symbol,ts,bid_price_1,bid_size_1,ask_price_1,ask_size_1\n"


class Books:
    """A folder of order books and the table they land in."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client, self.folder = client, folder / "order_book"
        self.folder.mkdir()
        self.providers: list[Provider] = [Files(folder, files_config())]

    def put(
        self, name: str, *days: int, symbol: str = SYMBOL, price: float = 9.4, count: int = 3, extra: str = ""
    ) -> Path:
        rows = [
            f"{symbol},2025-06-{day:02d} 09:30:{3 * number:02d}.500,{price},100,{price + 0.01:.2f},200\n"
            for day in days
            for number in range(count)
        ]
        path = self.folder / name
        path.write_text(HEADER + "".join(rows) + extra)
        return path

    def load(self, *units: Unit, now: dt.datetime = NOW, **options: Any) -> LoadReport:
        return load(
            self.client,
            self.providers,
            units,
            table=tables.ORDER_BOOK,
            options=LoadOptions(**options),
            run_id="run",
            now=now,
        )

    def one(self, **options: Any) -> UnitReport:
        [unit] = self.load(Unit(SYMBOL, MONTH), **options).units
        return unit

    def stored(self) -> dict[int, set[float]]:
        """By day of the month, the best bids."""
        rows = clickhouse.read(self.client, "SELECT date, bid_price[1] AS bid FROM order_book ORDER BY symbol, ts")
        found: dict[int, set[float]] = {}
        for date, bid in rows.iter_rows():
            found.setdefault(date.day, set()).add(bid)
        return found

    def entry(self) -> ledger.Load:
        [load] = ledger.entries(self.client, "order_book", [MONTH], [SYMBOL])
        return load


@pytest.fixture
def books(client: Client, tmp_path: Path) -> Books:
    return Books(client, tmp_path)


def test_books_land_as_they_came(books: Books) -> None:
    books.put("a.csv", 2, 3)
    unit = books.one()
    assert (unit.outcome, unit.rows, unit.provider, unit.changed, unit.note) == ("ok", 6, "files", True, "")
    found = clickhouse.read(books.client, "SELECT * FROM order_book ORDER BY ts")
    assert found.height == 6
    assert found.cast(tables.ORDER_BOOK.columns).row(0) == (
        SYMBOL,
        dt.date(2025, 6, 2),
        dt.datetime(2025, 6, 2, 1, 30, 0, 500_000, tzinfo=dt.UTC),
        "files",
        [9.4],
        [100.0],
        [9.41],
        [200.0],
        "a.csv",
    )
    assert (books.entry().rows, books.entry().slices) == (6, ["2025-06-02", "2025-06-03"])
    assert books.one().note == "unchanged"


@pytest.mark.slow
def test_books_that_would_be_lost_stay_unless_accepted(books: Books) -> None:
    books.put("a.csv", 2, 3, 4)
    books.one()
    os.utime(books.put("a.csv", 2, 4, price=9.5), (2_000_000_000,) * 2)
    unit = books.one()
    assert (unit.outcome, unit.rows) == ("ok", 9)
    assert books.stored() == {2: {9.5}, 3: {9.4}, 4: {9.5}}
    assert books.one(refetch=True, accept_empty=True).outcome == "ok"
    assert books.stored() == {2: {9.5}, 4: {9.5}}
    (books.folder / "a.csv").unlink()
    assert books.one(refetch=True).outcome == "failed"
    assert (books.one(refetch=True, accept_empty=True).outcome, books.stored()) == ("empty", {})


def test_symbols_are_isolated_and_refused_rows_are_kept(books: Books) -> None:
    bad = f"{OTHER},2025-06-02 09:31:00,nan,100,9.41,200\n"
    books.put("a.csv", 2, symbol=OTHER, extra=bad)
    books.put(
        "b.csv", 2, count=20, extra="".join(f"{SYMBOL},2025-06-02 10:00:{n:02d},9,1,10,1\n" for n in range(60)) * 2
    )
    books.put("c.csv", 3, count=20, extra="".join(f"{SYMBOL},2025-06-03 10:{n:02d}:00,9,1,10,1\n" for n in range(60)))
    many = "".join(f"{SYMBOL},2025-06-04 {hour}:{n:02d}:00,9,1,10,1\n" for hour in (13, 14) for n in range(60))
    books.put("d.csv", 4, count=20, extra=f"{SYMBOL},2025-06-04 10:00:00,9,,10,1\n{many}")
    report = books.load(Unit(SYMBOL, MONTH), Unit(OTHER, MONTH))
    assert [(unit.symbol, unit.outcome, unit.rows, unit.rejected) for unit in report.units] == [
        (OTHER, "failed", 0, 0),
        (SYMBOL, "ok", 300, 1),
    ]
    assert "First: line 5: a.csv: bid level 1: a number is not finite" in (report.failed[0].error or "")
    refused = [row for name in ("tick_files", "order_book") for row in ledger.quarantined(books.client, name, 10)]
    assert [(one.source, one.line, one.reason) for one in refused] == [
        ("order_book/a.csv", 5, "a.csv: bid level 1: a number is not finite"),
        (SYMBOL, 22, "d.csv: bid level 1: no size"),
    ]


def test_months_without_books_are_no_failure(books: Books, clients: Clients, tushare_server: TushareServer) -> None:
    unit = books.one()
    assert (unit.outcome, unit.error) == ("unsupported", None)
    books.providers = [clients.tushare(tushare_server)]
    unit = books.one()
    assert (unit.outcome, unit.note) == ("unsupported", "tushare unsupported: it has no order books of the past")
    assert books.entry().outcome == "unsupported"
    assert tushare_server.requests == 0
    books.providers = []
    assert "no provider of order books is in use" in books.one().note


@pytest.mark.slow
def test_books_stay_when_their_provider_is_not_in_use(books: Books) -> None:
    books.put("a.csv", 2)
    books.one()
    unit = books.one(providers=("tushare",))
    assert (unit.outcome, unit.rows, books.entry().outcome) == ("ok", 3, "ok")


@pytest.mark.slow
def test_rows_in_doubt_are_written_anew(books: Books) -> None:
    books.put("a.csv", 2)
    books.one()
    ledger.record_pending(books.client, [books.entry()], ledger.next_version(books.client))
    assert books.one().changed
    assert (books.entry().pending, books.entry().rows) == (False, 3)


@pytest.mark.slow
def test_many_rows_are_published_in_batches(books: Books) -> None:
    symbols = [f"{600000 + number}.SH" for number in range(5)]
    for symbol in symbols:
        books.put(f"{symbol}.csv", 2, symbol=symbol)
    report = books.load(*(Unit(symbol, MONTH) for symbol in symbols), limits=Limits(rows=4, held=8))
    assert [unit.rows for unit in report.units] == [3] * 5
    counted = clickhouse.read(
        books.client, "SELECT toString(symbol) AS s, count() AS n FROM order_book GROUP BY s ORDER BY s"
    )
    assert counted.rows() == [(symbol, 3) for symbol in symbols]
    assert {load.rows for load in ledger.entries(books.client, "order_book")} == {3}
