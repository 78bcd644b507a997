"""Binance's REST responses as records: lists of trades, candles, funding rates and open interest.

A response does not always name its subject, so it comes with the requested URL. Book snapshots and instrument lists
are handled by the feed.
"""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

from marketdata_assets.exchanges.binance import parse, wire
from marketdata_assets.exchanges.binance.instrument_context import NS, InstrumentContext, InstrumentContexts
from marketdata_assets.exchanges.binance.wire import Id, Levels, Ms
from marketdata_assets.exchanges.decimals import decimal, decimal_or_none
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.records import AnyRecord, FundingRate, Kline, OpenInterest, Ticker, Trade, VenueError

TOO_MANY_REQUESTS = -1003
"""https://developers.binance.com/docs/binance-spot-api-docs/errors"""

_BANNED = re.compile(r"banned until (\d{13})\b")


class Asked(NamedTuple):
    """What an address asks for."""

    what: str  # the last part of the path, as klines
    symbol: str
    interval: str


class Depth(Struct, frozen=True):
    lastUpdateId: Id  # noqa: N815
    bids: Levels
    asks: Levels
    T: Ms | None = None  # futures
    symbol: str | None = None  # COIN-M


class MadeTrade(Struct, frozen=True, gc=False):
    id: Id
    price: str
    qty: str  # COIN-M: contracts
    time: Ms
    isBuyerMaker: bool  # noqa: N815


class AggTrade(Struct, frozen=True, gc=False):
    a: Id
    p: str
    q: str
    f: Id
    l: Id  # noqa: E741
    T: Ms
    m: bool


class Row(Struct, frozen=True, gc=False, array_like=True):
    open_time: Ms
    open: str
    high: str
    low: str
    close: str
    volume: str  # COIN-M: contracts
    close_time: Ms
    quote_volume: str  # COIN-M: base units
    trades: Id
    taker_volume: str
    taker_quote_volume: str


class Funding(Struct, frozen=True, gc=False):
    symbol: str
    fundingTime: Ms  # noqa: N815
    fundingRate: str  # noqa: N815
    markPrice: str | None = None  # noqa: N815  empty before 2023-11


class Premium(Struct, frozen=True, gc=False):
    symbol: str
    markPrice: str  # noqa: N815
    indexPrice: str  # noqa: N815
    estimatedSettlePrice: str  # noqa: N815
    lastFundingRate: str  # noqa: N815  of the current period; empty for a dated future
    nextFundingTime: Ms  # noqa: N815
    time: Ms


class Interest(Struct, frozen=True, gc=False):
    symbol: str
    openInterest: str  # noqa: N815  COIN-M: contracts
    time: Ms | None = None  # missing before 2020


class PastInterest(Struct, frozen=True, gc=False):
    sumOpenInterest: str  # noqa: N815  COIN-M: contracts
    sumOpenInterestValue: str  # noqa: N815  quote units; COIN-M: base units
    timestamp: Ms | str
    symbol: str | None = None
    pair: str | None = None  # COIN-M, with contractType
    contractType: str | None = None  # noqa: N815


class Failure(Struct, frozen=True):
    code: int
    msg: str


_TRADES = msgspec.json.Decoder(list[MadeTrade])
_AGG_TRADES = msgspec.json.Decoder(list[AggTrade])
_ROWS = msgspec.json.Decoder(list[Row])
_FUNDING = msgspec.json.Decoder(list[Funding])
_PREMIUM = msgspec.json.Decoder(Premium | list[Premium])
_INTEREST = msgspec.json.Decoder(Interest)
_PAST_INTEREST = msgspec.json.Decoder(list[PastInterest])
_FAILURE = msgspec.json.Decoder(Failure)


def asked(url: str) -> Asked:
    """What an address asks for. Raises ValueError."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    return Asked(parts.path.rpartition("/")[2], query.get("symbol", ""), query.get("interval", ""))


def failure(raw: bytes) -> VenueError | None:
    """What the venue says is wrong; null when it says no such thing.

        {"code": -1003, "msg": "Too many requests; IP banned until 1700000000123. ..."}

    https://developers.binance.com/docs/binance-spot-api-docs/errors
    """
    try:
        said = _FAILURE.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    banned = _BANNED.search(said.msg)
    return VenueError(said.code, said.msg, said.code == TOO_MANY_REQUESTS, int(banned[1]) if banned else None)


def records(to: Asked, raw: bytes, known: InstrumentContexts, ts_recv: int) -> list[AnyRecord]:
    """The records of an answer. Raises BadMessage, UnknownInstrument, ValueError and msgspec's errors."""
    match to.what:
        case "trades" | "historicalTrades":
            one = known[to.symbol]
            return [_trade(entry, one, ts_recv) for entry in _TRADES.decode(raw)]
        case "aggTrades":
            one = known[to.symbol]
            return [_agg_trade(entry, one, ts_recv) for entry in _AGG_TRADES.decode(raw)]
        case "klines":
            one = known[to.symbol]
            return [_kline(row, to.interval, one, ts_recv) for row in _ROWS.decode(raw)]
        case "fundingRate":
            return [_funding(rate, known[rate.symbol], ts_recv) for rate in _FUNDING.decode(raw)]
        case "premiumIndex":
            found = _PREMIUM.decode(raw)
            return [
                _premium(one, known[one.symbol], ts_recv) for one in (found if isinstance(found, list) else [found])
            ]
        case "openInterest":
            interest = _INTEREST.decode(raw)
            return [open_interest(interest, known[interest.symbol], ts_recv)]
        case "openInterestHist":
            return [_past_interest(past, known[_name(past)], ts_recv) for past in _PAST_INTEREST.decode(raw)]
    raise BadMessage("binance", f"no parser for a response to {to.what[:40]!r}")


def open_interest(interest: Interest, context: InstrumentContext, ts_recv: int) -> OpenInterest:
    """What is open now: coins on USD-M, contracts on COIN-M.

        GET /fapi/v1/openInterest?symbol=ABCUSDT
        {"openInterest": "1234.5", "symbol": "ABCUSDT", "time": 1700000000000}

    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Open-Interest
    """
    amount = decimal("openInterest", interest.openInterest)
    begin = context.begin(interest.time, ts_recv)
    if context.in_base:
        return OpenInterest(*begin, None, amount, None)
    return OpenInterest(*begin, amount, None, context.worth(amount))


def _past_interest(past: PastInterest, context: InstrumentContext, ts_recv: int) -> OpenInterest:
    """What was open; the time is a number, in the documentation a text.

        GET /futures/data/openInterestHist?symbol=ABCUSDT&period=5m
        [{"symbol": "ABCUSDT", "sumOpenInterest": "1234.5", "sumOpenInterestValue": "1500.5",
          "timestamp": 1700000000000}]

    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Open-Interest-Statistics
    """
    amount = decimal("sumOpenInterest", past.sumOpenInterest)
    value = decimal("sumOpenInterestValue", past.sumOpenInterestValue)
    moment = msgspec.convert(past.timestamp, Ms, strict=False)
    size, contracts, worth = context.volumes(amount, value)
    return OpenInterest(*context.begin(moment, ts_recv), contracts, size, worth)


def _trade(entry: MadeTrade, context: InstrumentContext, ts_recv: int) -> Trade:
    """One trade of a list.

        GET /api/v3/trades?symbol=ABCUSDT
        [{"id": 12345, "price": "1.2300", "qty": "4.5", "time": 1700000000003, "isBuyerMaker": true}]

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#recent-trades-list
    """
    event = wire.Trade(context.instrument.name, entry.id, entry.price, entry.qty, entry.time, entry.isBuyerMaker)
    return parse.trade(event, context, ts_recv)


def _agg_trade(entry: AggTrade, context: InstrumentContext, ts_recv: int) -> Trade:
    """Trades of one order at one price, of a list.

        GET /api/v3/aggTrades?symbol=ABCUSDT
        [{"a": 678, "p": "1.2300", "q": "4.5", "f": 12345, "l": 12347, "T": 1700000000003, "m": true}]

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#compressedaggregate-trades-list
    """
    event = wire.AggTrade(context.instrument.name, entry.a, entry.p, entry.q, entry.f, entry.l, entry.T, entry.m)
    return parse.agg_trade(event, context, ts_recv)


def _kline(row: Row, interval: str, context: InstrumentContext, ts_recv: int) -> Kline:
    """One candle of a list; the last one may still be open, which the response does not say.

        GET /api/v3/klines?symbol=ABCUSDT&interval=1m
        [[1699999980000, "1.20", "1.30", "1.10", "1.23", "100", 1700000039999, "125", 9, "40", "50", "0"]]

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
    """
    if not interval:
        raise BadMessage("binance", "candles without the requested interval")
    candle = wire.Candle(
        row.open_time,
        row.close_time,
        interval,
        row.open,
        row.close,
        row.high,
        row.low,
        row.volume,
        row.trades,
        False,
        row.quote_volume,
        row.taker_volume,
        row.taker_quote_volume,
    )
    return parse.candle(candle, context, None, ts_recv, None)


def _funding(paid: Funding, context: InstrumentContext, ts_recv: int) -> FundingRate:
    """A rate that was paid; the time is off by some milliseconds at times and kept so.

        GET /fapi/v1/fundingRate?symbol=ABCUSDT
        [{"symbol": "ABCUSDT", "fundingTime": 1700006400003, "fundingRate": "0.0001", "markPrice": ""}]

    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Get-Funding-Rate-History
    """
    rate = decimal("fundingRate", paid.fundingRate)
    mark = decimal_or_none("markPrice", paid.markPrice)
    return FundingRate(*context.begin(paid.fundingTime, ts_recv), rate, paid.fundingTime * NS, mark_price=mark)


def _premium(now: Premium, context: InstrumentContext, ts_recv: int) -> FundingRate | Ticker:
    """The mark price and the rate to be paid next.

        GET /fapi/v1/premiumIndex?symbol=ABCUSDT
        {"symbol": "ABCUSDT", "markPrice": "1.23", "indexPrice": "1.22", "estimatedSettlePrice": "1.21",
         "lastFundingRate": "0.0001", "nextFundingTime": 1700006400000, "time": 1700000000000}

    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Mark-Price
    """
    return parse.marked(
        context,
        now.time,
        ts_recv,
        mark=now.markPrice,
        index=now.indexPrice,
        settlement=now.estimatedSettlePrice,
        rate=now.lastFundingRate,
        paid=now.nextFundingTime,
    )


def _name(past: PastInterest) -> str:
    """COIN-M names the pair and the kind of contract; of a dated future that does not say which."""
    if past.symbol:
        return past.symbol
    if past.pair and past.contractType == "PERPETUAL":
        return f"{past.pair}_PERP"
    raise BadMessage("binance", "open interest of an instrument that it does not name")
