"""Recorded payloads of Binance, and what a feed makes of one."""

import json
from pathlib import Path
from typing import Any

import msgspec

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.binance.instruments import ExchangeInfo, Listed, instruments
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import MarketType, Outcome

MARKETS: dict[str, MarketType] = {
    "binance-spot": "spot",
    "binance-usdm": "linear",
    "binance-coinm": "inverse",
    "binance-options": "option",
}
MS = 10**6
RECV = 77

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
}


def feed_for(market_type: MarketType, *names: tuple[str, str]) -> BinanceFeed:
    """A feed that knows what a contract is worth."""
    listed = [
        Listed(name, "USDT" if market_type == "option" else "USD", base, contractSize=100, unit=1)
        for name, base in names
    ]
    entries = [msgspec.Raw(msgspec.json.encode(one)) for one in listed]
    info = ExchangeInfo(entries, entries)
    found = Instruments("binance")
    if listed:
        found.add(instruments(market_type, info).instruments)
    return BinanceFeed(market_type, found, strict=False)


def outcomes(feed: BinanceFeed, fixtures: Path, path: str) -> list[Outcome]:
    raws = [(fixtures / path).read_bytes()]
    if path.endswith(".ndjson"):
        raws = [b"[" + line + b"]" for line in raws[0].splitlines()]
    if path not in ASKED:
        made = [one for raw in raws for one in feed.push(raw, RECV)]
        change = payload(fixtures, path)
        for name in feed.resync_requests if "U" in change else ():  # a change waits for the book that it follows
            book = {"lastUpdateId": change["U"] - ("pu" not in change), "bids": [], "asks": []}
            return feed.answer(f"https://api.example/v1/depth?symbol={name}", json.dumps(book).encode(), RECV)[1:]
        return made
    return [made for raw in raws for made in feed.answer(f"https://api.example/v1/{ASKED[path]}", raw, RECV)]


def payload(fixtures: Path, path: str) -> Any:
    """The innermost event of a file."""
    found = json.loads((fixtures / path).read_bytes())
    found = found.get("data", found) if isinstance(found, dict) else found
    return found[0] if isinstance(found, list) else found
