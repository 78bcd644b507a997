"""Coinbase's messages to records: trades and tickers over the socket, trades and candles over REST.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
"""

from operator import attrgetter

import msgspec
from msgspec import Raw

from marketdata_assets.exchanges.coinbase import wire
from marketdata_assets.exchanges.coinbase.wire import TAKER, VENUE, Pushed
from marketdata_assets.exchanges.decimals import decimal, decimal_or_none, quoted_size
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Outcome, Ticker
from marketdata_assets.exchanges.wire import NS, Find, number, rfc3339

INTERVALS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600, "1d": 86_400}
INTERVAL_OF = {seconds: interval for interval, seconds in INTERVALS.items()}

_trades = msgspec.json.Decoder(Pushed[wire.Trades], strict=False).decode
_tickers = msgspec.json.Decoder(Pushed[wire.Tickers]).decode
_past_trades = msgspec.json.Decoder(list[wire.PastTrade]).decode
_past_candles = msgspec.json.Decoder(list[tuple[int, Raw, Raw, Raw, Raw, Raw]]).decode


# {"channel":"market_trades","client_id":"","timestamp":"2026-01-31T08:00:00.2Z","sequence_num":5,"events":[
#   {"type":"update","trades":[{"trade_id":"995098700","product_id":"ABC-USD","price":"4.217","size":"0.00150000",
#   "side":"BUY","time":"2026-01-31T08:00:00.123456Z"}]}]}
# {"channel":"market_trades","client_id":"","timestamp":"2026-01-31T08:00:00.1Z","sequence_num":1,"events":[
#   {"type":"snapshot","trades":[{"trade_id":"995098699","product_id":"ABC-USD","price":"4.217","size":"0.0015",
#   "side":"SELL","time":"2026-01-31T08:00:00.123456Z"}]}]}
# https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/market-trades
# The snapshot at the begin of a subscription has trades of before it, which are left to the history.
def trades(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    made: list[Outcome] = []
    told = [each for event in _trades(raw).events if event.type == "update" for each in event.trades]
    for each in sorted(told, key=attrgetter("trade_id")):
        price, size, side = decimal("price", each.price), decimal("size", each.size), TAKER[each.side.lower()]
        ids = str(each.trade_id), price, size, None, side, None, None, each.trade_id
        made.append(find(each.product_id).trade(rfc3339(each.time), ts_recv, *ids))
    return made


# {"channel":"ticker","client_id":"","timestamp":"2026-01-31T08:00:00.123456Z","sequence_num":12,"events":[{"type":
#   "update","tickers":[{"type":"ticker","product_id":"ABC-USD","price":"4.217","volume_24_h":"15328.1",
#   "low_24_h":"4.1","high_24_h":"4.3","low_52_w":"2.5","high_52_w":"7.3","price_percent_chg_24_h":"1.85",
#   "best_bid":"4.216","best_bid_quantity":"1.5","best_ask":"4.218","best_ask_quantity":"0.5"}]}]}
# https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels, ticker channel
def tickers(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    message = _tickers(raw)
    return [
        Ticker(
            *find(each.product_id).key,
            rfc3339(message.timestamp),
            ts_recv,
            bid=decimal_or_none("best_bid", each.best_bid),
            bid_size=quoted_size("best_bid_quantity", each.best_bid_quantity, each.best_bid),
            ask=decimal_or_none("best_ask", each.best_ask),
            ask_size=quoted_size("best_ask_quantity", each.best_ask_quantity, each.best_ask),
            unit="base",
            last=decimal("price", each.price),
            high=decimal("high_24_h", each.high_24_h),
            low=decimal("low_24_h", each.low_24_h),
            volume=decimal("volume_24_h", each.volume_24_h),
            price_change=decimal("price_percent_chg_24_h", each.price_percent_chg_24_h),
        )
        for event in message.events
        for each in event.tickers
    ]


# [{"trade_id":995098700,"side":"buy","size":"0.00150000","price":"4.21700000","time":"2026-01-31T08:00:00.123456Z"}]
# https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-trades: newest first.
def past_trades(raw: bytes, ts_recv: int, instrument: Instrument) -> list[Outcome]:
    return [
        instrument.trade(
            rfc3339(each.time),
            ts_recv,
            str(each.trade_id),
            decimal("price", each.price),
            decimal("size", each.size),
            None,
            TAKER[each.side],
            sequence=each.trade_id,
        )
        for each in _past_trades(raw)
    ]


# [[1700000040,4.20,4.22,4.20,4.21,16255.46368000]]
# https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
# Newest first: begin in seconds, low, high, open, close, volume. None of a time without trades.
def past_candles(raw: bytes, ts_recv: int, instrument: Instrument, seconds: int) -> list[Outcome]:
    if seconds not in INTERVAL_OF:
        raise BadMessage(VENUE, f"candles of {seconds} seconds")
    made: list[Outcome] = []
    for begin, *numbers in _past_candles(raw):
        low, high, open_, close, volume = map(number, numbers)
        span = begin * NS, (begin + seconds) * NS
        about = None, ts_recv, INTERVAL_OF[seconds], span, (open_, high, low, close)
        made.append(instrument.candle(*about, (volume, None, None)))
    return made
