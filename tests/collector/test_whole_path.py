"""From each venue over the collector, JetStream and the drain into the tables: what happened is what is there."""

import datetime as dt
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from bench.collector_rates import soak
from marketdata_assets.exchanges.tables import ohlcv
from marketdata_assets.stores import clickhouse_ledger
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.live_market import Candle, Market
from marketdata_demo.venues.okx_venue import OkxVenue
from tests.collector.whole import (
    DERIVATIVES,
    TYPES,
    At,
    bybit,
    gaps,
    hyperliquid,
    is_the_venues,
    once_or_in_a_gap,
    rows,
    spot_venues,
    whole,
)

START = 1_700_000_000_000  # 2023-11-14 22:13:20
SPEED = 60.0  # a minute a second
SECONDS = 3.0


def three_venues(opened: ExitStack, **clock: Any) -> list[At]:
    binance = opened.enter_context(BinanceVenue("spot", ["ABCUSDT", "XYZUSDT"], seed=1, **clock))
    futures = opened.enter_context(BinanceVenue("linear", ["ABCUSDT"], seed=2, **clock))
    okx = opened.enter_context(OkxVenue(["ABC-USDT", "ABC-USDT-SWAP"], seed=3, **clock))
    deribit = opened.enter_context(DeribitVenue(["ABC-PERPETUAL", "ABC_USDC-PERPETUAL"], seed=4, **clock))
    return [
        At(binance, "binance", "spot"),
        At(futures, "binance", "linear", DERIVATIVES, lambda number: str(number - 500)),
        At(okx, "okx", "spot", TYPES),
        At(okx, "okx", "linear", DERIVATIVES),
        At(deribit, "deribit", "inverse", DERIVATIVES, lambda number: f"ABC-{number}"),
        At(deribit, "deribit", "linear", DERIVATIVES, lambda number: f"ABC-{number}"),
    ]


def others(opened: ExitStack, **clock: Any) -> list[At]:
    return [*hyperliquid(opened, **clock), *spot_venues(opened, **clock)]


@pytest.mark.parametrize(
    "markets", [three_venues, *(pytest.param(one, marks=pytest.mark.slow) for one in (bybit, others))]
)
def test_the_tables_and_bars_equal_the_events(
    tmp_path: Path, clickhouse_url: str, clickhouse_client: Client, markets: Callable[..., list[At]]
) -> None:
    with ExitStack() as opened:
        ats = markets(opened, speed=SPEED, start_ms=START)
        with whole(tmp_path, ats) as path:
            path.begin(60.0)
            path.go_on(SECONDS)
            path.settle()
            path.go_on(2.0)  # minutes that are not over yet end
            path.settle()
            report = path.collector.stop()
            drained = path.drain(clickhouse_url)
        assert not [at.venue.violations for at in ats if at.venue.violations]
        assert report["errors"] == {}
        assert drained.rejected == drained.left == 0
        _are_counted(clickhouse_client, report, {kind for at in ats for kind in at.data_types})
        assert gaps(clickhouse_client) == []
        for at in ats:
            assert not any(once_or_in_a_gap(clickhouse_client, at).values())
            assert all(is_the_venues(clickhouse_client, at, name) for name in at.names)
        _bars_are_the_venues(clickhouse_client, ats)


def _are_counted(client: Client, report: dict[str, Any], kinds: set[str]) -> None:
    """Of what is not sent twice, every record of the collector is a row."""
    for kind in kinds & {"trade", "liquidation"}:
        [(stored,)] = rows(client, f"SELECT count() FROM exchange_{kind}s FINAL")
        assert stored == report["records"][kind] > 0
    for table in ("klines", "tickers", "funding_rates", "open_interest"):
        assert rows(client, f"SELECT count() FROM exchange_{table} FINAL") > [(0,)]


def _bars_are_the_venues(client: Client, ats: list[At]) -> None:
    day = dt.datetime.fromtimestamp(START / 1000, dt.UTC).date()
    clickhouse_ledger.ensure(client)
    ohlcv.compute(client, day, run_id="test", now=dt.datetime.now(dt.UTC))
    sql = (
        "SELECT exchange, market_type, instrument, toUnixTimestamp(time) * 1000, open, high, low, close, trades"
        " FROM exchange_ohlcv_1m"
    )
    stored = {row[:4]: row[4:] for row in rows(client, sql)}
    wanted = {
        (at.exchange, at.market_type, name, candle.start): _candle_row(at.venue.markets[name], candle)
        for at in ats
        for name in at.names
        for candle in at.venue.source().candles[name]
    }
    assert len(wanted) >= len(ats) * SECONDS
    assert stored == wanted


def _candle_row(market: Market, candle: Candle) -> tuple[Any, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    return (*(Decimal(market.price(one)) for one in prices), candle.trades)


@pytest.mark.slow
def test_every_message_of_a_fast_venue_is_stored_once(tmp_path: Path) -> None:
    """The bench of rates in short, with two collectors: what it counts is what was sent."""
    rate = 1500.0
    one = soak(tmp_path, rate, seconds=2.0, warm=0.5, symbols=3, processes=2)
    assert one.violations == []
    assert one.trades_sent > rate / 14 * 3
    assert one.stored["trade"] == one.trades_sent
    assert one.stored["ticker"] == one.messages_sent * 10 // 14
    assert one.tables == {"rows": one.trades_sent, "in bars": one.trades_sent}
    assert set(one.stored) == {"trade", "ticker", "orderbook"}
    assert [report["errors"] for report in one.reports] == [{}, {}]
    assert sum(report["messages"] for report in one.reports) >= one.messages_sent
    assert one.rate > 0
    assert one.lag_ms(0.5) <= one.lag_ms(0.99) < float("inf")
