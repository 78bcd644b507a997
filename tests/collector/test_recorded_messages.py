"""Recorded messages of the venues: the subscription of each is found by its first bytes, before it is decoded."""

import re
from itertools import islice
from pathlib import Path

import pytest

from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.records import Exchange, MarketType

BINANCE = re.compile(rb'"stream":"([^"]+)"')
OKX = re.compile(rb'\{"arg":\{"channel":"([^"]+)","instId":"([^"]+)"')
DERIBIT = re.compile(rb'"channel":"([^"]+)"')
MOST = 8000


@pytest.mark.parametrize(
    ("exchange", "market_type", "capture", "named"),
    [
        ("binance", "spot", "binance-spot/capture/hft_btcusdt_20240808.txt.gz", BINANCE),
        ("binance", "linear", "binance-usdm/capture/2021-07-22_4sym_31s.ndjson", BINANCE),
        ("okx", "linear", "okx/capture/2022-05-13_books_3inst_12s.ndjson", OKX),
        ("deribit", "option", "deribit/capture/2021-04-05_10options_119s.ndjson", DERIBIT),
    ],
)
def test_the_key_of_a_recorded_message_is_that_of_its_subscription(
    fixtures: Path, exchange: Exchange, market_type: MarketType, capture: str, named: re.Pattern[bytes]
) -> None:
    adapter, found = adapter_for(exchange, market_type), set[str]()
    for entry in islice(open_capture(fixtures / capture).entries(), MOST):
        if entry.kind == "in" and (match := named.search(entry.raw[:200])):
            assert entry.raw.startswith(adapter.data_prefix)
            key = adapter.key_of(adapter.channel_of(entry.raw))
            assert key == b":".join(match.groups()).decode()
            found.add(key)
    assert len(found) > 2
