"""Recorded payloads of venues, each a file, and what a feed makes of one."""

import json
from pathlib import Path
from typing import Any

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.records import MarketType, Outcome

MARKETS: dict[str, tuple[str, MarketType | None]] = {
    "binance-spot": ("binance", "spot"),
    "binance-usdm": ("binance", "linear"),
    "binance-coinm": ("binance", "inverse"),
    "binance-options": ("binance", "option"),
    "okx": ("okx", None),
    "deribit": ("deribit", None),
}
"""By folder."""

MS = 10**6
RECV = 1_800_000_000 * 10**9

ASKED = {  # what was asked for, of answers that do not say it
    "binance-spot/book_rest/cmp_l2_snapshot_spot_0.json": "depth?symbol=BTCUSDT",
    "binance-spot/book_rest/naut_http_spot_market_depth.json": "depth?symbol=BTCUSDT",
    "binance-spot/kline_rest/naut_http_spot_market_klines.json": "klines?symbol=BTCUSDT&interval=1m",
    "binance-spot/trade_rest/naut_http_spot_market_agg_trades.json": "aggTrades?symbol=BTCUSDT",
    "binance-usdm/book_rest/cmp_l2_snapshot_linear_future_2.json": "depth?symbol=BTCUSDT_220624",
    "binance-usdm/book_rest/cmp_l2_snapshot_linear_swap_4.json": "depth?symbol=BTCUSDT",
    "binance-usdm/error/http400_-1121.json": "klines?symbol=NOPE&interval=1m",
    "binance-usdm/error/http418_-1003_ban.json": "klines?symbol=BTCUSDT&interval=1m",
    "binance-usdm/funding_rest/live_fundingRate_2022_empty_markPrice.ndjson": "fundingRate",
    "binance-usdm/funding_rest/live_fundingRate_2026-10.json": "fundingRate",
    "binance-usdm/funding_rest/live_premiumIndex.json": "premiumIndex",
    "binance-usdm/funding_rest/naut_http_futures_market_funding_rate.json": "fundingRate",
    "binance-usdm/kline_rest/naut_http_futures_market_klines.json": "klines?symbol=BTCUSDT&interval=1w",
    "binance-usdm/open_interest/live_openInterestHist.json": "openInterestHist",
    "binance-usdm/open_interest/naut_http_futures_market_open_interest.json": "openInterest",
    "binance-usdm/open_interest/naut_http_futures_market_open_interest_historical.json": "openInterestHist",
    "binance-usdm/trade_rest/naut_http_futures_market_agg_trades.json": "aggTrades?symbol=BTCUSDT",
    "binance-coinm/open_interest/cmp_open_interest_inverse_future_0.json": "openInterest",
    "binance-coinm/open_interest/cmp_open_interest_inverse_swap_2.json": "openInterest",
    "okx/book_rest/cmp_l2_snapshot_linear_future_2.json": "market/books?instId=BTC-USDT-220624",
    "okx/book_rest/cmp_l2_snapshot_linear_swap_4.json": "market/books?instId=BTC-USDT-SWAP&sz=3",
    "okx/book_rest/cmp_l2_snapshot_spot_0.json": "market/books?instId=BTC-USDT",
    "okx/book_rest/naut_http_get_order_book.json": "market/books?instId=BTC-USDT",
    "okx/error/http_50011.json": "market/trades?instId=BTC-USDT",
    "okx/funding/naut_http_get_mark_price.json": "public/mark-price?instType=SWAP",
    "okx/funding_rest/naut_http_get_funding_rate_history.json": "public/funding-rate-history?instId=BTC-USDT-SWAP",
    "okx/instruments/naut_http_get_instruments_option.json": "public/instruments?instType=OPTION",
    "okx/instruments/naut_http_get_instruments_swap.json": "public/instruments?instType=SWAP",
    "okx/kline_rest/naut_http_get_candlesticks.json": "market/candles?instId=BTC-USDT&bar=1m",
    "okx/open_interest/cmp_open_interest_inverse_future_0.json": "public/open-interest?instType=FUTURES",
    "okx/open_interest/cmp_open_interest_linear_future_2.json": "public/open-interest?instType=FUTURES",
    "okx/open_interest/cmp_open_interest_linear_swap_4.json": "public/open-interest?instType=SWAP",
    "okx/trade_rest/naut_http_get_trades.json": "market/trades?instId=BTC-USDT",
    "deribit/book_rest/cmp_l2_snapshot_inverse_future_0.json": "get_order_book",
    "deribit/book_rest/cmp_l2_snapshot_option_2.json": "get_order_book",
    "deribit/book_rest/naut_http_get_order_book.json": "get_order_book",
    "deribit/instruments/naut_http_get_instruments.json": "get_instruments",
    "deribit/kline_rest/naut_http_get_tradingview_chart_data.json": (
        "get_tradingview_chart_data?instrument_name=BTC-PERPETUAL&resolution=1"
    ),
    "deribit/open_interest/cmp_open_interest_inverse_future_0.json": "get_book_summary_by_instrument",
    "deribit/open_interest/cmp_open_interest_inverse_swap_2.json": "get_book_summary_by_instrument",
    "deribit/trade_rest/naut_http_get_last_trades.json": "get_last_trades_by_instrument",
}
API = {"okx": "https://www.okx.com/api/v5/", "deribit": "https://www.deribit.com/api/v2/public/"}


def feed_of(path: str) -> Feed:
    exchange, market_type = MARKETS[path.partition("/")[0]]
    return venues.find(exchange).feed(market_type, strict=False)


def outcomes(fixtures: Path, path: str, feed: Feed | None = None) -> list[Outcome]:
    """What a payload becomes, a change of a book after the book that it changes."""
    feed, raw = feed or feed_of(path), (fixtures / path).read_bytes()
    if path in ASKED:
        url = API.get(path.partition("/")[0], "https://api.example/v1/") + ASKED[path]
        raws = [b"[" + line + b"]" for line in raw.splitlines()] if path.endswith(".ndjson") else [raw]
        return [one for each in raws for one in feed.answer(url, each, RECV)]
    raws = raw.splitlines() if path.endswith((".ndjson", ".txt")) else [raw]
    if b'"prev_change_id"' in raws[0]:
        feed.push(_book_before(raws[0]), RECV)
    made = [one for each in raws for one in feed.push(each, RECV)]
    if feed.resync_requests and b'"depthUpdate"' in raw:
        change = payload(fixtures, path)
        book = {"lastUpdateId": change["U"] - ("pu" not in change), "bids": [], "asks": []}
        return feed.answer(f"https://api.example/v1/depth?symbol={change['s']}", json.dumps(book).encode(), RECV)[1:]
    return made


def _book_before(raw: bytes) -> bytes:
    """Deribit's book before a change: what it changes or deletes."""
    message = json.loads(raw)
    data = message["params"]["data"]
    for side in ("bids", "asks"):
        data[side] = [["new", price, 1.0] for what, price, _ in data[side] if what != "new"]
    data |= {"change_id": data.pop("prev_change_id"), "type": "snapshot"}
    return json.dumps(message).encode()


def payload(fixtures: Path, path: str) -> Any:
    """The innermost event of a file."""
    found = json.loads((fixtures / path).read_bytes())
    found = found.get("data", found) if isinstance(found, dict) else found
    return found[0] if isinstance(found, list) else found
