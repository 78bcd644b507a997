"""Records of exchanges as files of other tools: a replay of a file is the book, and what changed is written again."""

import datetime as dt
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from marketdata_assets import export, read
from marketdata_assets.cli import app
from marketdata_assets.errors import TerminalError
from marketdata_assets.exchanges.records import Gap, Level, OrderBook, Trade
from marketdata_assets.exchanges.tables import rows
from marketdata_assets.exchanges.tables.schema import GAPS, ORDERBOOKS, TRADES
from marketdata_assets.export import hftbacktest, nautilus
from marketdata_assets.export.exchange_rows import CannotExport, Day

MS = 1_000_000
SECOND = 1000 * MS
FIRST, LAST = dt.date(2026, 1, 5), dt.date(2026, 1, 6)
MIDNIGHT = int(dt.datetime(2026, 1, 6, tzinfo=dt.UTC).timestamp()) * SECOND
BEGIN = MIDNIGHT - 30 * SECOND
PLACE = ("binance", "linear", "ABC-USDT", "ABCUSDT")
ABOUT = {"exchange": "binance", "market_type": "linear", "instruments": ["ABCUSDT"]}

Levels = dict[Decimal, Decimal]


@dataclass
class Made:
    """What a market told, and its book at each moment after a change, by our clock; None: not known."""

    records: list[OrderBook | Trade | Gap] = field(default_factory=list)
    truth: list[tuple[int, tuple[Levels, Levels] | None]] = field(default_factory=list)
    trades: int = 0


def market(random: Random) -> Made:
    """A minute around midnight: changes each 100 ms, trades, a hole, and a snapshot that was requested for it."""
    made, number = Made(), 1000
    book: tuple[Levels, Levels] = ({}, {})
    for step in range(25):
        book[0][Decimal(100 - step)], book[1][Decimal(101 + step)] = Decimal("1.5"), Decimal("2.25")

    def whole() -> tuple[tuple[Level, ...], ...]:
        return tuple(
            tuple((str(price), str(size)) for price, size in sorted(side.items(), reverse=not index))
            for index, side in enumerate(book)
        )

    def now() -> tuple[Levels, Levels]:
        return dict(book[0]), dict(book[1])

    at = BEGIN
    made.records.append(OrderBook(*PLACE, at, at + 5 * MS, "snapshot", *whole(), "base", None, number))
    made.truth.append((at + 5 * MS, now()))
    for step in range(600):
        at += 100 * MS
        received = at + random.randrange(5, 60) * MS
        lost = 200 <= step < 210
        changed: tuple[Levels, Levels] = ({}, {})
        for _ in range(random.randrange(1, 4)):
            buying, size = random.random() < 0.5, Decimal(random.randrange(4)) / 4
            price = Decimal(100 if buying else 101) + (Decimal(random.randrange(100)) / 4) * (-1 if buying else 1)
            changed[not buying][price] = size
            book[not buying].pop(price, None)
            if size:
                book[not buying][price] = size
        before, number = number, number + random.randrange(1, 5)
        if not lost:
            sides = [tuple((str(price), str(size)) for price, size in side.items()) for side in changed]
            made.records.append(OrderBook(*PLACE, at, received, "delta", *sides, "base", before + 1, number, before))
        if step == 212:  # changes 210 to 212 waited for it
            made.records.append(OrderBook(*PLACE, at, received + 2 * MS, "snapshot", *whole(), "base", None, number))
            received += 2 * MS
        if step == 199:
            made.truth.append((received, None))
            made.records.append(Gap(*PLACE, "depth", number, number + 9, received, received + 1, "sequence"))
        elif not 200 <= step < 212:
            made.truth.append((received, now()))
        if random.random() < 0.3:
            made.trades += 1
            trade = Trade(*PLACE, at - 3 * MS, at + 2 * MS, str(step), "100.5", "0.125", None, "sell")
            made.records.append(trade)
    return made


@pytest.fixture(scope="module")
def loaded(made_tables: Client) -> tuple[Client, Made]:
    made = market(Random(7))
    shuffled = [*made.records, *made.records[:50]]
    Random(8).shuffle(shuffled)
    rows.insert_records(made_tables, shuffled)
    other = Trade("okx", "spot", "ABC-USDT", "ABC-USDT", BEGIN, BEGIN, "1", "1.000000000000000001", "1", None, "buy")
    rows.insert_records(made_tables, [other])
    return made_tables, made


def exported(folder: Path, client: Client, layout: Any, **options: Any) -> Any:
    return export.records(folder, FIRST, LAST, layout=layout, connection=client, **{**ABOUT, **options})


def check_books(made: Made, events: Iterator[tuple[int, str, int, Decimal, Decimal]]) -> None:
    """Apply events (time, action, side, price, size) and compare the book after each moment with the truth."""
    book: tuple[Levels, Levels] = ({}, {})
    states: dict[int, tuple[Levels, Levels] | None] = {}
    for at, action, side, price, size in events:
        if action == "clear":
            book = ({}, {})
        else:
            book[side].pop(price, None)
            if size:
                book[side][price] = size
        states[at] = (dict(book[0]), dict(book[1])) if book[0] else None
    moments = [(at, true) for at, true in made.truth if at in states]
    assert len(moments) > 550
    assert [at for at, true in moments if states[at] != true] == []


def test_the_depth_of_hftbacktest_replays_to_the_book(loaded: tuple[Client, Made], tmp_path: Path) -> None:
    client, made = loaded
    done = exported(tmp_path, client, "hftbacktest")
    assert (done.written, done.failed) == (2, {})
    files = [tmp_path / "binance" / "linear" / "ABCUSDT" / f"{day}.npz" for day in (FIRST, LAST)]
    data = [np.load(file)["data"] for file in files]
    assert all(one.dtype == hftbacktest.EVENT for one in data)
    assert sum(map(len, data)) == done.rows

    def events(one: Any) -> Iterator[tuple[int, str, int, Decimal, Decimal]]:
        for row in one[one["ev"] & hftbacktest.LOCAL > 0]:
            kind = int(row["ev"]) & 0xFF
            if kind != hftbacktest.TRADE:
                action = "clear" if kind == hftbacktest.CLEAR else "set"
                price, size = (Decimal(repr(float(row[name]))) for name in ("px", "qty"))
                yield int(row["local_ts"]), action, int(row["ev"] & hftbacktest.SELL > 0), price, size

    check_books(made, (event for one in data for event in events(one)))
    for one in data:
        for flag, name in ((hftbacktest.EXCH, "exch_ts"), (hftbacktest.LOCAL, "local_ts")):
            assert (np.diff(one[name][one["ev"] & flag > 0]) >= 0).all(), name
        both = one["ev"] & (hftbacktest.EXCH | hftbacktest.LOCAL)
        assert (both > 0).all()
        assert ((one["ev"] & hftbacktest.EXCH > 0).sum()) == ((one["ev"] & hftbacktest.LOCAL > 0).sum())
    trades = sum(((one["ev"] & 0xFF == hftbacktest.TRADE) & (one["ev"] & hftbacktest.LOCAL > 0)).sum() for one in data)
    assert trades == made.trades
    assert zipfile.ZipFile(files[0]).namelist() == ["data.npy"]
    assert data[1][0]["local_ts"] == MIDNIGHT, "a day begins with the whole book"


def test_hftbacktest_reads_the_files(loaded: tuple[Client, Made], tmp_path: Path) -> None:
    library = pytest.importorskip("hftbacktest", reason="needs hftbacktest: pip install hftbacktest")
    from hftbacktest.data import validate_event_order

    client, made = loaded
    exported(tmp_path, client, "hftbacktest")
    files = [str(tmp_path / "binance" / "linear" / "ABCUSDT" / f"{day}.npz") for day in (FIRST, LAST)]
    for file in files:
        validate_event_order(np.load(file)["data"])
    asset = (
        library.BacktestAsset().data(files).linear_asset(1.0).constant_order_latency(0, 0)
        .risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
        .tick_size(0.25).lot_size(0.25)
    )  # fmt: skip
    backtest = library.HashMapMarketDepthBacktest([asset])
    now = BEGIN
    for at, true in made.truth:
        if at > now:  # else two changes arrived together, or out of order
            assert backtest.elapse(at - now) == (at == made.truth[-1][0]), "1 is the end of the data"
            now = at
        found = backtest.depth(0).best_bid, backtest.depth(0).best_ask
        if true is None:
            assert np.isnan(found).all(), "no book during a gap"
        elif at == now:
            assert found == (float(max(true[0])), float(min(true[1]))), at
    backtest.close()


@pytest.mark.slow
def test_the_deltas_of_nautilus_replay_to_the_book(loaded: tuple[Client, Made], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    client, made = loaded
    done = exported(tmp_path, client, "nautilus")
    assert (done.written, done.failed) == (4, {})
    day = Day("binance", "linear", "ABCUSDT", "ABC-USDT", LAST)
    name = "2026-01-06T00-00-00-000000000Z_2026-01-06T23-59-59-999999999Z.parquet"
    assert nautilus.path_of("orderbook", day) == Path("data/order_book_delta/ABCUSDT-LINEAR.BINANCE") / name
    tables = [
        parquet.read_table(tmp_path / nautilus.path_of("orderbook", Day(*_fields(day, one)))) for one in (FIRST, LAST)
    ]
    schema = tables[0].schema
    assert schema.metadata == {
        b"instrument_id": b"ABCUSDT-LINEAR.BINANCE", b"price_precision": b"2", b"size_precision": b"2",
    }  # fmt: skip

    def events() -> Iterator[tuple[int, str, int, Decimal, Decimal]]:
        for row in (row for table in tables for row in table.to_pylist()):
            price, size = (Decimal(int.from_bytes(row[one], "little")).scaleb(-16) for one in ("price", "size"))
            assert (row["action"] == nautilus.CLEAR) == (row["side"] == 0)
            assert (row["action"] == nautilus.DELETE) == (size == 0 and row["side"] > 0)
            yield row["ts_init"], "clear" if row["side"] == 0 else "set", row["side"] - 1, price, size

    check_books(made, events())
    rows_of = [row for table in tables for row in table.to_pylist()]
    ends = [row["flags"] & nautilus.LAST > 0 for row in rows_of]
    moments = [(row["ts_init"], row["sequence"]) for row in rows_of]
    assert all(ends[i] or moments[i] == moments[i + 1] for i in range(len(ends) - 1))
    ticks = parquet.read_table(tmp_path / "data" / "trade_tick")
    assert ticks.num_rows == made.trades


def test_nautilus_reads_the_catalog(loaded: tuple[Client, Made], tmp_path: Path) -> None:
    catalogs = pytest.importorskip(
        "nautilus_trader.persistence.catalog", reason="needs nautilus_trader: pip install nautilus_trader"
    )
    from nautilus_trader.model.book import OrderBook as NautilusBook
    from nautilus_trader.model.enums import BookType
    from nautilus_trader.model.identifiers import InstrumentId

    client, made = loaded
    exported(tmp_path, client, "nautilus")
    catalog = catalogs.ParquetDataCatalog(str(tmp_path))
    ticks = catalog.trade_ticks()
    assert len(ticks) == made.trades
    assert (str(ticks[0].price), str(ticks[0].size)) == ("100.5", "0.125")
    book = NautilusBook(InstrumentId.from_str("ABCUSDT-LINEAR.BINANCE"), BookType.L2_MBP)
    truth, compared = dict(made.truth), 0
    deltas = catalog.order_book_deltas()
    for delta, following in zip(deltas, [*deltas[1:], None], strict=True):
        book.apply_delta(delta)
        if (following is None or following.ts_init != delta.ts_init) and delta.ts_init in truth:
            true = truth[delta.ts_init]
            sides = ({}, {}) if true is None else true
            found = [
                {level.price.as_decimal(): Decimal(str(level.size())) for level in side}
                for side in (book.bids(), book.asks())
            ]
            assert found == [*sides], delta
            compared += 1
    assert compared > 550


def test_plain_files_have_all_columns_and_only_changes_are_written(loaded: tuple[Client, Made], tmp_path: Path) -> None:
    client, made = loaded
    types: list[Any] = ["trade", "orderbook", "gap"]
    done = exported(tmp_path, client, "plain", types=types)
    assert (done.written, done.unchanged, done.failed) == (5, 0, {})
    found = pl.scan_parquet(tmp_path / "type=trade/**/*.parquet", hive_partitioning=True).collect()
    expected = read.trades("binance", "linear", "ABCUSDT", connection=client)
    assert found.select(expected.columns).sort("time", "trade_id").equals(expected.sort("time", "trade_id"))
    assert made.trades == found.height
    again = exported(tmp_path, client, "plain", types=types)
    assert (again.written, again.unchanged) == (0, 5)
    late = Trade(*PLACE, MIDNIGHT + SECOND, MIDNIGHT + SECOND, "late", "1", "1", None, "buy")
    rows.insert_records(client, [late])
    once_more = exported(tmp_path, client, "plain", types=types)
    assert (once_more.written, once_more.unchanged) == (1, 4)
    client.command(f"DELETE FROM {TRADES.name} WHERE trade_id = 'late'")
    gone = tmp_path / "type=trade" / "exchange=okx" / "market_type=spot" / "instrument=ABC-USDT" / f"{FIRST}.parquet"
    every = exported(tmp_path, client, "plain", types=["trade"], exchange=None, market_type=None, instruments=None)
    assert every.written == 2
    assert gone.exists()
    client.command(f"DELETE FROM {TRADES.name} WHERE exchange = 'okx'")
    every = exported(tmp_path, client, "plain", types=["trade"], exchange=None, market_type=None, instruments=None)
    assert (every.removed, gone.exists()) == (1, False)
    with pytest.raises(TerminalError, match="to another folder"):
        exported(tmp_path, client, "hftbacktest")


def test_prices_that_a_layout_cannot_hold_fail_alone(made_tables: Client, tmp_path: Path) -> None:
    for table in (TRADES, ORDERBOOKS, GAPS):
        made_tables.command(f"TRUNCATE TABLE {table.name}")
    place = ("okx", "spot", "ABC-USDT", "ABC-USDT")
    precise = Trade(*place, BEGIN, BEGIN, "1", "1.000000000000000001", "1", None, "buy")  # type: ignore[arg-type]
    usual = Trade(*PLACE, BEGIN, BEGIN, "1", "1.5", "1", None, "buy")  # type: ignore[arg-type]
    rows.insert_records(made_tables, [precise, usual])
    done = export.records(tmp_path, FIRST, LAST, layout="nautilus", types=["trade"], connection=made_tables)
    assert done.written == 1
    ((name, cause),) = done.failed.items()
    assert name.startswith("data/trade_tick/ABC-USDT.OKX/")
    assert cause == "ABC-USDT on 2026-01-05 has 18 digits after the point, the layout has 16. Use the layout plain."
    with pytest.raises(TerminalError, match="hftbacktest has no ticker; it has trade, orderbook"):
        export.records(tmp_path, FIRST, LAST, layout="hftbacktest", types=["ticker"], connection=made_tables)


@pytest.mark.parametrize("ahead", [False, True], ids=["second clock behind", "second clock ahead"])
def test_book_of_two_recorders_goes_on_from_either(made_tables: Client, tmp_path: Path, ahead: bool) -> None:
    """A snapshot of ten levels, as Kraken sends it, begins the updates of the second recorder."""
    made_tables.command(f"TRUNCATE TABLE {ORDERBOOKS.name}")
    place = ("kraken", "spot", "ABC-USD", "ABC/USD")
    sides = [tuple((str(price), "1") for price in prices) for prices in (range(100, 90, -1), range(101, 111))]

    def recorded(begin: int, late: int) -> list[OrderBook]:
        first = BEGIN + begin * SECOND
        made = [OrderBook(*place, first, first + late, "snapshot", *sides, "base", None, first)]
        for at in range(begin, 25):
            now, size = BEGIN + at * SECOND + 250 * MS, (("100", str(at)),)
            made.append(OrderBook(*place, now, now + late, "delta", size, (), "base", None, now, made[-1].last_id))
        return made

    found = [*recorded(0, 10 * MS), *recorded(10, (110 if ahead else -90) * MS)]
    rows.insert_records(made_tables, found)
    export.records(tmp_path, FIRST, FIRST, layout="hftbacktest", exchange="kraken", connection=made_tables)
    data = np.load(tmp_path / "kraken" / "spot" / "ABCUSD" / f"{FIRST}.npz")["data"]
    local = data[data["ev"] & hftbacktest.LOCAL > 0]
    best = local[(local["px"] == 100) & (local["ev"] & 0xFF != hftbacktest.CLEAR)]
    assert best["qty"][-1] == 24
    at = dt.datetime.fromtimestamp(BEGIN / SECOND + 24, dt.UTC)
    held = read.books("kraken", "spot", "ABC/USD", at, connection=made_tables)
    assert held["known"].item()
    assert float(held["bids"].item()[0]["size"]) == 23


@pytest.fixture
def trades_alone(loaded: tuple[Client, Made], clickhouse_server: str, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The database that commands read has these trades, each once."""
    client, made = loaded
    client.command(f"TRUNCATE TABLE {TRADES.name}")
    rows.insert_records(client, [one for one in made.records if isinstance(one, Trade)])
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", f"{clickhouse_server}/{client.database}")
    return made


def test_the_command_prints_what_it_wrote(trades_alone: Made, tmp_path: Path) -> None:
    command = ["export", "records", str(tmp_path), "--type", "trade", "--exchange", "binance", "--json"]
    run = CliRunner().invoke(app, [*command, "--first", "2026-01-05", "--last", "2026-01-06"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert (found["written"], found["rows"]) == (2, trades_alone.trades)
    wrong = CliRunner().invoke(app, [*command, "--first", "2026-01-06", "--last", "2026-01-05"])
    assert wrong.exit_code == 2
    assert "2026-01-05 is before 2026-01-06" in wrong.output


@pytest.mark.usefixtures("trades_alone")
def test_an_export_that_an_error_ends_reports_what_it_wrote_and_what_it_left(tmp_path: Path) -> None:
    command = ["export", "records", str(tmp_path), "--type", "trade", "--exchange", "binance"]
    command += ["--first", "2026-01-05", "--last", "2026-01-06"]
    occupied = tmp_path / "type=trade/exchange=binance/market_type=linear/instrument=ABCUSDT/2026-01-06.parquet"
    (occupied / "no file").mkdir(parents=True)
    run = CliRunner().invoke(app, [*command, "--json"])
    assert run.exit_code != 0
    found = json.loads(run.stdout)
    assert (found["success"], found["written"], found["left"]) == (False, 1, 1)
    run = CliRunner().invoke(app, command)
    assert "0 files written, 1 unchanged" in run.stdout
    assert "ended early with 1 files left: run it again for these" in run.stdout
    occupied.joinpath("no file").rmdir()
    occupied.rmdir()
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["success"], found["written"], found["unchanged"], found["left"]) == (True, 1, 1, 0)


def test_instruments_of_one_file_name_do_not_replace_each_other(made_tables: Client, tmp_path: Path) -> None:
    made_tables.command(f"TRUNCATE TABLE {TRADES.name}")
    for base, quote, price in (("AB", "CUSD", "1"), ("ABC", "USD", "2")):
        place = ("kraken", "spot", f"{base}-{quote}", f"{base}/{quote}")
        rows.insert_records(made_tables, [Trade(*place, BEGIN, BEGIN, "1", price, "1", None, "buy")])  # type: ignore[arg-type]
    for names, count in ((None, 1), (["ABC/USD"], 0)):
        options = {"layout": "hftbacktest", "types": ["trade"], "instruments": names, "connection": made_tables}
        done = export.records(tmp_path, FIRST, FIRST, **options)  # type: ignore[arg-type]
        assert done.written == count
        assert done.failed == {
            "kraken/spot/ABCUSD/2026-01-05.npz of ABC/USD": (
                "ABC/USD and AB/CUSD have this file name: export one to another folder"
            )
        }


def test_events_in_spans_are_ordered_as_at_once() -> None:
    random = np.random.default_rng(5)
    events = np.zeros(5000, hftbacktest.EVENT)
    events["local_ts"] = np.sort(random.integers(0, 5000 * SECOND, 5000))
    events["exch_ts"] = events["local_ts"] - random.integers(0, 30 * SECOND, 5000)
    day = Day("binance", "spot", "A", "A", FIRST)
    whole = np.concatenate([*hftbacktest.ordered([events], day)])
    parts = np.concatenate([*hftbacktest.ordered(np.array_split(events, 9), day)])
    for one in (whole, parts):
        for flag, name in ((hftbacktest.EXCH, "exch_ts"), (hftbacktest.LOCAL, "local_ts")):
            kept = one[one["ev"] & flag > 0]
            assert (np.diff(kept[name]) >= 0).all()
            assert len(kept) == len(events)
    late = events.copy()
    late["exch_ts"][-1] = 0
    with pytest.raises(CannotExport, match="A on 2026-01-05: an event was received more than 600 s after a later one"):
        list(hftbacktest.ordered(np.array_split(late, 9), day))


def _fields(day: Day, date: dt.date) -> tuple[Any, ...]:
    return day.exchange, day.market_type, day.instrument, day.symbol, date
