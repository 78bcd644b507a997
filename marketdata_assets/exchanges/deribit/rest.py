"""Deribit's REST responses to records. The URL names the request; the response does not.

An answer is an envelope of JSON-RPC, with `result` or `error`. https://docs.deribit.com/articles/json-rpc-overview
"""

from collections.abc import Callable, Mapping
from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Raw

from marketdata_assets.exchanges.deribit import parse, wire
from marketdata_assets.exchanges.deribit.wire import RATE_LIMITED, VENUE, AnyMessage
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, FundingRate, Ticker, VenueError
from marketdata_assets.exchanges.wire import MS, NONE, Millis, Sequence, Wire, decoded, maybe, signed

T = TypeVar("T")

Find = Callable[[str], Instrument | None]
"""An instrument by its name; None for unsupported instruments, such as spreads. Raises UnknownInstrument."""

Query = Mapping[str, str | int]  # of the address
Parse = Callable[[Query, bytes, Find, int], list[AnyRecord]]  # query, bytes, instruments, receive time


class Answer(msgspec.Struct, Generic[T], frozen=True, gc=False):
    result: T


class More(msgspec.Struct, frozen=True, gc=False):
    has_more: bool


class TradesResult(Wire, frozen=True, gc=False):
    trades: list[wire.Trade]
    has_more: bool


class WireWholeBook(wire.Ticker, frozen=True, gc=False, kw_only=True):
    """A ticker with levels."""

    change_id: Sequence
    bids: list[wire.Level]
    asks: list[wire.Level]


class ChartResult(Wire, frozen=True, gc=False):
    """Candles by column."""

    status: Literal["ok", "no_data"]
    ticks: list[Millis]
    open: list[Raw]
    high: list[Raw]
    low: list[Raw]
    close: list[Raw]
    volume: list[Raw]
    cost: list[Raw]


class WireFunding(Wire, frozen=True, gc=False):
    timestamp: Millis  # when the hour was over
    index_price: Raw
    interest_1h: Raw  # what was paid in that hour


class WireSummary(Wire, frozen=True, gc=False):
    instrument_name: str
    creation_timestamp: Millis
    bid_price: Raw
    ask_price: Raw
    last: Raw
    high: Raw
    low: Raw
    mark_price: Raw
    volume: Raw
    open_interest: Raw = NONE
    volume_usd: Raw = NONE
    volume_notional: Raw = NONE
    current_funding: Raw = NONE


_any = msgspec.json.Decoder(AnyMessage).decode
_more = msgspec.json.Decoder(Answer[More]).decode
_trades = msgspec.json.Decoder(Answer[TradesResult]).decode
_book = msgspec.json.Decoder(Answer[WireWholeBook]).decode
_ticker = msgspec.json.Decoder(Answer[wire.Ticker]).decode
_chart = msgspec.json.Decoder(Answer[ChartResult]).decode
_funding = msgspec.json.Decoder(Answer[list[WireFunding]]).decode
_summary = msgspec.json.Decoder(Answer[list[WireSummary]]).decode


def error_of(raw: bytes) -> VenueError | None:
    """Deribit's own error in an answer; None when there is none, or no answer of Deribit's. Never raises."""
    message = decoded(_any, raw)
    error = message.error if message else None
    return VenueError(error.code, error.message, error.code in RATE_LIMITED) if error else None


def asked(query: Query, what: str) -> str:
    """A parameter of the address; BadMessage."""
    if what not in query:
        raise BadMessage(VENUE, f"an answer to an address without {what}")
    return str(query[what])


# {"jsonrpc":"2.0","result":{"has_more":false,"trades":[{"trade_id":"ABC-12","trade_seq":7,"timestamp":1700000000123,
#   "price":100.5,"amount":10.0,"contracts":1.0,"direction":"buy","instrument_name":"ABC-PERPETUAL"}]}}
# https://docs.deribit.com/api-reference/market-data/public-get_last_trades_by_instrument_and_time
def trades(query: Query, raw: bytes, find: Find, ts_recv: int) -> list[AnyRecord]:
    """Trades, and the forced orders among them."""
    events = ((event, find(event.instrument_name)) for event in _trades(raw).result.trades)
    return [record for event, instrument in events if instrument for record in parse.trade(event, instrument, ts_recv)]


def has_more(raw: bytes) -> bool:
    """Whether there are more trades than those of an answer."""
    return _more(raw).result.has_more


# {"jsonrpc":"2.0","result":{"instrument_name":"ABC-PERPETUAL","change_id":12,"bids":[[100.0,50.0]],
#   "asks":[[100.5,10.0]], ... and all of a ticker}}
# https://docs.deribit.com/api-reference/market-data/public-get_order_book
def order_book(query: Query, raw: bytes, find: Find, ts_recv: int) -> list[AnyRecord]:
    """The best levels and all fields of a ticker. It cannot start the chain of a channel."""
    event = _book(raw).result
    instrument = find(event.instrument_name)
    if instrument is None:
        return []
    bids, asks = parse.levels(event.bids), parse.levels(event.asks)
    ts = event.timestamp * MS
    book = parse.book(instrument, "snapshot", bids, asks, (event.change_id, None), ts, ts_recv)
    return [book, *parse.ticker(event, instrument, ts_recv)]


# {"jsonrpc":"2.0","result":{ ... the data of a ticker message }}
# https://docs.deribit.com/api-reference/market-data/public-ticker
def ticker(query: Query, raw: bytes, find: Find, ts_recv: int) -> list[AnyRecord]:
    """The same as from the channel."""
    event = _ticker(raw).result
    instrument = find(event.instrument_name)
    return [*parse.ticker(event, instrument, ts_recv)] if instrument else []


# {"jsonrpc":"2.0","result":{"status":"ok","ticks":[1700000040000],"open":[100.5],"high":[101.0],"low":[100.0],
#   "close":[100.5],"volume":[0.5],"cost":[50.0]}}
# https://docs.deribit.com/api-reference/market-data/public-get_tradingview_chart_data
# The answer names neither instrument nor resolution: they are taken from the address.
def chart(query: Query, raw: bytes, find: Find, ts_recv: int) -> list[AnyRecord]:
    """Candles, oldest first."""
    instrument, resolution = find(asked(query, "instrument_name")), asked(query, "resolution")
    event = _chart(raw).result
    columns = (event.ticks, event.open, event.high, event.low, event.close, event.volume, event.cost)
    if len({len(column) for column in columns}) != 1:
        raise BadMessage(VENUE, "a chart with columns of different lengths")
    if instrument is None:
        return []
    return [parse.candle(wire.Candle(*row), instrument, resolution, ts_recv) for row in zip(*columns, strict=True)]


# {"jsonrpc":"2.0","result":[{"timestamp":1700002800000,"index_price":100.4,"prev_index_price":100.1,
#   "interest_8h":1.2e-5,"interest_1h":3.0e-6}]}
# https://docs.deribit.com/api-reference/market-data/public-get_funding_rate_history
# interest_8h overlaps from row to row; interest_1h is what was paid in the hour before timestamp.
def funding(query: Query, raw: bytes, find: Find, ts_recv: int) -> list[AnyRecord]:
    """What was paid, hour by hour."""
    instrument = find(asked(query, "instrument_name"))
    if instrument is None:
        return []
    return [
        FundingRate(
            *instrument.key,
            event.timestamp * MS,
            ts_recv,
            signed(event.interest_1h),
            event.timestamp * MS,
            interval_hours=1,
            index_price=maybe(event.index_price),
        )
        for event in _funding(raw).result
    ]


# {"jsonrpc":"2.0","result":[{"instrument_name":"ABC-PERPETUAL","creation_timestamp":1700000000123,"bid_price":100.0,
#   "ask_price":100.5,"last":100.5,"high":101.0,"low":99.0,"mark_price":100.47,"volume":1.5,"volume_usd":150.0,
#   "open_interest":1000,"current_funding":0.0,"funding_8h":6.5e-6}]}
# https://docs.deribit.com/api-reference/market-data/public-get_book_summary_by_instrument
def summary(query: Query, raw: bytes, find: Find, ts_recv: int) -> list[AnyRecord]:
    """Ticker, funding rate and open interest of each instrument."""
    records: list[AnyRecord] = []
    for event in _summary(raw).result:
        instrument = find(event.instrument_name)
        if instrument is None:
            continue
        ts = event.creation_timestamp * MS
        records.append(
            Ticker(
                *instrument.key,
                ts,
                ts_recv,
                bid=maybe(event.bid_price),
                ask=maybe(event.ask_price),
                unit=instrument.unit,
                last=maybe(event.last),
                high=maybe(event.high),
                low=maybe(event.low),
                volume=maybe(event.volume),
                quote_volume=parse.turnover(instrument, event.volume_usd, event.volume_notional),
                mark_price=maybe(event.mark_price),
            )
        )
        rate, interest = event.current_funding, event.open_interest
        records += parse.derivatives(instrument, ts, ts_recv, rate, event.mark_price, NONE, interest)
    return records


PARSERS: dict[str, Parse] = {
    "get_last_trades_by_instrument": trades,
    "get_last_trades_by_instrument_and_time": trades,
    "get_last_trades_by_currency": trades,
    "get_last_trades_by_currency_and_time": trades,
    "get_order_book": order_book,
    "get_tradingview_chart_data": chart,
    "get_funding_rate_history": funding,
    "get_book_summary_by_instrument": summary,
    "get_book_summary_by_currency": summary,
    "ticker": ticker,
}
"""By requested method."""
