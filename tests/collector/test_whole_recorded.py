"""Recorded traffic through the whole path: the tables hold what a replay of the same captures makes of it."""

from decimal import Decimal
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from recorded_venue import RecordedBinance, RecordedDeribit, RecordedOkx
from whole import At, book, gaps, rows, trade_ids, whole

from marketdata_assets.exchanges.books import Book
from marketdata_assets.exchanges.outcomes import Outcome
from marketdata_assets.exchanges.records import MarketType, Ticker, Trade

CAPTURES: list[tuple[MarketType, str, str]] = [
    ("spot", "binance-spot/capture/hft_btcusdt_20240808.txt.gz", "trade"),
    ("linear", "binance-usdm/capture/2021-07-22_4sym_31s.ndjson", "aggTrade"),
]
RATE, MOST = 8000.0, 8000


@pytest.mark.parametrize(("market_type", "capture", "kind"), CAPTURES)
def test_a_capture_stands_in_the_tables_as_a_replay_reads_it(
    market_type: MarketType,
    capture: str,
    kind: str,
    fixtures: Path,
    tmp_path: Path,
    clickhouse_url: str,
    clickhouse_client: Client,
) -> None:
    with RecordedBinance(fixtures / capture, market_type, MOST) as venue:
        feed, made = venue.replayed((kind, "depth@100ms", "bookTicker"))
        at = At(venue, "binance", market_type, ("trade", "orderbook", "ticker"))
        with whole(tmp_path, [at], more={"connections": {"snapshot_seconds": 30.0}}) as path:
            path.collector.subscribed()
            venue.rate = RATE
            path.collector.until(lambda _: venue.over)
            path.collector.subscribed()
            path.settle()
            report = path.collector.stop()
            path.drain(clickhouse_url)
    assert report["errors"] == {}
    assert gaps(clickhouse_client) == []
    for name in venue.markets:
        _stands(clickhouse_client, at, name, made, feed.books[name].book)
    updates = {one.update_id for one in made if isinstance(one, Ticker)}
    assert {row[0] for row in rows(clickhouse_client, "SELECT update_id FROM exchange_tickers FINAL")} == updates


def test_captures_of_okx_and_deribit_stand_there_as_well(
    fixtures: Path, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    types = ("trade", "orderbook", "ticker")
    with (
        RecordedOkx(fixtures / "okx/capture/2022-05-13_books_3inst_12s.ndjson") as okx,
        RecordedDeribit(fixtures / "deribit/capture/2021-04-05_10options_119s.ndjson") as deribit,
    ):
        ats = [
            At(okx, "okx", "spot", types, only=["BTC-USDT"]),
            At(okx, "okx", "inverse", types, only=["BTC-USD-220527", "UNI-USD-SWAP"]),
            At(deribit, "deribit", "option", types, only=[*deribit.markets]),
        ]
        with whole(tmp_path, ats) as path:
            path.collector.subscribed()
            path.rate(1000.0)
            path.collector.until(lambda _: okx.over and deribit.over)
            path.settle()
            report = path.collector.stop()
            path.drain(clickhouse_url)
    assert report["errors"] == {}
    assert gaps(clickhouse_client) == []
    feeds = okx.replayed(), deribit.replayed()
    for at, (feed, made) in zip(ats, (feeds[0], *feeds), strict=True):
        for name in at.names:
            key = f"books:{name}" if at.exchange == "okx" else f"book.100ms:{name}"
            _stands(clickhouse_client, at, name, made, feed.books[key].book)


def _stands(client: Client, at: At, name: str, made: list[Outcome], ours: Book) -> None:
    """Whether the tables have the trades of a replay, and its book."""
    wanted = sorted(one.trade_id for one in made if isinstance(one, Trade) and one.instrument == name)
    assert sorted(trade_ids(client, at, name)) == wanted
    assert [*book(client, at, name)] == [{Decimal(p): Decimal(s) for p, s in side} for side in ours.levels()]
