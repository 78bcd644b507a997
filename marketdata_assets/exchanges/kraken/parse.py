"""Kraken's messages to records: trades, tickers and candles, over the socket and over REST.

https://docs.kraken.com/exchange/api-reference/spot-websocket
"""

from typing import Any

import msgspec
from msgspec import Raw

from marketdata_assets.exchanges.decimals import decimal
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.kraken import wire
from marketdata_assets.exchanges.kraken.wire import VENUE, Answered, Pushed
from marketdata_assets.exchanges.records import Kline, Outcome, Side, Ticker
from marketdata_assets.exchanges.wire import NS, Find, number, rfc3339, signed

INTERVALS = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440, "1w": 10_080, "15d": 21_600}
INTERVAL_OF = {minutes: interval for interval, minutes in INTERVALS.items()}
SIDES: dict[str, Side] = {"b": "buy", "s": "sell"}
MINUTE, MICRO = 60 * NS, 1000

_trades = msgspec.json.Decoder(Pushed[wire.Trade]).decode
_tickers = msgspec.json.Decoder(Pushed[wire.Ticker]).decode
_candles = msgspec.json.Decoder(Pushed[wire.Candle]).decode
_past_trades = msgspec.json.Decoder(Answered[list[tuple[str, str, Raw, str, str, str, int]] | str | int]).decode
_past_candles = msgspec.json.Decoder(Answered[list[tuple[int, str, str, str, str, str, str, int]] | str | int]).decode


# {"channel":"trade","type":"update","data":[{"symbol":"ABC/USD","side":"sell","price":4.2170,"qty":40.00000000,
#   "ord_type":"market","trade_id":4665906,"timestamp":"2026-01-31T08:00:00.123456Z"}]}
# https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/trade: trade_id numbers the trades of a pair.
def trades(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    made: list[Outcome] = []
    for each in _trades(raw).data:
        price, size, ts = number(each.price), number(each.qty), rfc3339(each.timestamp)
        ids = str(each.trade_id), price, size, None, each.side, None, None, each.trade_id
        made.append(find(each.symbol).trade(ts, ts_recv, *ids))
    return made


# {"channel":"ticker","type":"update","data":[{"symbol":"ABC/USD","bid":4.2160,"bid_qty":740.0,"ask":4.2180,
#   "ask_qty":1361.44813783,"last":4.2170,"volume":997038.98383185,"vwap":4.2148,"low":4.1979,"high":4.2285,
#   "change":-0.0017,"change_pct":-0.17,"timestamp":"2026-01-31T08:00:00.123456Z"}]}
# https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/ticker
def tickers(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    return [
        Ticker(
            *find(each.symbol).key,
            None if each.timestamp is None else rfc3339(each.timestamp),
            ts_recv,
            bid=number(each.bid),
            bid_size=number(each.bid_qty),
            ask=number(each.ask),
            ask_size=number(each.ask_qty),
            unit="base",
            last=number(each.last),
            high=number(each.high),
            low=number(each.low),
            volume=number(each.volume),
            weighted_average=number(each.vwap),
            price_change=signed(each.change_pct),
        )
        for each in _tickers(raw).data
    ]


# {"channel":"ohlc","type":"update","timestamp":"2026-01-31T08:00:01.806315597Z","data":[{"symbol":"ABC/USD",
#   "open":4.2,"high":4.22,"low":4.2,"close":4.21,"trades":13,"volume":16255.46368,"vwap":4.2087,
#   "interval_begin":"2026-01-31T08:00:00.000000000Z","interval":5,"timestamp":"2026-01-31T08:05:00.000000Z"}]}
# https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/ohlc
# A candle comes with each trade, and none says that it is closed.
def candles(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    return [
        _candle(
            find(each.symbol),
            ts_recv,
            each.interval,
            rfc3339(each.interval_begin),
            (number(each.open), number(each.high), number(each.low), number(each.close)),
            number(each.volume),
            each.trades,
        )
        for each in _candles(raw).data
    ]


# {"error":[],"result":{"XABCZUSD":[["4.21700","0.00460000",1700000000.1234567,"b","l","",4665906]],
#   "last":"1700000000123456789"}}
# https://docs.kraken.com/api-reference/market-data/get-recent-trades
# Price, size, seconds, side of the taker, type of its order, a remark, number. The seconds are a binary fraction, which
# is cut to the microseconds that the socket has.
def past_trades(raw: bytes, ts_recv: int, instrument: Instrument) -> list[Outcome]:
    made: list[Outcome] = []
    for price, size, seconds, side, _, _, trade_id in _rows(_past_trades(raw).result):
        whole, _, fraction = number(seconds).partition(".")
        ts = int(whole) * NS + int((fraction or "0")[:6].ljust(6, "0")) * MICRO
        ids = str(trade_id), decimal("price", price), decimal("size", size), None, SIDES[side], None, None, trade_id
        made.append(instrument.trade(ts, ts_recv, *ids))
    return made


# {"error":[],"result":{"XABCZUSD":[[1700000040,"4.20","4.22","4.20","4.21","4.21","16255.46368000",13]],
#   "last":1700000040}}
# https://docs.kraken.com/api-reference/market-data/get-ohlc-data
# Begin in seconds, open, high, low, close, average price, volume, trades. The last one is not closed.
def past_candles(raw: bytes, ts_recv: int, instrument: Instrument, minutes: int) -> list[Outcome]:
    return [
        _candle(instrument, ts_recv, minutes, begin * NS, prices, decimal("volume", volume), count)
        for begin, *prices, _, volume, count in _rows(_past_candles(raw).result)
    ]


def _rows(result: dict[str, Any]) -> list[Any]:
    """The one list of an answer."""
    found = [rows for rows in result.values() if isinstance(rows, list)]
    if len(found) != 1:
        raise BadMessage(VENUE, f"an answer with {len(found)} lists")
    rows: list[Any] = found[0]
    return rows


def _candle(
    instrument: Instrument, ts_recv: int, minutes: int, begin: int, prices: Any, volume: str, trades: int
) -> Kline:
    if minutes not in INTERVAL_OF:
        raise BadMessage(VENUE, f"a candle of {minutes} minutes")
    span = begin, begin + minutes * MINUTE
    open_, high, low, close = (decimal("a price", price) for price in prices)
    return instrument.candle(
        None, ts_recv, INTERVAL_OF[minutes], span, (open_, high, low, close), (volume, None, None), trades=trades
    )
