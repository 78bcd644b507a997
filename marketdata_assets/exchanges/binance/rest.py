"""Binance's REST responses as records: lists of trades, candles, funding rates and open interest.

A response does not always name its subject, so it comes with the requested URL. Book snapshots and instrument lists
are handled by the feed.
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from marketdata_assets.exchanges.binance import parse, wire
from marketdata_assets.exchanges.binance.instruments import NS, head_of, volumes_of, worth_of
from marketdata_assets.exchanges.binance.wire import Id, Levels, Ms
from marketdata_assets.exchanges.decimals import decimal, decimal_or_none
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import AnyRecord, FundingRate, OpenInterest, VenueError
from marketdata_assets.exchanges.wire import decoded

TOO_MANY_REQUESTS = -1003  # https://developers.binance.com/docs/binance-spot-api-docs/errors
_BANNED = re.compile(r"banned until (\d{13})\b")


class Depth(Struct, frozen=True):
    lastUpdateId: Id  # noqa: N815
    bids: Levels
    asks: Levels
    T: Ms | None = None  # futures
    symbol: str | None = None  # COIN-M


class Funding(Struct, frozen=True, gc=False):
    symbol: str
    fundingTime: Ms  # noqa: N815
    fundingRate: str  # noqa: N815
    markPrice: str | None = None  # noqa: N815  empty before 2023-11


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


_TRADES = msgspec.json.Decoder(list[wire.ListedTrade])
_AGG_TRADES = msgspec.json.Decoder(list[wire.ListedAggTrade])
_ROWS = msgspec.json.Decoder(list[wire.ListedCandle])
_FUNDING = msgspec.json.Decoder(list[Funding])
_PREMIUM = msgspec.json.Decoder(wire.Premium | list[wire.Premium])
_INTEREST = msgspec.json.Decoder(Interest)
_PAST_INTEREST = msgspec.json.Decoder(list[PastInterest])
_FAILURE = msgspec.json.Decoder(Failure)


def failure(raw: bytes) -> VenueError | None:
    """What the venue says is wrong; null when it says no such thing.

        {"code": -1003, "msg": "Too many requests; IP banned until 1700000000123. ..."}

    https://developers.binance.com/docs/binance-spot-api-docs/errors
    """
    said = decoded(_FAILURE.decode, raw)
    if said is None:
        return None
    banned = _BANNED.search(said.msg)
    return VenueError(said.code, said.msg, said.code == TOO_MANY_REQUESTS, int(banned[1]) if banned else None)


def records(what: str, query: Mapping[str, str], raw: bytes, known: Instruments, ts_recv: int) -> list[AnyRecord]:
    """The records of an answer; `what` is the last part of the path, as klines. Raises what is UNREADABLE."""
    symbol, interval = query.get("symbol", ""), query.get("interval", "")
    match what:
        case "trades" | "historicalTrades":
            one = known[symbol]
            return [parse.trade(entry, one, ts_recv) for entry in _TRADES.decode(raw)]
        case "aggTrades":
            one = known[symbol]
            return [parse.agg_trade(entry, one, ts_recv) for entry in _AGG_TRADES.decode(raw)]
        case "klines":
            one, rows = known[symbol], _ROWS.decode(raw)
            if rows and not interval:
                raise BadMessage("binance", "candles without the requested interval")
            return [parse.candle(row, interval, one, None, ts_recv, None) for row in rows]
        case "fundingRate":
            return [_funding(rate, known[rate.symbol], ts_recv) for rate in _FUNDING.decode(raw)]
        case "premiumIndex":
            found = _PREMIUM.decode(raw)
            every = found if isinstance(found, list) else [found]
            return [parse.mark_price(one, known[one.s], ts_recv) for one in every]
        case "openInterest":
            interest = _INTEREST.decode(raw)
            return [open_interest(interest, known[interest.symbol], ts_recv)]
        case "openInterestHist":
            return [_past_interest(past, known, ts_recv) for past in _PAST_INTEREST.decode(raw)]
    raise BadMessage("binance", f"no parser for a response to {what[:40]!r}")


def open_interest(interest: Interest, instrument: Instrument, ts_recv: int) -> OpenInterest:
    """What is open now: coins on USD-M, contracts on COIN-M.

        GET /fapi/v1/openInterest?symbol=ABCUSDT
        {"openInterest": "1234.5", "symbol": "ABCUSDT", "time": 1700000000000}

    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Open-Interest
    """
    amount = decimal("openInterest", interest.openInterest)
    begin = head_of(instrument, interest.time, ts_recv)
    if instrument.unit == "base":
        return OpenInterest(*begin, None, amount, None)
    return OpenInterest(*begin, amount, None, worth_of(instrument, amount))


def _past_interest(past: PastInterest, known: Instruments, ts_recv: int) -> OpenInterest:
    """What was open; the time is a number, in the documentation a text.

    COIN-M names the pair and the kind of contract, which do not identify a dated future.

        GET /futures/data/openInterestHist?symbol=ABCUSDT&period=5m
        [{"symbol": "ABCUSDT", "sumOpenInterest": "1234.5", "sumOpenInterestValue": "1500.5",
          "timestamp": 1700000000000}]

    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Open-Interest-Statistics
    """
    name = past.symbol or (past.pair and past.contractType == "PERPETUAL" and f"{past.pair}_PERP")
    if not name:
        raise BadMessage("binance", "open interest of an instrument that it does not name")
    instrument = known[name]
    amount = decimal("sumOpenInterest", past.sumOpenInterest)
    value = decimal("sumOpenInterestValue", past.sumOpenInterestValue)
    moment = msgspec.convert(past.timestamp, Ms, strict=False)
    size, contracts, worth = volumes_of(instrument, amount, value)
    return OpenInterest(*head_of(instrument, moment, ts_recv), contracts, size, worth)


def _funding(paid: Funding, instrument: Instrument, ts_recv: int) -> FundingRate:
    """A rate that was paid; the time is off by some milliseconds at times and kept so.

    Since 2026-07 a dividend of a stock is a second rate, whose `rateType` is Special.

        GET /fapi/v1/fundingRate?symbol=ABCUSDT
        [{"symbol": "ABCUSDT", "fundingTime": 1700006400003, "fundingRate": "0.0001", "markPrice": "",
          "rateType": "Regular"}]

    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Get-Funding-Rate-History
    """
    rate = decimal("fundingRate", paid.fundingRate)
    mark = decimal_or_none("markPrice", paid.markPrice)
    return FundingRate(*head_of(instrument, paid.fundingTime, ts_recv), rate, paid.fundingTime * NS, mark_price=mark)
