"""Invented messages of Deribit, as bytes, and a feed that knows the instruments in them."""

import json
from typing import Any

from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.deribit.instruments import parse_instruments
from marketdata_assets.exchanges.instruments import Instruments

RECV = 1_700_000_000_500_000_000
MS = 1_700_000_000_123
NS = MS * 1_000_000
PERPETUAL, OPTION, LINEAR, SPOT = "ABC-PERPETUAL", "ABC-25DEC26-100-C", "ABC_USDC-PERPETUAL", "ABC_USDC"
API = "https://www.deribit.com/api/v2/public"

INVERSE = {"quote_currency": "USD", "counter_currency": "USD", "instrument_type": "reversed", "contract_size": 10.0}
LISTED = [
    {"instrument_name": PERPETUAL, "kind": "future", "base_currency": "ABC", **INVERSE},
    {"instrument_name": "ABC-25DEC26", "kind": "future", "base_currency": "ABC", **INVERSE},
    {
        "instrument_name": OPTION,
        "kind": "option",
        "base_currency": "ABC",
        "quote_currency": "ABC",
        "counter_currency": "USD",
        "instrument_type": "reversed",
        "contract_size": 1.0,
    },
    {
        "instrument_name": LINEAR,
        "kind": "future",
        "base_currency": "ABC",
        "quote_currency": "USDC",
        "counter_currency": "USDC",
        "instrument_type": "linear",
        "contract_size": 0.1,
    },
    {
        "instrument_name": SPOT,
        "kind": "spot",
        "base_currency": "ABC",
        "quote_currency": "USDC",
        "counter_currency": "USDC",
        "instrument_type": "linear",
        "contract_size": 0.1,
    },
    {"instrument_name": "ABC-FS-25DEC26_PERP", "kind": "future_combo", "base_currency": "ABC", **INVERSE},
]


def _bytes(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def instruments() -> Instruments:
    known = Instruments("deribit")
    known.add(parse_instruments(result(LISTED)).instruments)
    return known


def feed(**options: Any) -> DeribitFeed:
    return DeribitFeed("inverse", instruments(), **options)


def result(value: Any, **more: Any) -> bytes:
    return _bytes({"jsonrpc": "2.0", "id": 1, "result": value, **more})


def notification(channel: str, data: Any) -> bytes:
    return _bytes({"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}})


def trade(**fields: Any) -> dict[str, Any]:
    usual = {
        "trade_seq": 7,
        "trade_id": "ABC-12",
        "timestamp": MS,
        "tick_direction": 0,
        "price": 100.5,
        "mark_price": 100.47,
        "instrument_name": PERPETUAL,
        "index_price": 100.4,
        "direction": "buy",
        "amount": 2000.0,
    }
    return usual | fields


def trades(*rows: dict[str, Any], instrument: str = PERPETUAL) -> bytes:
    return notification(f"trades.{instrument}.100ms", list(rows or [trade()]))


def book(
    change: int,
    before: int | None = None,
    bids: Any = (),
    asks: Any = (),
    *,
    instrument: str = PERPETUAL,
    interval: str = "raw",
    **fields: Any,
) -> bytes:
    data = {
        "type": "snapshot" if before is None else "change",
        "timestamp": MS,
        "instrument_name": instrument,
        "change_id": change,
        "bids": list(bids),
        "asks": list(asks),
    }
    if before is not None:
        data["prev_change_id"] = before
    return notification(f"book.{instrument}.{interval}", data | fields)


def grouped(change: int, bids: Any, asks: Any, instrument: str = PERPETUAL) -> bytes:
    data = {"timestamp": MS, "instrument_name": instrument, "change_id": change, "bids": bids, "asks": asks}
    return notification(f"book.{instrument}.none.20.100ms", data)


STATS = {"volume": 1.5, "volume_usd": 150.0, "volume_notional": 149.5, "price_change": -0.1, "low": 99.0, "high": 101.0}


def ticker_data(**fields: Any) -> dict[str, Any]:
    usual = {
        "timestamp": MS,
        "stats": STATS,
        "state": "open",
        "settlement_price": 100.2,
        "open_interest": 1000,
        "mark_price": 100.47,
        "last_price": 100.5,
        "instrument_name": PERPETUAL,
        "index_price": 100.4,
        "current_funding": -1.5e-6,
        "funding_8h": 6.5e-6,
        "best_bid_price": 100.0,
        "best_bid_amount": 50.0,
        "best_ask_price": 100.5,
        "best_ask_amount": 10.0,
    }
    return usual | fields


def ticker(**fields: Any) -> bytes:
    data = ticker_data(**fields)
    return notification(f"ticker.{data['instrument_name']}.100ms", data)


QUOTE = {
    "timestamp": MS,
    "instrument_name": PERPETUAL,
    "best_bid_price": 100.0,
    "best_bid_amount": 50.0,
    "best_ask_price": 100.5,
    "best_ask_amount": 10.0,
}
CANDLE = {"tick": MS, "open": 100.5, "high": 101.0, "low": 100.0, "close": 100.5, "volume": 0.5, "cost": 50.0}
CHART = {"status": "ok", "ticks": [MS, MS + 60_000]} | {
    name: [100.5, 101] for name in ("open", "high", "low", "close", "volume", "cost")
}
FUNDING = {"timestamp": MS, "index_price": 100.4, "prev_index_price": 100.1, "interest_8h": 1.2e-5, "interest_1h": 3e-6}
SUMMARY = {
    "instrument_name": PERPETUAL,
    "creation_timestamp": MS,
    "bid_price": 100.0,
    "ask_price": None,
    "last": 100.5,
    "high": 101.0,
    "low": 99.0,
    "mark_price": 100.47,
    "volume": 1.5,
    "volume_usd": 150.0,
    "open_interest": 1000,
    "current_funding": 0.0,
}

MESSAGES: dict[str, bytes] = {
    "trades": trades(trade(), trade(liquidation="MT", contracts=200.0, direction="sell")),
    "book snapshot": book(5, None, [["new", 100.0, 50.0]], [["new", 100.5, 10.0]]),
    "book change": book(6, 5, [["change", 100.0, 2000.0]], [["delete", 100.5, 0.0]]),
    "grouped book": grouped(7, [[100.0, 50.0]], [[100.5, 10.0]]),
    "ticker": ticker(),
    "quote": notification(f"quote.{PERPETUAL}", QUOTE),
    "candle": notification(f"chart.trades.{PERPETUAL}.1", CANDLE),
}
CONTROLS: dict[str, bytes] = {
    "ack": result([f"book.{PERPETUAL}.raw"], usIn=1, usOut=2, usDiff=1, testnet=False),
    "error": b'{"jsonrpc":"2.0","id":1,"error":{"code":10028,"message":"too_many_requests"}}',
    "heartbeat": b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}',
    "test_request": b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}',
    "pong": result({"version": "1.2.26"}),
    "index": notification("deribit_price_index.abc_usd", {"timestamp": MS, "price": 100.4, "index_name": "abc_usd"}),
}
ANSWERS: dict[str, bytes] = {
    f"{API}/get_order_book?instrument_name={PERPETUAL}": result(
        ticker_data(change_id=9, bids=[[100.0, 50.0]], asks=[[100.5, 10.0]])
    ),
    f"{API}/ticker?instrument_name={PERPETUAL}": result(ticker_data()),
    f"{API}/get_last_trades_by_instrument?instrument_name={PERPETUAL}": result(
        {"has_more": False, "trades": [trade()]}
    ),
    f"{API}/get_tradingview_chart_data?instrument_name={PERPETUAL}&resolution=1": result(CHART),
    f"{API}/get_funding_rate_history?instrument_name={PERPETUAL}": result([FUNDING]),
    f"{API}/get_book_summary_by_instrument?instrument_name={PERPETUAL}": result([SUMMARY]),
    f"{API}/get_instruments?currency=any": result(LISTED),
}
