"""Changes of the venues in 2025 and 2026: entries of docs/reference/venue-changes.md that one message shows."""

import json
from typing import Any

import pytest

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import Control, MarketType, Ticker, Trade

BLOCK = {"e": "blockTrade", "E": 5, "s": "ABCUSDT", "t": 582, "p": "0.052", "q": "5838", "T": 4, "m": True}
OKX_BOOK = {"action": "snapshot", "data": [{"asks": [], "bids": [], "ts": "4", "seqId": 1, "prevSeqId": -1}]}
BYBIT_TICKER = {"symbol": "ABCUSDT", "lastPrice": "4.2", "singleOpenInterest": "2", "fundingCap": "1"}
REFERENCE = {"e": "referencePrice", "s": "ABCUSDT"}
RPI_DEPTH = {"e": "rpiDepthUpdate", "E": 5, "s": "ABCUSDT", "U": 1, "u": 2, "b": [], "a": []}

ENTRIES: dict[str, tuple[str, MarketType, dict[str, Any], type]] = {
    "Binance spot 2026-05-08 serverShutdown": (
        *("binance", "spot", {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 5}}, Control),
    ),
    "Binance spot 2026-05-12 blockTrade": ("binance", "spot", {"stream": "abcusdt@blockTrade", "data": BLOCK}, Control),
    "Binance spot 2026-03-09 referencePrice": (
        *("binance", "spot", {"stream": "abcusdt@referencePrice", "data": REFERENCE}, Control),
    ),
    "Binance USD-M 2025-11-25 rpiDepth": (*("binance", "linear", RPI_DEPTH, Control),),
    "Binance USD-M 2025-12 tradingSession": ("binance", "linear", {"e": "tradingSession", "E": 5}, Control),
    **{
        f"OKX {name}": ("okx", "spot", {"arg": {"channel": name, "instId": "ABC-USDT"}, **OKX_BOOK}, Control)
        for name in ("books-elp-all", "books-rpi-all")
    },
    "Bybit 2026-07-16 orderbook.full": (
        *("bybit", "spot", {"topic": "orderbook.full.ABCUSDT", "type": "snapshot", "ts": 5, "data": {}}, Control),
    ),
    "Bybit 2026-06-11 singleOpenInterest": (
        *("bybit", "linear", {"topic": "tickers.ABCUSDT", "type": "snapshot", "ts": 5, "data": BYBIT_TICKER}, Ticker),
    ),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_change_of_a_venue_makes_no_dead_letter(entry: str) -> None:
    exchange, market_type, message, kind = ENTRIES[entry]
    feed = venues.find(exchange).feed(market_type, strict=False)
    made = feed.push(json.dumps(message, separators=(",", ":")).encode(), 7)
    assert [type(one) for one in made] == [kind]


def test_a_long_message_of_trades_comes_in_parts_of_one_number() -> None:
    """Bybit, since 2025-08-05: at most 1024 trades a message, and `seq` is the same in all parts."""
    feed = venues.find("bybit").feed("linear", strict=False)
    row = {"T": 4, "s": "ABCUSDT", "S": "Buy", "v": "6", "p": "20", "BT": False, "seq": 7}
    made = []
    for part in range(2):
        data = [row | {"i": f"{part}-{number}"} for number in range(1024)]
        made += feed.push(json.dumps({"topic": "publicTrade.ABCUSDT", "ts": 5, "data": data}).encode(), 7)
    assert len({one.trade_id for one in made if isinstance(one, Trade)}) == 2048
    assert len({one.ts_recv for one in made if isinstance(one, Trade)}) == 2048, "their order is kept"
