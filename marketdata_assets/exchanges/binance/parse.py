"""Binance's events as records. Each parser takes a typed event and its instrument, and raises ValueError.

Which bytes are which event is the business of `feed`, and how diffs become a book that of `book`.
"""

from decimal import Decimal
from typing import Any

import msgspec

from marketdata_assets.exchanges.binance import wire
from marketdata_assets.exchanges.binance.instruments import NS, head_of, volumes_of
from marketdata_assets.exchanges.decimals import EXACT, decimal, decimal_or_none, plain
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Kline,
    Liquidation,
    OpenInterest,
    Side,
    Ticker,
    Trade,
    TradeFlag,
)

_NO_TRADE = Control("ignored", "no trade")
FORCED = ("INSURANCE_FUND", "ADL")  # kinds of a trade on futures
RETAIL: tuple[TradeFlag, ...] = ("rpi",)
_SIDES: dict[str, Side] = {"BUY": "buy", "SELL": "sell", "1": "buy", "-1": "sell"}

_plain = msgspec.json.Decoder(tuple[float, float]).decode
"""Two numbers; put between `-` and `e0`, only digits with a point among them are numbers. The fastest way to see it."""


def trade(event: wire.Trade | wire.ListedTrade, instrument: Instrument, ts_recv: int) -> Trade:
    """One trade; `m` says that the buyer was the maker, so the taker sold.

        {"e": "trade", "E": 1700000000005, "s": "ABCUSDT", "t": 12345, "p": "1.2300", "q": "4.5",
         "T": 1700000000003, "m": true}

        GET /api/v3/trades?symbol=ABCUSDT
        [{"id": 12345, "price": "1.2300", "qty": "4.5", "time": 1700000000003, "isBuyerMaker": true}]

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#trade-streams
    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#recent-trades-list
    """
    make, price = instrument.trade, event.p
    size: str | None = event.q
    contracts: str | None = None
    try:
        _plain(f"[-{price}e0,-{size}e0]")
    except msgspec.DecodeError:
        decimal("p", price)  # raises where one is no number
        decimal("q", event.q)
    if instrument.unit != "base":
        size, contracts = instrument.sizes(event.q, price)
    side = "sell" if event.m else "buy"
    return make(event.T * NS, ts_recv, str(event.t), price, size, contracts, side, flags=flags_of(event))


def flags_of(event: wire.Trade | wire.ListedTrade) -> tuple[TradeFlag, ...]:
    """What distinguishes a single trade."""
    if isinstance(event, wire.FuturesTrade) and event.X in FORCED:
        return ("liquidation",)
    return RETAIL if isinstance(event, wire.ListedTrade) and event.rpi else ()


def futures_trade(event: wire.FuturesTrade, instrument: Instrument, ts_recv: int) -> Trade | Control:
    """A trade on futures; a placeholder with price and size 0 for a trade id that was never used is ignored.

        {"e": "trade", "E": 1700000000005, "T": 1700000000003, "s": "ABCUSDT", "t": 12345, "p": "0", "q": "0",
         "X": "NA", "m": true}

    The stream is not documented; https://github.com/nkaz001/hftbacktest/issues/263 has the message.
    """
    return _NO_TRADE if event.X == "NA" else trade(event, instrument, ts_recv)


def agg_trade(event: wire.AggTrade | wire.ListedAggTrade, instrument: Instrument, ts_recv: int) -> Trade:
    """The trades that one order made at one price, in one.

        {"e": "aggTrade", "E": 1700000000005, "s": "ABCUSDT", "a": 678, "p": "1.2300", "q": "4.5",
         "f": 12345, "l": 12347, "T": 1700000000003, "m": true}

    USD-M says in "nq" how much of it was traded without orders for retail traders.

        GET /api/v3/aggTrades?symbol=ABCUSDT
        [{"a": 678, "p": "1.2300", "q": "4.5", "f": 12345, "l": 12347, "T": 1700000000003, "m": true}]

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#aggregate-trade-streams
    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#compressedaggregate-trades-list
    """
    make, price = instrument.trade, event.p
    size: str | None = event.q
    contracts: str | None = None
    try:
        _plain(f"[-{price}e0,-{size}e0]")
    except msgspec.DecodeError:
        decimal("p", price)  # raises where one is no number
        decimal("q", event.q)
    if instrument.unit != "base":
        size, contracts = instrument.sizes(event.q, price)
    side = "sell" if event.m else "buy"
    ids = str(event.a), price, size, contracts, side, str(event.f), str(event.l), None
    retail = event.nq not in (None, event.q) and Decimal(decimal("nq", event.nq or "")) < Decimal(event.q)
    return make(event.T * NS, ts_recv, *ids, RETAIL if retail else ())


def book_ticker(event: wire.SpotBookTicker, instrument: Instrument, ts_recv: int) -> Ticker:
    """The best prices after update `u` of the book; spot does not say when.

        {"u": 400900217, "s": "ABCUSDT", "b": "1.2300", "B": "31.2", "a": "1.2400", "A": "40.6"}
        {"e": "bookTicker", "u": 400900217, "s": "ABCUSDT", "b": "1.23", "B": "31", "a": "1.24", "A": "40",
         "T": 1700000000003, "E": 1700000000005}

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#individual-symbol-book-ticker-streams
    """
    bid, bid_size = decimal("b", event.b), decimal("B", event.B)
    ask, ask_size = decimal("a", event.a), decimal("A", event.A)
    moment = event.T if isinstance(event, wire.BookTicker) else None
    return Ticker(*head_of(instrument, moment, ts_recv), bid, bid_size, ask, ask_size, instrument.unit, event.u)


def ticker(event: wire.MiniTicker, instrument: Instrument, ts_recv: int) -> Ticker:
    """The last 24 hours; only spot's has the best prices. COIN-M: `v` counts contracts.

    A mini ticker has no best prices, last size or weighted average.

        {"e": "24hrTicker", "E": 1700000000005, "s": "ABCUSDT", "w": "1.25", "c": "1.23", "Q": "0.5", "b": "1.23",
         "P": "2.5", "B": "31.2", "a": "1.24", "A": "40.6", "o": "1.20", "h": "1.30", "l": "1.10", "v": "100",
         "q": "125", "n": 9}
        {"e": "24hrMiniTicker", "E": 1700000000005, "s": "ABCUSDT", "c": "1.23", "o": "1.20", "h": "1.30",
         "l": "1.10", "v": "100", "q": "125"}

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#individual-symbol-ticker-streams
    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#individual-symbol-mini-ticker-stream
    """
    volume, contracts, quote_volume = volumes_of(instrument, decimal("v", event.v), decimal("q", event.q))
    more: dict[str, Any] = {}
    if isinstance(event, wire.FuturesTicker):
        more = {"unit": instrument.unit, "last_size": decimal("Q", event.Q), "trades": event.n}
        more["weighted_average"] = decimal("w", event.w)
        more["price_change"] = decimal_or_none("P", event.P)
    if isinstance(event, wire.SpotTicker):
        more |= {"bid": decimal("b", event.b), "bid_size": decimal("B", event.B)}
        more |= {"ask": decimal("a", event.a), "ask_size": decimal("A", event.A)}
    return Ticker(
        *head_of(instrument, event.E, ts_recv),
        last=decimal("c", event.c),
        open=decimal("o", event.o),
        high=decimal("h", event.h),
        low=decimal("l", event.l),
        volume=volume,
        contracts=contracts,
        quote_volume=quote_volume,
        **more,
    )


def kline(event: wire.Kline, instrument: Instrument, ts_recv: int) -> Kline:
    """One candle, sent again until `x` says that it is closed. COIN-M: `v`, `V` count contracts and `q`, `Q` coins.

        {"e": "kline", "E": 1700000000005, "s": "ABCUSDT", "k": {"t": 1699999980000, "T": 1700000039999, "i": "1m",
         "o": "1.20", "c": "1.23", "h": "1.30", "l": "1.10", "v": "100", "n": 9, "x": false, "q": "125",
         "V": "40", "Q": "50"}}

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#klinecandlestick-streams-for-utc
    """
    return candle(event.k, event.k.i, instrument, event.E * NS, ts_recv, event.k.x)


def candle(
    k: wire.Candle | wire.ListedCandle,
    interval: str,
    instrument: Instrument,
    ts_event: int | None,
    ts_recv: int,
    closed: bool | None,
) -> Kline:
    """A candle of a stream, or of a list, of which the last one may still be open, what the list does not say.

        GET /api/v3/klines?symbol=ABCUSDT&interval=1m
        [[1699999980000, "1.20", "1.30", "1.10", "1.23", "100", 1700000039999, "125", 9, "40", "50", "0"]]

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
    """
    volumes = volumes_of(instrument, decimal("v", k.v), decimal("q", k.q))
    bought, _, bought_quote = volumes_of(instrument, decimal("V", k.V), decimal("Q", k.Q))
    prices = decimal("o", k.o), decimal("h", k.h), decimal("l", k.l), decimal("c", k.c)
    span, taken = (k.t * NS, (k.T + 1) * NS), (bought, bought_quote)
    return instrument.candle(
        ts_event, ts_recv, interval, span, prices, volumes, trades=k.n, bought=taken, closed=closed
    )


def mark_price(event: wire.MarkPrice | wire.Premium, instrument: Instrument, ts_recv: int) -> FundingRate | Ticker:
    """The mark price of a perpetual with the rate that is paid at `T`; of a dated future, which pays none, alone.

        {"e": "markPriceUpdate", "E": 1700000000005, "s": "ABCUSDT", "p": "1.23", "i": "1.22", "P": "1.21",
         "r": "0.0001", "T": 1700006400000}

        GET /fapi/v1/premiumIndex?symbol=ABCUSDT
        {"symbol": "ABCUSDT", "markPrice": "1.23", "indexPrice": "1.22", "estimatedSettlePrice": "1.21",
         "lastFundingRate": "0.0001", "nextFundingTime": 1700006400000, "time": 1700000000000}

    https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Mark-Price-Stream
    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Mark-Price
    """
    head = head_of(instrument, event.E, ts_recv)
    mark, index_price = decimal("mark price", event.p), decimal_or_none("index price", event.i)
    if instrument.dated:
        settlement = decimal_or_none("settlement price", event.P)
        return Ticker(*head, mark_price=mark, index_price=index_price, settlement_price=settlement)
    due = decimal("funding rate", event.r or "")
    if event.T is None:
        raise ValueError("a funding rate that does not say when it is paid")
    return FundingRate(*head, due, event.T * NS or None, mark_price=mark, index_price=index_price)


def force_order(event: wire.ForceOrder, instrument: Instrument, ts_recv: int) -> Liquidation:
    """The latest forced order within a second: `ap` is what it was filled at so far, `z` how much of it.

        {"e": "forceOrder", "E": 1700000000005, "o": {"s": "ABCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC",
         "q": "4.5", "p": "1.1", "ap": "1.2", "X": "FILLED", "l": "4.5", "z": "4.5", "T": 1700000000003}}

    https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Liquidation-Order-Streams
    """
    o = event.o
    size, contracts = instrument.sizes(decimal("z", o.z), decimal("ap", o.ap))
    return Liquidation(*head_of(instrument, o.T, ts_recv), _SIDES[o.S], o.ap, size, contracts)


def option_trade(event: wire.OptionTrade, instrument: Instrument, ts_recv: int) -> Trade:
    """One trade of an option, sizes in contracts; `S` is the side of the taker.

        {"e": "trade", "E": 1700000000005, "s": "ABC-300101-50-C", "t": 12, "p": "1.5", "q": "0.10",
         "T": 1700000000003, "S": "BUY", "m": false}

    https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams/Trade-Streams
    """
    size, contracts = instrument.sizes(decimal("q", event.q), decimal("p", event.p))
    return Trade(*head_of(instrument, event.T, ts_recv), str(event.t), event.p, size, contracts, _SIDES[event.S])


def option_ticker(event: wire.OptionTicker, instrument: Instrument, ts_recv: int) -> Ticker:
    """The last 24 hours of an option; `V` counts contracts.

        {"e": "24hrTicker", "E": 1700000000005, "s": "ABC-300101-50-C", "o": "1", "h": "2", "l": "1", "c": "2",
         "P": "1", "V": "3", "A": "5", "Q": "1", "n": 2, "bo": "1.9", "bq": "4", "ao": "2.1", "aq": "5",
         "b": "0.38", "a": "0.47", "vo": "0.42", "mp": "2", "d": "0.34", "g": "0.00003", "v": "99.3", "t": "-5.8"}

    https://developers.binance.com/docs/derivatives/option/websocket-market-streams/24-hour-TICKER
    """
    volume, contracts = instrument.sizes(decimal("V", event.V), decimal("c", event.c))
    return Ticker(
        *head_of(instrument, event.E, ts_recv),
        bid=decimal("bo", event.bo),
        bid_size=decimal("bq", event.bq),
        ask=decimal("ao", event.ao),
        ask_size=decimal("aq", event.aq),
        unit=instrument.unit,
        last=event.c,
        last_size=decimal("Q", event.Q),
        open=decimal("o", event.o),
        high=decimal("h", event.h),
        low=decimal("l", event.l),
        volume=volume,
        contracts=contracts,
        quote_volume=decimal("A", event.A),
        trades=event.n,
        mark_price=decimal("mp", event.mp),
        bid_iv=_percent("b", event.b),
        ask_iv=_percent("a", event.a),
        mark_iv=_percent("vo", event.vo),
        delta=decimal_or_none("d", event.d),
        gamma=decimal_or_none("g", event.g),
        vega=decimal_or_none("v", event.v),
        theta=decimal_or_none("t", event.t),
        price_change=decimal_or_none("P", event.P),
    )


def option_mark(event: wire.OptionMark, instrument: Instrument, ts_recv: int) -> Ticker:
    """The mark price of an option; the feed of since 2025-12 has best prices, volatilities and greeks with it.

        {"e": "markPrice", "E": 1700000000005, "s": "ABC-300101-50-C", "mp": "2", "i": "51.5", "bo": "1.9",
         "bq": "4", "ao": "2.1", "aq": "5", "b": "0.38", "a": "0.47", "vo": "0.42", "d": "0.34", "g": "0.00003",
         "v": "99.3", "t": "-5.8"}

    https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams/Mark-Price
    """
    return Ticker(
        *head_of(instrument, event.E, ts_recv),
        bid=decimal_or_none("bo", event.bo),
        bid_size=decimal_or_none("bq", event.bq),
        ask=decimal_or_none("ao", event.ao),
        ask_size=decimal_or_none("aq", event.aq),
        unit=instrument.unit,
        mark_price=decimal("mp", event.mp),
        index_price=decimal_or_none("i", event.i),
        bid_iv=_percent("b", event.b),
        ask_iv=_percent("a", event.a),
        mark_iv=_percent("vo", event.vo),
        delta=decimal_or_none("d", event.d),
        gamma=decimal_or_none("g", event.g),
        vega=decimal_or_none("v", event.v),
        theta=decimal_or_none("t", event.t),
    )


def option_interest(event: wire.OptionInterest, instrument: Instrument, ts_recv: int) -> OpenInterest:
    """What is open of an option: `o` contracts, worth `h` in the quote currency.

        {"e": "openInterest", "E": 1700000000005, "s": "ABC-300101-50-C", "o": "3", "h": "150"}

    https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams/Open-Interest
    """
    size, contracts = instrument.sizes(decimal("o", event.o), "1")
    return OpenInterest(*head_of(instrument, event.E, ts_recv), contracts, size, decimal("h", event.h))


def _percent(what: str, share: str | None) -> str | None:
    """A volatility in percent; below 0 it is none."""
    if not share or decimal(what, share).startswith("-"):
        return None
    return plain(EXACT.multiply(Decimal(share), Decimal(100)))
