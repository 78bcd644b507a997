"""Days before the first start: from REST and from an archive, once, equal to what the streams give, or refused."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from msgspec.structs import replace

from marketdata_assets.exchanges.binance.archive import daily_file
from marketdata_assets.exchanges.binance.instruments import named
from marketdata_assets.exchanges.errors import HistoryRefused, UnknownExchange
from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.records import Kline, Trade
from marketdata_assets.exchanges.tables import checks
from marketdata_assets.exchanges.tables.history import HistoriesReport, HistoryRequest, load_history
from marketdata_assets.stores import clickhouse
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.deribit_messages import PERPETUAL
from marketdata_demo.venues.deribit_venue import DeribitServer
from marketdata_demo.venues.kraken_venue import KrakenServer
from marketdata_demo.venues.live_market import Happened
from marketdata_demo.venues.okx_venue import OkxServer
from tests.exchanges.archive_server import ArchiveServer
from tests.exchanges.history_pages import HASTY
from tests.exchanges.landed_market import land

DAY, NEXT = dt.date(2023, 11, 14), dt.date(2023, 11, 15)
NOON = 1_699_963_200_000  # ms, of DAY
MS = 1_000_000
NOW = dt.datetime(2023, 11, 20, 12, tzinfo=dt.UTC)
SPOT, LINEAR = named("spot", "ABCUSDT"), named("linear", "ABCUSDT")
assert SPOT
assert LINEAR


@pytest.fixture
def binance() -> Iterator[BinanceServer]:
    with BinanceServer() as server:
        server.trades = [Happened(NOON + number * 1000, number) for number in range(1, 31)]
        yield server


@pytest.fixture
def archive() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        yield server


def run(
    client: Client,
    folder: Path,
    server: Any,
    types: tuple[Any, ...],
    *,
    exchange: str = "binance",
    instruments: tuple[str, ...] = ("ABCUSDT",),
    market_type: Any = "linear",
    archive: ArchiveServer | None = None,
    days: tuple[dt.date, ...] = (DAY,),
    keep_days: int | None = None,
    now: dt.datetime = NOW,
    **options: Any,
) -> HistoriesReport:
    urls = {exchange: server.url}
    if archive:
        urls[f"{exchange}-archive"] = archive.url
    else:
        options.setdefault("origin", "rest")
    request = HistoryRequest(exchange, instruments, types, days, market_type, **options)
    return load_history(client, HistoryHosts(folder, urls, HASTY), request, keep_days=keep_days, now=lambda: now)


def rows(client: Client, table: str, columns: str) -> list[tuple[Any, ...]]:
    found = clickhouse.read(client, f"SELECT {columns} FROM {table} FINAL ORDER BY time, instrument, {columns}")
    return list(found.iter_rows())


def ends(report: HistoriesReport) -> dict[str, int]:
    return dict(Counter(unit.outcome for unit in report.units))


def trades_file(numbers: range, market_type: Any = "linear") -> tuple[str, list[str]]:
    """The archive's file of DAY with the trades that the server of REST has too."""
    file = daily_file(SPOT if market_type == "spot" else LINEAR, "trade", DAY)
    assert file
    if market_type == "spot":
        return file.path, [f"{n},1.5,2,3.0,{(NOON + n * 1000) * 1000},True,True" for n in numbers]
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    return file.path, [header, *(f"{n},1.5,2,{n},{n},{NOON + n * 1000},true" for n in numbers)]


def test_day_of_trades_and_candles_is_loaded_once(
    clickhouse_client: Client, binance: BinanceServer, tmp_path: Path
) -> None:
    report = run(clickhouse_client, tmp_path, binance, ("trade", "kline"), days=(DAY, NEXT))
    assert ends(report) == {"ok": 3, "empty": 1}
    assert (report.by_day[DAY]["rows"], report.by_day[NEXT]["rows"]) == (30 + 1440, 1440)
    assert len(rows(clickhouse_client, "exchange_trades", "trade_id")) == 30
    candles = rows(clickhouse_client, "exchange_klines", "open_time, closed")
    assert len(candles) == 2 * 1440
    assert {closed for _, closed in candles} == {True}
    binance.lines.clear()
    again = run(clickhouse_client, tmp_path, binance, ("trade", "kline"), days=(DAY, NEXT))
    assert ends(again) == {"unchanged": 4}
    assert all("exchangeInfo" in line for line in binance.lines)
    assert ends(run(clickhouse_client, tmp_path, binance, ("trade",), force=True)) == {"ok": 1}
    assert len(rows(clickhouse_client, "exchange_trades", "trade_id")) == 30


def test_what_is_missing_of_a_loaded_day_is_found(client: Client, binance: BinanceServer, tmp_path: Path) -> None:
    binance.paid = [NOON]
    assert not run(client, tmp_path, binance, ("trade", "kline", "funding_rate"), days=(DAY, NEXT)).failed
    both, newest = checks.Question(client, (DAY, NEXT)), checks.newest_history(client)
    assert newest.days == (NEXT,)
    stored, complete = checks.history_stored(both), checks.candles_complete(both)
    assert (stored.count, stored.checked, complete.count, complete.checked) == (0, 4, 0, 2)
    mutation = "ALTER TABLE exchange_klines DELETE WHERE time = (SELECT min(time) FROM exchange_klines)"
    client.command(mutation, settings={"mutations_sync": 2})
    expected = {"source": "binance linear ABCUSDT kline_1m", "day": str(DAY)}
    assert checks.history_stored(both).examples == ({**expected, "loaded": 1440, "stored": 1439},)
    assert checks.candles_complete(both).examples == ({**expected, "stored": 1439, "of": 1440},)
    assert checks.history_stored(newest).passed


def test_rows_that_the_streams_brought_are_there_once(client: Client, binance: BinanceServer, tmp_path: Path) -> None:
    about = ("binance", "linear", "ABC-USDT", "ABCUSDT")
    at = (NOON + 1000) * MS
    start = NOON * MS
    live = Trade(*about, at, at + 9, "1", "1.5", "2", None, "sell", "1", "1")  # type: ignore[arg-type]
    values = ("1", "3", "1", "2", "5", None, "10", 4, "2", "4", False)
    candle = Kline(*about, start + 5, start + 9, "1m", start, start + 60_000 * MS, *values)  # type: ignore[arg-type]
    land(client, [live, candle])
    run(client, tmp_path, binance, ("trade", "kline"))
    trades = rows(client, "exchange_trades", "trade_id, ts_recv")
    assert len(trades) == 30
    assert trades[0] == ("1", at + 9)  # what was received first stays
    candles = rows(client, "exchange_klines", "open_time, closed")
    assert (len(candles), dict(candles)[start]) == (1440, True)


def test_funding_and_open_interest_of_a_month_are_few_requests(
    client: Client, binance: BinanceServer, tmp_path: Path
) -> None:
    day = 86_400_000
    midnight = NOON - day // 2
    binance.paid = [midnight + number * day // 3 + number % 2 for number in range(6)]
    binance.kept = [midnight + number * day // 288 for number in range(2 * 288)]
    report = run(client, tmp_path, binance, ("funding_rate", "open_interest"), days=(DAY, NEXT))
    assert [unit.rows for unit in report.units] == [3, 3, 288, 288]
    assert len(rows(client, "exchange_funding_rates", "rate")) == 6
    assert len(rows(client, "exchange_open_interest", "size")) == 576
    assert sum("fundingRate" in line for line in binance.lines) == 1


@pytest.mark.parametrize("market_type", [pytest.param("spot", marks=pytest.mark.slow), "linear"])
def test_trades_of_the_archive_are_those_of_the_stream(
    client: Client, binance: BinanceServer, archive: ArchiveServer, tmp_path: Path, market_type: str
) -> None:
    path, lines = trades_file(range(1, 31), market_type)
    archive.put(path, lines)
    report = run(client, tmp_path, binance, ("trade",), days=(DAY, NEXT), market_type=market_type, archive=archive)
    assert [(unit.outcome, unit.origin, unit.rows) for unit in report.units] == [
        ("ok", "archive", 30),
        ("empty", "rest", 0),
    ]
    columns = "trade_id, time, price, size, side, first_id IS NOT NULL"
    found = rows(client, "exchange_trades", columns)
    client.command("TRUNCATE TABLE exchange_trades")
    run(client, tmp_path, binance, ("trade",), market_type=market_type, force=True)
    by_rest = rows(client, "exchange_trades", columns)
    if market_type == "linear":  # of spot the stream has single trades, and REST aggregates
        assert found == by_rest
    else:
        assert [row[:5] for row in found] == [row[:5] for row in by_rest]
        assert {row[5] for row in found} == {0}


def test_damaged_file_fails_its_day_and_no_other(
    client: Client, binance: BinanceServer, archive: ArchiveServer, tmp_path: Path
) -> None:
    path, lines = trades_file(range(1, 31))
    archive.put(path, lines)
    right = archive.files[path]
    archive.files[path] = right[:-1] + b"x"
    types = ("trade", "kline")
    report = run(client, tmp_path, binance, types, archive=archive)
    assert ends(report) == {"failed": 1, "ok": 1}
    assert "SHA-256" in str(report.failed[0].error)
    assert rows(client, "exchange_trades", "trade_id") == []
    archive.files[path] = right
    assert ends(run(client, tmp_path, binance, types, archive=archive)) == {"unchanged": 1, "ok": 1}
    assert len(rows(client, "exchange_trades", "trade_id")) == 30


def test_file_that_cannot_be_read_fails_its_day(
    client: Client, binance: BinanceServer, archive: ArchiveServer, tmp_path: Path
) -> None:
    path, lines = trades_file(range(1, 31))
    archive.put(path, [line.replace(",true", ",maybe") for line in lines])
    [unit] = run(client, tmp_path, binance, ("trade",), archive=archive).units
    assert (unit.outcome, unit.rejected) == ("failed", 30)
    assert "none of its 30 messages gave a row" in str(unit.error)
    archive.put(path, lines)
    assert ends(run(client, tmp_path, binance, ("trade",), archive=archive)) == {"ok": 1}


@pytest.mark.slow
def test_line_that_cannot_be_read_is_in_the_quarantine(
    client: Client, binance: BinanceServer, archive: ArchiveServer, tmp_path: Path
) -> None:
    path, lines = trades_file(range(1, 4))
    archive.put(path, [*lines, "4,?,2,4,4,1699963204000,true"])
    report = run(client, tmp_path, binance, ("trade",), archive=archive)
    assert [(unit.outcome, unit.rows, unit.rejected) for unit in report.units] == [("ok", 3, 1)]
    [(source, reason, raw)] = clickhouse.read(
        client, "SELECT source, reason, raw FROM exchange_rejects FINAL"
    ).iter_rows()
    assert source == "binance linear ABCUSDT trade"
    assert reason.startswith("line 5: ")
    assert raw.startswith("4,?,")


def test_day_that_neither_rest_nor_archive_keeps_is_named(
    client: Client, binance: BinanceServer, archive: ArchiveServer, tmp_path: Path
) -> None:
    later = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
    report = run(client, tmp_path, binance, ("open_interest",), archive=archive, now=later)
    [unit] = report.units
    assert (unit.outcome, unit.error) == (
        "unsupported",
        "Binance keeps open_interest for 30 days, and no public archive has 2023-11-14",
    )
    file = daily_file(LINEAR, "open_interest", DAY)  # type: ignore[arg-type]
    assert file
    archive.put(file.path, ["create_time,symbol,a,b", "2023-11-14 00:05:00,ABCUSDT,7,9.5"])
    assert ends(run(client, tmp_path, binance, ("open_interest",), archive=archive, now=later)) == {"ok": 1}


def test_venue_that_is_away_fails_the_day_and_the_next_run_loads_it(
    client: Client, binance: BinanceServer, tmp_path: Path
) -> None:
    binance.fail(500, 50, "aggTrades")
    report = run(client, tmp_path, binance, ("trade", "kline"))
    assert ends(report) == {"failed": 1, "ok": 1}
    assert "aggTrades" in str(report.failed[0].error)
    binance.no_more_faults()
    assert ends(run(client, tmp_path, binance, ("trade", "kline"))) == {"ok": 1, "unchanged": 1}


@pytest.mark.slow
def test_okx_and_deribit(client: Client, tmp_path: Path) -> None:
    with OkxServer() as okx:
        okx.trades = [Happened(NOON + number * 1000, number) for number in range(1, 11)]
        found = run(
            client,
            tmp_path,
            okx,
            ("trade", "kline"),
            exchange="okx",
            instruments=("ABC-USDT",),
            market_type="spot",
        )
        assert [unit.rows for unit in found.units] == [1440, 10]
    with DeribitServer() as deribit:
        deribit.trades = [Happened(NOON + number * 1000, number) for number in range(1, 11)]
        found = run(
            client,
            tmp_path,
            deribit,
            ("trade", "kline"),
            exchange="deribit",
            instruments=(PERPETUAL,),
            market_type=None,
        )
        assert [unit.rows for unit in found.units] == [1440, 10]
    assert len(rows(client, "exchange_trades", "trade_id")) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instruments": ("ABCUSD",)}, "lists no instrument 'ABCUSD' now; did you mean ABCUSDT"),
        ({"instruments": ()}, "name at least one"),
        ({"days": (NOW.date(),)}, "the last day with a complete history is 2023-11-19"),
        ({"keep_days": 3}, "MARKETDATA_EXCHANGE_KEEP_DAYS keeps 3 days"),
        ({"types": ("ticker",)}, "no history of ticker of linear markets"),
        ({"types": ("funding_rate",), "market_type": "spot"}, "no history of funding_rate of spot"),
        ({"types": ("kline",), "intervals": ("7m",)}, "no candles of 7m"),
        ({"types": ("funding_rate",), "origin": "archive"}, "no public archive of funding_rate .*--source rest"),
        ({"market_type": None, "origin": "rest"}, "choose one with --market-type"),
        ({"market_type": "future"}, "has no market future; it has spot"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_remedy(
    client: Client, binance: BinanceServer, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    asked: dict[str, Any] = {"types": ("trade",), **options}
    with pytest.raises(HistoryRefused, match=message):
        run(client, tmp_path, binance, asked.pop("types"), **asked)


def test_symbol_and_unknown_venue(client: Client, binance: BinanceServer, tmp_path: Path) -> None:
    assert ends(run(client, tmp_path, binance, ("trade",), instruments=("ABC-USDT",))) == {"ok": 1}
    request = HistoryRequest("binanec", ("ABCUSDT",), ("trade",), (DAY,))
    with pytest.raises(UnknownExchange):
        load_history(client, HistoryHosts(tmp_path), request)


def test_trades_that_are_stored_with_other_times_are_not_stored_twice(client: Client, tmp_path: Path) -> None:
    """Kraken's history has times that differ from those of its stream in the last digits."""
    about = ("kraken", "spot", "BTC-USD", "BTC/USD")
    live = [Trade(*about, (NOON + n * 1000) * MS + 700, 0, str(n), "4.2", "0.5", None, "buy") for n in (3, 4)]
    land(client, live)
    with KrakenServer() as server:
        server.trades = [Happened(NOON + number * 1000, number) for number in range(1, 7)]
        for _ in range(2):
            options: dict[str, Any] = {"exchange": "kraken", "instruments": ("BTC-USD",), "force": True}
            report = run(client, tmp_path, server, ("trade",), market_type="spot", **options)
            assert (ends(report), report.by_day[DAY]["rows"]) == ({"ok": 1}, 6)
    assert rows(client, "exchange_trades", "trade_id") == [(str(number),) for number in range(1, 7)]


def test_stream_that_is_loaded_after_its_history_adds_the_other_trades_alone(client: Client, tmp_path: Path) -> None:
    about = ("kraken", "spot", "BTC-USD", "BTC/USD")
    with KrakenServer() as server:
        server.trades = [Happened(NOON + number * 1000, number) for number in range(1, 7)]
        run(client, tmp_path, server, ("trade",), market_type="spot", exchange="kraken", instruments=("BTC-USD",))
    live = [Trade(*about, (NOON + n * 1000) * MS + 700, 0, str(n), "4.2", "0.5", None, "buy") for n in range(5, 9)]
    for _ in range(2):
        land(client, [*live, replace(live[0], market_type="linear")])
    expected = [("linear", "5"), *(("spot", str(number)) for number in range(1, 9))]
    assert sorted(rows(client, "exchange_trades", "market_type, trade_id")) == expected
