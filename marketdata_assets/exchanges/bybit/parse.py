"""Bybit's messages to records: trades, forced orders, candles, tickers, and what REST has of them.

Order books are in `book`. Linear contracts count coins. Inverse contracts count USD, one contract being one USD, and
their turnover is in coins.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, TypeVar

import msgspec
from msgspec.structs import asdict

from marketdata_assets.exchanges import checkpoints
from marketdata_assets.exchanges.bybit import wire
from marketdata_assets.exchanges.bybit.wire import VENUE, Push, Response
from marketdata_assets.exchanges.checkpoints import StateCheckpoint
from marketdata_assets.exchanges.decimals import DIGITS, PLAIN, decimal, decimal_or_none, quoted_size
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import KEPT_SIZES, Instrument
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Kline,
    Liquidation,
    OpenInterest,
    Outcome,
    Parser,
    Side,
    Ticker,
    Trade,
    TradeFlag,
    numbered,
)
from marketdata_assets.exchanges.wire import MS, Millis, Wire, nanoseconds

T = TypeVar("T")

SIDES: dict[str, Side] = {"Buy": "buy", "Sell": "sell"}
CLOSES: dict[str, Side] = {"Buy": "sell", "Sell": "buy"}
"""The side of the order that closes a position."""

INTERVALS = {
    **{f"{minutes}m": str(minutes) for minutes in (1, 3, 5, 15, 30)},
    **{f"{hours}h": str(60 * hours) for hours in (1, 2, 4, 6, 12)},
    "1d": "D",
    "1w": "W",
    "1M": "M",
}
"""Bybit's word for an interval of candles. https://bybit-exchange.github.io/docs/v5/enum#interval"""

INTERVAL_OF = {word: interval for interval, word in INTERVALS.items()}

LENGTHS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}  # seconds


@dataclass
class Receipt:
    """When the last trade of an instrument was received, ns; each is received at least 1 ns after the one before it."""

    last: int = 0


_trades = msgspec.json.Decoder(Push[list[wire.Trade]], strict=False).decode
_liquidations = msgspec.json.Decoder(Push[list[wire.Liquidation]], strict=False).decode
_candles = msgspec.json.Decoder(Push[list[wire.Candle]], strict=False).decode


# {"topic":"publicTrade.ABCUSDT","type":"snapshot","ts":1700000000125,"data":[{"T":1700000000123,"s":"ABCUSDT",
#   "S":"Buy","v":"0.15","p":"4.20","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"RPI":false,
#   "seq":7001}]}
# https://bybit-exchange.github.io/docs/v5/websocket/public/trade
def trades(instrument: Instrument, receipt: Receipt) -> Parser:
    """Parser of the trades of one instrument, which messages have in order. Their ids have none, so receipt has it."""
    make = partial(Trade, *instrument.key)
    sizes = lru_cache(KEPT_SIZES)(instrument.base_size) if instrument.market_type == "inverse" else None

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        records: list[Outcome] = []
        received = ts_recv if ts_recv > receipt.last else receipt.last + 1
        for element in _trades(raw).data:
            price, size, contracts = element.price, element.size, None
            if price.strip(DIGITS) not in PLAIN or size.strip(DIGITS) not in PLAIN or price < "/" or size < "/":
                decimal("p", price)  # raises where it is no number; the calls would cost as much as all of the above
                decimal("v", size)
            base: str | None = size
            if sizes is not None:
                base, contracts = sizes(size, price), size
            side: Side = "buy" if element.side == "Buy" else "sell"
            flags = _flags(element) if element.block or element.rpi else ()
            numbers = element.trade_id, price, base, contracts, side, None, None, None
            records.append(make(element.time * MS, received, *numbers, flags))
            received += 1
        receipt.last = received - 1
        return records

    return parse


# {"topic":"allLiquidation.ABCUSDT","type":"snapshot","ts":1700000000625,"data":[{"T":1700000000123,"s":"ABCUSDT",
#   "S":"Buy","v":"20","p":"4.10"}]}
# https://bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation. `S` is the side of the position: `Buy` says
# that a long one was closed, by an order that sells.
def liquidations(instrument: Instrument) -> Parser:
    """Parser of the forced orders of one instrument."""
    return lambda raw, ts_recv, _: [
        *numbered(_liquidation(one, instrument, ts_recv) for one in _liquidations(raw).data)
    ]


def _liquidation(element: wire.Liquidation, instrument: Instrument, ts_recv: int) -> Liquidation:
    price, size = decimal("p", element.price), decimal("v", element.size)
    sizes = instrument.sizes(size, price)
    return Liquidation(*instrument.key, element.time * MS, ts_recv, CLOSES[element.side], price, *sizes)


# {"topic":"kline.1.ABCUSDT","data":[{"start":1700000040000,"end":1700000099999,"interval":"1","open":"4.20","close":
#   "4.21","high":"4.30","low":"4.10","volume":"210","turnover":"882","confirm":false,"timestamp":1700000088882}],
#   "ts":1700000088882,"type":"snapshot"}
# https://bybit-exchange.github.io/docs/v5/websocket/public/kline
def candles(instrument: Instrument, interval: str) -> Parser:
    """Parser of the candles of one instrument; `interval` is ours, as 1h."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        message = _candles(raw)
        return [_candle(element, instrument, interval, message.ts * MS, ts_recv) for element in message.data]

    return parse


def _candle(element: wire.Candle, instrument: Instrument, interval: str, ts_event: int, ts_recv: int) -> Kline:
    if element.end < element.start:
        raise BadMessage(VENUE, f"a candle from {element.start} to {element.end}")
    prices = element.open, element.high, element.low, element.close
    span = element.start * MS, (element.end + 1) * MS
    volumes = element.volume, element.turnover
    return _kline(instrument, interval, ts_event, ts_recv, span, prices, volumes, element.confirm)


def _kline(
    instrument: Instrument,
    interval: str,
    ts_event: int | None,
    ts_recv: int,
    span: tuple[int, int],
    prices: tuple[str, str, str, str],
    volumes: tuple[str, str],
    closed: bool,
) -> Kline:
    """A candle; `prices` are open, high, low and close, `volumes` what Bybit calls volume and turnover."""
    first, high, low, last = (decimal("price", text) for text in prices)
    volume, turnover = decimal("volume", volumes[0]), decimal("turnover", volumes[1])
    amounts = (turnover, volume, volume) if instrument.market_type == "inverse" else (volume, None, turnover)
    return instrument.candle(ts_event, ts_recv, interval, span, (first, high, low, last), amounts, closed=closed)


# REST.


def each(kind: type[T], convert: Callable[[T, int], Outcome]) -> Parser:
    """A parser of a response that makes one outcome of each element of its list."""
    decode = msgspec.json.Decoder(Response[kind], strict=False).decode  # type: ignore[valid-type]
    return lambda raw, ts_recv, _: [convert(element, ts_recv) for element in decode(raw).result.list]


# {"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"execId":"2100000000007764263","symbol":"ABCUSDT",
#   "price":"4.20","size":"0.15","side":"Buy","time":"1700000000123","isBlockTrade":false,"seq":"7001"}]},
#   "time":1700000000125}
# https://bybit-exchange.github.io/docs/v5/market/recent-trade, newest first
def past_trades(instrument: Instrument) -> Parser:
    """Parser of the last trades of one instrument; older ones are received earlier, by 1 ns each."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        found = _past_trades(raw).result.list
        return [_past_trade(element, instrument, ts_recv - place) for place, element in enumerate(found)]

    return parse


def _past_trade(element: wire.PastTrade, instrument: Instrument, ts_recv: int) -> Trade:
    price, size = decimal("price", element.price), decimal("size", element.size)
    sizes, side = instrument.sizes(size, price), SIDES[element.side]
    head = (*instrument.key, element.time * MS, ts_recv)
    return Trade(*head, element.trade_id, price, *sizes, side, flags=_flags(element))


def _flags(element: wire.Trade | wire.PastTrade) -> tuple[TradeFlag, ...]:
    block: tuple[TradeFlag, ...] = ("block",) if element.block else ()
    return (*block, "rpi") if element.rpi else block


_past_trades = msgspec.json.Decoder(Response[wire.PastTrade], strict=False).decode
_rows = msgspec.json.Decoder(Response[tuple[str, ...]], strict=False).decode
COLUMNS = 7  # of a candle


# {"retCode":0,"retMsg":"OK","result":{"symbol":"ABCUSDT","category":"linear","list":[["1700000040000","4.20","4.30",
#   "4.10","4.21","210","882"]]},"time":1700000100125}
# https://bybit-exchange.github.io/docs/v5/market/kline: start, open, high, low, close, volume, turnover; newest first.
# A candle does not say whether it is closed. It is, when its end is not after the time of the response.
def past_candles(instrument: Instrument, interval: str) -> Parser:
    """Parser of the candles of one instrument; `interval` is ours, as 1h."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        response = _rows(raw)
        records: list[Outcome] = []
        for row in response.result.list:
            if len(row) < COLUMNS:
                raise BadMessage(VENUE, f"a candle of {len(row)} columns")
            start = nanoseconds(row[0])
            end = end_of(interval, start)
            prices, volumes = (row[1], row[2], row[3], row[4]), (row[5], row[6])
            closed = end <= response.time * MS
            records.append(_kline(instrument, interval, None, ts_recv, (start, end), prices, volumes, closed))
        return records

    return parse


def end_of(interval: str, start: int) -> int:
    """The end of the candle that begins at `start`, both ns. A month begins on its first day, UTC."""
    if interval[-1] != "M":
        return start + int(interval[:-1]) * LENGTHS[interval[-1]] * 1000 * MS
    begin = dt.datetime.fromtimestamp(start // (1000 * MS), dt.UTC)
    year, month = divmod(begin.year * 12 + begin.month, 12)
    return int(begin.replace(year=year, month=month + 1).timestamp()) * 1000 * MS


# {"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[{"symbol":"ABCUSDT","fundingRate":"0.0001",
#   "fundingRateTimestamp":"1700006400000"}]},"time":1700006500000}
# https://bybit-exchange.github.io/docs/v5/market/history-fund-rate, newest first
def past_funding(instrument: Instrument) -> Parser:
    """Parser of the rates that were paid."""

    def convert(element: wire.PastFunding, ts_recv: int) -> FundingRate:
        rate = decimal("fundingRate", element.rate)
        return FundingRate(*instrument.key, None, ts_recv, rate=rate, funding_time=element.time * MS)

    return each(wire.PastFunding, convert)


# {"retCode":0,"retMsg":"OK","result":{"symbol":"ABCUSDT","category":"linear","list":[{"openInterest":"5000.1",
#   "timestamp":"1700000100000"}],"nextPageCursor":"lastid%3D1%26lasttime%3D1700000100"},"time":1700000200000}
# https://bybit-exchange.github.io/docs/v5/market/open-interest, newest first
def past_open_interest(instrument: Instrument) -> Parser:
    """Parser of the open interest that one instrument had."""

    def convert(element: wire.PastInterest, ts_recv: int) -> OpenInterest:
        return interest(instrument, element.time * MS, ts_recv, decimal("openInterest", element.open_interest), None)

    return each(wire.PastInterest, convert)


def interest(instrument: Instrument, ts_event: int, ts_recv: int, held: str, worth: str | None) -> OpenInterest:
    """Open interest of both sides, as Bybit counts it; `worth` is its value, which inverse contracts have in coins."""
    if instrument.market_type == "inverse":
        return OpenInterest(*instrument.key, ts_event, ts_recv, contracts=held, size=worth, value=held)
    return OpenInterest(*instrument.key, ts_event, ts_recv, contracts=None, size=held, value=worth)


# Tickers.


class Message(Wire, frozen=True, gc=False):
    type: Literal["snapshot", "delta"]
    ts: Millis
    data: wire.Ticker


_message = msgspec.json.Decoder(Message, strict=False).decode
_state = msgspec.json.Decoder(wire.Ticker).decode


class TickerStream:
    """The ticker of one instrument: a state, and what changed in it since; of contracts with rates and open interest.

    https://bybit-exchange.github.io/docs/v5/websocket/public/ticker: contracts have snapshots and deltas, a field that
    a delta leaves out has not changed; spot markets have snapshots only. Nothing numbers the deltas without holes, so
    the state of a connection ends with it, and with a message that cannot be read. Each connection has its own state.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._states: dict[int, wire.Ticker] = {}  # by connection

    def reset(self, connection: int) -> None:
        """Forget what a connection sent."""
        self._states.pop(connection, None)

    def checkpoint(self) -> list[StateCheckpoint]:
        """What each connection sent, for another feed to continue here."""
        return [
            StateCheckpoint(self.instrument, connection, msgspec.Raw(checkpoints.encode(state)))
            for connection, state in self._states.items()
        ]

    def restore(self, point: StateCheckpoint) -> None:
        """Continue from a checkpoint. Raises msgspec.MsgspecError."""
        self._states[point.connection] = _state(point.state)

    # {"topic":"tickers.ABCUSDT","type":"snapshot","data":{"symbol":"ABCUSDT","lastPrice":"4.20","prevPrice24h":"4.00",
    #   "highPrice24h":"4.40","lowPrice24h":"3.90","volume24h":"2250","turnover24h":"9450","markPrice":"4.21",
    #   "indexPrice":"4.22","openInterest":"500.1","openInterestValue":"2105.42","fundingIntervalHour":"8",
    #   "nextFundingTime":"1700006400000","fundingRate":"0.0001","bid1Price":"4.19","bid1Size":"5","ask1Price":"4.21",
    #   "ask1Size":"11"},"cs":7001,"ts":1700000000123}
    # {"topic":"tickers.ABCUSDT","type":"delta","data":{"symbol":"ABCUSDT","bid1Price":"4.20","bid1Size":"6"},"cs":7002,
    #   "ts":1700000000223}
    def push(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """The ticker after a message, and funding rate and open interest where the message says something of them."""
        message = _message(raw)
        new = {name: value for name, value in asdict(message.data).items() if value is not None}
        if message.type == "snapshot":
            state = message.data
        elif (before := self._states.get(connection)) is not None:
            state = msgspec.structs.replace(before, **new)
        else:
            return [Control("ignored", f"tickers:{self.instrument.name} no snapshot since")]
        ts_event = message.ts * MS
        outcomes: list[Outcome] = [self._ticker(state, ts_event, ts_recv)]
        if state.funding_rate and state.next_funding_time and new.keys() & {"funding_rate", "next_funding_time"}:
            outcomes.append(self._funding(state, ts_event, ts_recv))
        if state.open_interest and new.keys() & {"open_interest", "open_interest_value"}:
            held = decimal("openInterest", state.open_interest)
            worth = decimal_or_none("openInterestValue", state.open_interest_value)
            outcomes.append(interest(self.instrument, ts_event, ts_recv, held, worth))
        self._states[connection] = state
        return outcomes

    def _ticker(self, state: wire.Ticker, ts_event: int, ts_recv: int) -> Ticker:
        instrument, inverse = self.instrument, self.instrument.market_type == "inverse"
        volume, turnover = decimal_or_none("volume24h", state.volume), decimal_or_none("turnover24h", state.turnover)
        return Ticker(
            *instrument.key,
            ts_event,
            ts_recv,
            bid=decimal_or_none("bid1Price", state.bid),
            bid_size=quoted_size("bid1Size", state.bid_size, state.bid),
            ask=decimal_or_none("ask1Price", state.ask),
            ask_size=quoted_size("ask1Size", state.ask_size, state.ask),
            unit=instrument.unit,
            last=decimal_or_none("lastPrice", state.last),
            open=decimal_or_none("prevPrice24h", state.open),
            high=decimal_or_none("highPrice24h", state.high),
            low=decimal_or_none("lowPrice24h", state.low),
            volume=turnover if inverse else volume,
            contracts=volume if inverse else None,
            quote_volume=volume if inverse else turnover,
            mark_price=decimal_or_none("markPrice", state.mark_price),
            index_price=decimal_or_none("indexPrice", state.index_price),
        )

    def _funding(self, state: wire.Ticker, ts_event: int, ts_recv: int) -> FundingRate:
        hours = state.funding_hours
        return FundingRate(
            *self.instrument.key,
            ts_event,
            ts_recv,
            rate=decimal("fundingRate", state.funding_rate or ""),
            funding_time=nanoseconds(state.next_funding_time or ""),
            interval_hours=int(hours) if hours and hours.isascii() and hours.isdecimal() and len(hours) < 5 else None,
            mark_price=decimal_or_none("markPrice", state.mark_price),
            index_price=decimal_or_none("indexPrice", state.index_price),
        )
