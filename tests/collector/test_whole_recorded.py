"""Recorded traffic through the whole path: the tables hold what a replay of the same captures makes of it."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from recorded_venue import RecordedBinance, RecordedDeribit, RecordedOkx
from whole import At, book, gaps, rows, trade_ids, whole

from marketdata_assets.exchanges.books import Book
from marketdata_assets.exchanges.records import Outcome, Ticker, Trade

SPOT = "binance-spot/capture/hft_btcusdt_20240808.txt.gz"
LINEAR = "binance-usdm/capture/2021-07-22_4sym_31s.ndjson"
OKX = "okx/capture/2022-05-13_books_3inst_12s.ndjson"
DERIBIT = "deribit/capture/2021-04-05_10options_119s.ndjson"
MOST = 8000
TYPES = ("trade", "orderbook", "ticker")


@pytest.mark.slow
def test_loaded_captures_equal_their_replay(
    fixtures: Path, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    with (
        RecordedBinance(fixtures / SPOT, "spot", MOST) as spot,
        RecordedBinance(fixtures / LINEAR, "linear") as linear,
        RecordedOkx(fixtures / OKX) as okx,
        RecordedDeribit(fixtures / DERIBIT) as deribit,
    ):
        ats = [
            At(spot, "binance", "spot", TYPES),
            At(linear, "binance", "linear", TYPES),
            At(okx, "okx", "spot", TYPES, only=["BTC-USDT"]),
            At(okx, "okx", "inverse", TYPES, only=["BTC-USD-220527", "UNI-USD-SWAP"]),
            At(deribit, "deribit", "option", TYPES, only=[*deribit.markets]),
        ]
        with whole(tmp_path, ats, more={"connections": {"snapshot_seconds": 30.0}}) as path:
            path.collector.subscribed()
            path.rate(3000.0)
            path.collector.until(lambda _: all(at.venue.over for at in ats))  # type: ignore[attr-defined]
            path.collector.subscribed()
            path.settle()
            report = path.collector.stop()
            path.drain(clickhouse_url)
    assert report["errors"] == {}
    assert gaps(clickhouse_client) == []
    of_spot = spot.replayed(("trade", "depth@100ms", "bookTicker"))
    of_linear = linear.replayed(("aggTrade", "depth@100ms", "bookTicker"))
    of_okx = okx.replayed()
    for at, (feed, made) in zip(ats, (of_spot, of_linear, of_okx, of_okx, deribit.replayed()), strict=True):
        for name in at.names:
            _check_tables(clickhouse_client, at, name, made, feed)
    update_ids = {one.update_id for _, made in (of_spot, of_linear) for one in made if isinstance(one, Ticker)}
    sql = "SELECT update_id FROM exchange_tickers FINAL WHERE exchange = 'binance'"
    assert {row[0] for row in rows(clickhouse_client, sql)} == update_ids


def _check_tables(client: Client, at: At, name: str, made: list[Outcome], feed: Any) -> None:
    """Whether the tables have the trades of a replay, and its book."""
    wanted = sorted(one.trade_id for one in made if isinstance(one, Trade) and one.instrument == name)
    assert sorted(trade_ids(client, at, name)) == wanted
    key = {"binance": name, "okx": f"books:{name}", "deribit": f"book.100ms:{name}"}[at.exchange]
    ours: Book = feed.books[key].book
    assert [*book(client, at, name)] == [{Decimal(p): Decimal(s) for p, s in side} for side in ours.levels()]
