"""Which bytes are which event of a market, and which parser takes it.

An event comes bare, `{"e": "trade", ...}`, or within a combined stream,
`{"stream": "abcusdt@trade", "data": {"e": "trade", ...}}`, or several of them as a list in the place of one.
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

import re
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from marketdata_assets.exchanges.binance import options, parse, wire
from marketdata_assets.exchanges.binance.facts import Facts
from marketdata_assets.exchanges.outcomes import Control
from marketdata_assets.exchanges.records import AnyRecord, MarketType

Parser = Callable[[Any, Facts, int], AnyRecord | Control]
T = TypeVar("T")

IGNORED = frozenset(
    (
        *("indexPriceUpdate", "index", "compositeIndex", "assetIndexUpdate", "contractInfo", "avgPrice"),
        *("continuous_kline", "indexPrice_kline", "markPrice_kline", "ticker_all", "referencePrice"),
        *("1hTicker", "4hTicker", "1dTicker", "optionPair", "OPTION_PAIR", "tradingSession", "rpiDepthUpdate"),
    )
)
"""Events that are documented, and that no record is made of."""

_FEW_LEVELS = re.compile(r"@depth[0-9]")


class Shape(NamedTuple):
    """How an event is read. Without a parser it does something to the feed."""

    bare: Callable[[bytes], Any]
    wrapped: Callable[[bytes], Any]
    parser: Parser | None


class Said(Struct, frozen=True):
    """What is wrong, in a control message."""

    code: int
    msg: str


class Look(Struct, frozen=True):
    """What tells messages apart that are no event we know at sight."""

    e: str | None = None
    stream: str | None = None
    data: Raw = Raw()
    id: int | str | None = None
    error: Said | None = None
    code: int | None = None
    msg: str = ""
    u: int | None = None  # of spot's best prices, which do not say what they are
    lastUpdateId: int | None = None  # noqa: N815
    openInterest: str | None = None  # noqa: N815


class Wrapped(Struct, Generic[T], frozen=True, gc=False):
    """An event of a combined stream."""

    data: T


look = msgspec.json.Decoder(Look).decode
several = msgspec.json.Decoder(list[Raw]).decode


def shapes(market_type: MarketType) -> dict[str, Shape]:
    """The events of a market by their names; spot's best prices by none."""
    kinds: dict[str, tuple[type, Parser | None]] = {
        "aggTrade": (wire.AggTrade, parse.agg_trade),
        "24hrMiniTicker": (wire.MiniTicker, parse.mini_ticker),
        "kline": (wire.Kline, parse.kline),
    }
    if market_type == "spot":
        kinds |= {
            "trade": (wire.Trade, parse.trade),
            "depthUpdate": (wire.SpotDepth, None),
            "": (wire.SpotBookTicker, None),
            "24hrTicker": (wire.SpotTicker, parse.ticker),
        }
    elif market_type == "option":
        kinds |= {
            "trade": (wire.OptionTrade, options.trade),
            "depth": (wire.OptionDepth, None),
            "depthUpdate": (wire.OptionDepth, None),
            "bookTicker": (wire.BookTicker, None),
            "24hrTicker": (wire.OptionTicker, options.ticker),
            "markPrice": (wire.OptionMark, options.mark),
            "openInterest": (wire.OptionInterest, options.interest),
        }
    else:
        kinds |= {
            "trade": (wire.FuturesTrade, parse.futures_trade),
            "depthUpdate": (wire.FuturesDepth, None),
            "bookTicker": (wire.BookTicker, None),
            "24hrTicker": (wire.FuturesTicker, parse.ticker),
            "markPriceUpdate": (wire.MarkPrice, parse.mark_price),
            "forceOrder": (wire.ForceOrder, parse.force_order),
        }
    return {name: _shape(kind, parser) for name, (kind, parser) in kinds.items()}


def few_levels(stream: str) -> bool:
    """Whether a stream has the best levels of a book and not what changed in it."""
    return _FEW_LEVELS.search(stream) is not None


def symbol_of(stream: str) -> str:
    """The instrument that a stream is named for."""
    return stream.partition("@")[0].upper()


def _shape(kind: type, parser: Parser | None) -> Shape:
    return Shape(msgspec.json.Decoder(kind).decode, _wrapped(kind), parser)


def _wrapped(kind: type) -> Callable[[bytes], Any]:
    decode = msgspec.json.Decoder(Wrapped[kind]).decode  # type: ignore[valid-type]
    return lambda raw: decode(raw).data
