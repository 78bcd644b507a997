"""Binance's events of options as records, as `parse` does for the other markets."""

from decimal import Decimal

from marketdata_assets.exchanges.binance import wire
from marketdata_assets.exchanges.binance.facts import Facts
from marketdata_assets.exchanges.binance.parse import side_of
from marketdata_assets.exchanges.instruments import EXACT, plain
from marketdata_assets.exchanges.numbers import decimal, decimal_or_none
from marketdata_assets.exchanges.records import OpenInterest, Side, Ticker, Trade

_TAKER: dict[str, Side] = {"BUY": "buy", "SELL": "sell", "1": "buy", "-1": "sell"}


def trade(event: wire.OptionTrade, one: Facts, ts_recv: int) -> Trade:
    """One trade of an option, sizes in contracts; `S` is the side of the taker.

        {"e": "trade", "E": 1700000000005, "s": "ABC-300101-50-C", "t": 12, "p": "1.5", "q": "0.10",
         "T": 1700000000003, "S": "BUY", "m": false}

    https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams/Trade-Streams
    """
    size, contracts = one.sizes(decimal("q", event.q), decimal("p", event.p))
    side = side_of("S", _TAKER, event.S)
    return Trade(*one.begin(event.T, ts_recv), str(event.t), event.p, size, contracts, side)


def ticker(event: wire.OptionTicker, one: Facts, ts_recv: int) -> Ticker:
    """The last 24 hours of an option; `V` counts contracts.

        {"e": "24hrTicker", "E": 1700000000005, "s": "ABC-300101-50-C", "o": "1", "h": "2", "l": "1", "c": "2",
         "V": "3", "A": "5", "Q": "1", "n": 2, "bo": "1.9", "bq": "4", "ao": "2.1", "aq": "5",
         "b": "0.38", "a": "0.47", "vo": "0.42", "mp": "2"}

    https://developers.binance.com/docs/derivatives/option/websocket-market-streams/24-hour-TICKER
    """
    volume, contracts = one.sizes(decimal("V", event.V), decimal("c", event.c))
    return Ticker(
        *one.begin(event.E, ts_recv),
        bid=decimal("bo", event.bo),
        bid_size=decimal("bq", event.bq),
        ask=decimal("ao", event.ao),
        ask_size=decimal("aq", event.aq),
        unit=one.one.unit,
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
    )


def mark(event: wire.OptionMark, one: Facts, ts_recv: int) -> Ticker:
    """The mark price of an option; the feed of since 2025-12 has best prices and volatilities with it.

        {"e": "markPrice", "E": 1700000000005, "s": "ABC-300101-50-C", "mp": "2", "i": "51.5", "bo": "1.9",
         "bq": "4", "ao": "2.1", "aq": "5", "b": "0.38", "a": "0.47", "vo": "0.42"}

    https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams/Mark-Price
    """
    return Ticker(
        *one.begin(event.E, ts_recv),
        bid=decimal_or_none("bo", event.bo),
        bid_size=decimal_or_none("bq", event.bq),
        ask=decimal_or_none("ao", event.ao),
        ask_size=decimal_or_none("aq", event.aq),
        unit=one.one.unit,
        mark_price=decimal("mp", event.mp),
        index_price=decimal_or_none("i", event.i),
        bid_iv=_percent("b", event.b),
        ask_iv=_percent("a", event.a),
        mark_iv=_percent("vo", event.vo),
    )


def interest(event: wire.OptionInterest, one: Facts, ts_recv: int) -> OpenInterest:
    """What is open of an option: `o` contracts, worth `h` in the quote currency.

        {"e": "openInterest", "E": 1700000000005, "s": "ABC-300101-50-C", "o": "3", "h": "150"}

    https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams/Open-Interest
    """
    size, contracts = one.sizes(decimal("o", event.o), "1")
    return OpenInterest(*one.begin(event.E, ts_recv), contracts, size, decimal("h", event.h))


def _percent(what: str, share: str | None) -> str | None:
    """A volatility in percent; below 0 it is none."""
    if not share or decimal(what, share).startswith("-"):
        return None
    return plain(EXACT.multiply(Decimal(share), Decimal(100)))
