"""Books of recorded traffic: at any instant, what the feed held when it had taken the last message up to then."""

from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import read
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.records import Exchange, Gap, MarketType, OrderBook
from marketdata_assets.exchanges.replay import feed_of, outcomes
from marketdata_assets.exchanges.tables import rows
from marketdata_assets.exchanges.tables.schema import GAPS, ORDERBOOKS
from tests.examples import others_slow

CAPTURES: list[tuple[str, Exchange, MarketType | None]] = [
    ("binance-spot/capture/hft_btcusdt_20240808.txt.gz", "binance", "spot"),
    ("binance-usdm/capture/2021-07-22_4sym_31s.ndjson", "binance", "linear"),
    ("okx/capture/2022-05-13_books_3inst_12s.ndjson", "okx", None),
    ("deribit/capture/2021-04-05_10options_119s.ndjson", "deribit", None),
]
MOST = 6_000
INSTANTS = 25
DEPTH = 15

Levels = list[tuple[Decimal, Decimal]]
Seen = tuple[int, tuple[Levels, Levels]]
"""When, in ns of the venue's clock, and the best levels from then on."""


@pytest.fixture
def client(made_tables: Client) -> Client:
    for table in (ORDERBOOKS, GAPS):
        made_tables.command(f"TRUNCATE TABLE {table.name}")
    return made_tables


def levels(side: Any) -> Levels:
    return [(Decimal(price), Decimal(size)) for price, size in side]


@pytest.mark.parametrize(
    ("name", "exchange", "market_type"), others_slow(CAPTURES), ids=[one[0].split("/")[0] for one in CAPTURES]
)
def test_books_of_a_recording_are_those_of_its_feed(
    client: Client, fixtures: Path, name: str, exchange: Exchange, market_type: MarketType | None
) -> None:
    feed = feed_of(exchange, market_type, name)
    told: list[OrderBook | Gap] = []
    seen: dict[tuple[MarketType, str], list[Seen]] = {}
    entries = islice(open_capture(fixtures / name).entries(), MOST)
    for one in (one for entry in entries for one in outcomes(feed, entry)):
        if isinstance(one, OrderBook | Gap):
            told.append(one)
        if isinstance(one, OrderBook) and one.ts_event is not None:  # Binance's snapshots on spot tell no time
            [state] = [state for state in feed.books.values() if state.instrument.name == one.instrument]
            bids, asks = map(levels, state.book.top(DEPTH))
            seen.setdefault((one.market_type, one.instrument), []).append((one.ts_event, (bids, asks)))
    rows.insert_records(client, told)
    compared = 0
    for (market, instrument), states in seen.items():
        compared += _compared(client, exchange, market, instrument, states)
    assert compared >= INSTANTS


def _compared(client: Client, exchange: Exchange, market: MarketType, instrument: str, states: list[Seen]) -> int:
    """How many instants were known, each with the book that the feed had."""
    newest: dict[int, tuple[Levels, Levels]] = dict(states)  # the last state of each moment
    moments = sorted(newest)[:: max(1, len(newest) // INSTANTS)]
    compared = 0
    books = read.books(exchange, market, instrument, moments, depth=DEPTH, connection=client)
    for moment, book in zip(moments, books.to_dicts(), strict=True):
        if book["known"]:
            found = tuple([(one["price"], one["size"]) for one in book[side]] for side in ("bids", "asks"))
            assert found == newest[moment], (instrument, moment)
            compared += 1
    return compared
