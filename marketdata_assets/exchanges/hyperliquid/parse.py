"""Hyperliquid's messages to records: trades, best prices, candles, states of a market, funding rates, open interest.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint
Forced orders are sent only to the accounts concerned: there is no public stream of them.
"""

from typing import TypeVar

import msgspec

from marketdata_assets.exchanges.decimals import decimal, decimal_or_none
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.hyperliquid import wire
from marketdata_assets.exchanges.hyperliquid.wire import VENUE, OfCoin, Pushed
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import FundingRate, Kline, OpenInterest, Outcome, Side, Ticker, Trade
from marketdata_assets.exchanges.wire import MS, Find

T = TypeVar("T")

SIDES: dict[str, Side] = {"A": "sell", "B": "buy"}
FUNDING_HOURS = 1
"""Funding is paid every hour: https://hyperliquid.gitbook.io/hyperliquid-docs/trading/funding"""

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M")

_trades = msgspec.json.Decoder(Pushed[list[wire.Trade]]).decode
_recent_trades = msgspec.json.Decoder(list[wire.Trade]).decode
_best = msgspec.json.Decoder(Pushed[wire.Best]).decode
_candles = msgspec.json.Decoder(Pushed[wire.Candle | list[wire.Candle]]).decode
_past_candles = msgspec.json.Decoder(list[wire.Candle]).decode
_perp = msgspec.json.Decoder(Pushed[OfCoin[wire.PerpContext]]).decode
_spot = msgspec.json.Decoder(Pushed[OfCoin[wire.SpotContext]]).decode
_paid = msgspec.json.Decoder(list[wire.Paid]).decode


# {"channel":"trades","data":[{"coin":"ABC","side":"B","px":"4.2","sz":"0.15","time":1700000000123,"hash":"0x0",
#   "tid":1095884267920331,"users":["0x1","0x2"]}]}
# The first message of a subscription has trades of before it. `tid` is unique together with coin and time, and says
# nothing of the order of trades in a block: those of a message are kept a nanosecond apart, in its order.
def trades(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    return [_trade(each, find(each.coin), ts_recv + place) for place, each in enumerate(_trades(raw).data)]


# [{"coin":"ABC","side":"A","px":"4.2","sz":"0.15","time":1700000000123,"hash":"0x0","tid":1095884267920331}]
# The last ten at most, newest first; {"type":"recentTrades","coin":"ABC"}.
def recent_trades(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    message = _recent_trades(raw)
    return [_trade(each, find(each.coin), ts_recv + len(message) - place) for place, each in enumerate(message)]


def _trade(each: wire.Trade, instrument: Instrument, ts_recv: int) -> Trade:
    price, size = decimal("px", each.px), decimal("sz", each.sz)
    return Trade(*instrument.key, each.time * MS, ts_recv, str(each.tid), price, size, None, SIDES[each.side])


# {"channel":"bbo","data":{"coin":"ABC","time":1700000000123,"bbo":[{"px":"4.2","sz":"0.5","n":2},null]}}
def best_prices(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    best = _best(raw).data
    (bid, bid_size), (ask, ask_size) = map(_level, best.bbo)
    key = find(best.coin).key
    return [Ticker(*key, best.time * MS, ts_recv, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size, unit="base")]


def _level(level: wire.Level | None) -> tuple[str, str] | tuple[None, None]:
    return (decimal("px", level.px), decimal("sz", level.sz)) if level else (None, None)


# {"channel":"candle","data":{"t":1700000040000,"T":1700000099999,"s":"ABC","i":"1m","o":"4.1","c":"4.2","h":"4.3",
#   "l":"4.1","v":"20.5","n":61}}
# A candle is sent while it is made, and whether it is closed is not said. The documentation has a list of them.
def candles(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    message = _candles(raw).data
    return [_candle(each, find(each.coin), ts_recv) for each in (message if isinstance(message, list) else [message])]


# [{"t":1700000040000,"T":1700000099999,"s":"ABC","i":"1m","o":"4.1","c":"4.2","h":"4.3","l":"4.1","v":"20.5","n":61}]
# {"type":"candleSnapshot","req":{"coin":"ABC","interval":"1m","startTime":1700000000000,"endTime":1700000100000}}
def past_candles(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    return [_candle(each, find(each.coin), ts_recv) for each in _past_candles(raw)]


def _candle(each: wire.Candle, instrument: Instrument, ts_recv: int) -> Kline:
    if each.interval not in INTERVALS or each.end < each.start:
        raise BadMessage(VENUE, f"a candle of {each.interval[:40]!r} from {each.start} to {each.end}")
    span = each.start * MS, (each.end + 1) * MS
    prices = decimal("o", each.open), decimal("h", each.high), decimal("l", each.low), decimal("c", each.close)
    volumes = decimal("v", each.volume), None, None
    return instrument.candle(None, ts_recv, each.interval, span, prices, volumes, trades=each.trades)


# {"channel":"activeAssetCtx","data":{"coin":"ABC","ctx":{"funding":"0.0000125","openInterest":"63.9","prevDayPx":"4.1",
#   "dayNtlVlm":"81.3","premium":null,"oraclePx":"4.21","markPx":"4.2","midPx":null,"impactPxs":null,
#   "dayBaseVlm":"19.8"}}}
# The index price is the oracle's, the open price that of 24 hours ago; the rate is of the hour in progress.
def perp_state(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    message = _perp(raw).data
    key, ctx = find(message.coin).key, message.ctx
    mark, index = decimal("markPx", ctx.mark_px), decimal("oraclePx", ctx.oracle_px)
    premium = decimal_or_none("premium", ctx.premium)
    rate, interest = decimal("funding", ctx.funding), decimal("openInterest", ctx.open_interest)
    return [
        _ticker(ctx, find(message.coin), ts_recv, index),
        FundingRate(*key, None, ts_recv, rate, None, None, FUNDING_HOURS, mark, index, premium),
        OpenInterest(*key, None, ts_recv, contracts=None, size=interest, value=None),
    ]


# {"channel":"activeSpotAssetCtx","data":{"coin":"@107","ctx":{"prevDayPx":"4.1","dayNtlVlm":"81.3","markPx":"4.2",
#   "midPx":"4.2","circulatingSupply":"298.4","coin":"@107","totalSupply":"998.8","dayBaseVlm":"19.8"}}}
def spot_state(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    message = _spot(raw).data
    return [_ticker(message.ctx, find(message.coin), ts_recv, None)]


def _ticker(ctx: wire.SpotContext, instrument: Instrument, ts_recv: int, index_price: str | None) -> Ticker:
    return Ticker(
        *instrument.key,
        None,
        ts_recv,
        open=decimal("prevDayPx", ctx.prev_day_px),
        volume=decimal_or_none("dayBaseVlm", ctx.day_base_vlm),
        quote_volume=decimal("dayNtlVlm", ctx.day_ntl_vlm),
        mark_price=decimal("markPx", ctx.mark_px),
        index_price=index_price,
    )


# [{"coin":"ABC","fundingRate":"0.0000125","premium":"-0.0003","time":1700006400048}]
# {"type":"fundingHistory","coin":"ABC","startTime":1700000000000,"endTime":1700010000000}
def paid_rates(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    return [
        FundingRate(
            *find(each.coin).key,
            None,
            ts_recv,
            rate=decimal("fundingRate", each.rate),
            funding_time=each.time * MS,
            interval_hours=FUNDING_HOURS,
            premium=decimal_or_none("premium", each.premium),
        )
        for each in _paid(raw)
    ]
