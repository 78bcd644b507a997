"""Dropped files of ticks: whatever happens to a folder, each has a state, and each instant its newest file's row."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from marketdata_assets.loading.file_ledger import FileEntry
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import file_ledger, forget
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.load import load
from marketdata_assets.ticks.load_run import LoadOptions
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, Table
from tests.deliveries import EVENTS, Rows, Step, assert_lawful, packed
from tests.dying import Load, server
from tests.examples import FEW
from tests.ticks.tick_clients import SYMBOL, files_config
from tests.ticks.tick_loads import NOW
from tests.ticks.tick_rows import weekdays

TIMES = [
    *("2025-05-29 09:31:00", "2025-05-29 09:32:00", "2025-05-30 14:57:00"),
    *("2025-06-03 09:31:00", "2025-06-03 09:32:00", "2025-06-04 15:00:00"),
]
UNITS = [Unit(SYMBOL, "2025-05"), Unit(SYMBOL, "2025-06")]
TABLES = {table.name: table for table in (TICK_DATA, ORDER_BOOK)}
FILLED = ("tick_data", "order_book", "tick_file_units", "marketdata_files", "marketdata_ledger_rows")
STEPS = ((HttpClient, "command"), (HttpClient, "raw_query"), (HttpClient, "raw_insert"))


def doomed(url: str, folder: str, table: str) -> None:
    """Load all that is there, as the command does."""
    options = LoadOptions(providers=("files",), patience=0.0)
    with clickhouse.connect(url) as client:
        files = Files(Path(folder), files_config())
        load(
            *(client, [files], UNITS),
            table=TABLES[table],
            options=options,
            run_id="test",
            now=NOW,
            trading_days=weekdays,
        )


@pytest.fixture(scope="module")
def dying() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def leaves(key: int, now: Rows) -> bool:
    """A file replaces the days that it has, whole; a day that it no longer has stays, for it may be archived."""
    return TIMES[key][:10] in {TIMES[other][:10] for other in now}


class Ticks:
    """A folder of bars or order books of one stock; a key is an instant, a value its price."""

    names: tuple[str, ...] = ("a.csv", "B.CSV", "later/c.csv.gz", "d.parquet", "[e]*.csv")
    rows_leave: bool | Callable[[int, Rows], bool]
    by_age = forgets = stays_forgotten = True
    old_rows_yield = is_staged = follows_deleted = False
    extra_rows = 0

    def __init__(self, client: Client, url: str, home: Path, kind: Table, dying: Load) -> None:
        self.client, self.url, self.home, self.kind, self.dying = client, url, home, kind, dying
        self.prefix = "order_book/" if kind is ORDER_BOOK else ""
        self.folder, self.rows_leave = home / self.prefix, leaves

    def content(self, name: str, rows: Mapping[int, int]) -> bytes:
        """The file of a slot, of the kind that its name says."""
        books = self.kind is ORDER_BOOK
        header = "symbol,ts,bid_price_1,bid_size_1\n" if books else "symbol,ts,open,high,low,close,volume\n"
        lines = [
            f"{SYMBOL},{TIMES[key]}{f',{value}' * (1 if books else 4)},100\n" for key, value in sorted(rows.items())
        ]
        text = (header + "".join(lines)).encode()
        if not name.endswith(".parquet"):
            return packed(name, text, "")
        buffer = io.BytesIO()
        pl.read_csv(text, infer_schema=False).write_parquet(buffer)
        return buffer.getvalue()

    def load(self) -> None:
        doomed(self.url, str(self.home), self.kind.name)

    def kill(self, steps: int) -> None:
        self.dying(self.url, str(self.home), self.kind.name, 2 * steps)

    def forget(self, name: str) -> None:
        files = Files(self.home, files_config())
        forget.forget(self.client, files, self.prefix + name, run_id="test", now=NOW, trading_days=weekdays)

    def entries(self) -> list[FileEntry]:
        def within(name: str) -> str:
            return name.removeprefix(self.prefix)

        return [
            replace(entry, file=within(entry.file), replaced={within(by): rows for by, rows in entry.replaced.items()})
            for entry in file_ledger.entries(self.client, Files(self.home, files_config()))
        ]

    def table(self) -> Rows:
        price = "bid_price[1]" if self.kind is ORDER_BOOK else "close"
        sql = f"SELECT toString(ts, 'Asia/Shanghai') AS at, {price} AS price FROM {self.kind.name} ORDER BY ts"
        return {TIMES.index(at[:19]): int(value) for at, value in clickhouse.read(self.client, sql).iter_rows()}


@pytest.mark.parametrize(
    "kind", [TICK_DATA, pytest.param(ORDER_BOOK, marks=pytest.mark.slow)], ids=lambda table: table.name
)
@settings(FEW, phases=[Phase.generate])
@given(steps=st.lists(EVENTS, min_size=2, max_size=8))
def test_every_file_has_a_state_and_every_row_one_fate(
    client: Client,
    clickhouse_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    dying: Load,
    kind: Table,
    steps: list[Step],
) -> None:
    for table in FILLED:
        client.command(f"TRUNCATE TABLE {table}")
    ticks = Ticks(client, clickhouse_url, tmp_path_factory.mktemp("ticks") / "delivered", kind, dying)
    ticks.folder.mkdir(parents=True)
    assert_lawful(ticks, steps)


@pytest.mark.slow
def test_rows_of_a_killed_load_keep_the_time_of_their_file_when_it_is_lost(
    client: Client, clickhouse_url: str, tmp_path: Path, dying: Load
) -> None:
    """The file has a newer row than the one that is delivered next, and no load has recorded that it is loaded."""
    for steps in range(12, 40):
        for table in FILLED:
            client.command(f"TRUNCATE TABLE {table}")
        ticks = Ticks(client, clickhouse_url, tmp_path / str(steps), TICK_DATA, dying)
        ticks.folder.mkdir()
        newer, older = ticks.folder / "a.csv", ticks.folder / "B.CSV"
        newer.write_bytes(ticks.content("a.csv", {5: 11, 4: 12}))
        os.utime(newer, (1_700_000_008,) * 2)
        ticks.kill(steps)
        if ticks.table():
            break
        ticks.load()  # which removes what the killed one has left
    assert {entry.state for entry in ticks.entries()} != {"loaded"}
    older.write_bytes(ticks.content("B.CSV", {5: 22}))
    os.utime(older, (1_700_000_000,) * 2)
    newer.write_bytes(b"<html>502 Bad Gateway</html>")
    ticks.load()
    assert ticks.table() == {5: 11, 4: 12}
