"""Which bytes are which event of a market, and which parser takes it.

An event comes bare, `{"e": "trade", ...}`, or within a combined stream,
`{"stream": "abcusdt@trade", "data": {"e": "trade", ...}}`, or a list of them instead of one.
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

import re
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from marketdata_assets.exchanges.binance import parse, wire
from marketdata_assets.exchanges.binance.book import Diff
from marketdata_assets.exchanges.binance.instruments import NS
from marketdata_assets.exchanges.binance.rest import Failure
from marketdata_assets.exchanges.books import BothNumbers
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, Control, MarketType

Parser = Callable[[Any, Instrument, int], AnyRecord | Control]
T = TypeVar("T")

IGNORED = {
    *("indexPriceUpdate", "index", "compositeIndex", "assetIndexUpdate", "contractInfo", "avgPrice"),
    *("continuous_kline", "indexPrice_kline", "markPrice_kline", "ticker_all", "referencePrice"),
    *("1hTicker", "4hTicker", "1dTicker", "optionPair", "OPTION_PAIR", "tradingSession", "rpiDepthUpdate"),
    "blockTrade",
}
"""Events that are documented, and that no record is made of. Block trades of spot have numbers of their own, which say
nothing of holes in those of trades."""

OF_FUTURES = frozenset({"st", "ps", "pu"})
"""Fields that spot does not have. `st` is 1 on USD-M and 2 on COIN-M since 2026-06-30, and `ps` on both."""

OF_SPOT = frozenset({"M"})
"""Fields that futures do not have."""

_FEW_LEVELS = re.compile(r"@depth[0-9]")


class EventType(NamedTuple):
    """How an event is read. Without a parser it does something to the feed."""

    bare: Callable[[bytes], Any]
    wrapped: Callable[[bytes], Any]
    parser: Parser | None


class Envelope(Struct, frozen=True):
    """The fields that identify a message whose beginning is not known yet."""

    e: str | None = None
    stream: str | None = None
    data: Raw = Raw()
    id: int | str | None = None
    error: Failure | None = None
    code: int | None = None
    msg: str = ""
    u: int | None = None  # of spot's best prices, which do not say what they are
    lastUpdateId: int | None = None  # noqa: N815
    openInterest: str | None = None  # noqa: N815


class Wrapped(Struct, Generic[T], frozen=True, gc=False):
    """An event of a combined stream."""

    data: T


decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_list = msgspec.json.Decoder(list[Raw]).decode


def event_types(market_type: MarketType) -> dict[str, EventType]:
    """The events of a market by their names; spot's best prices by none."""
    kinds: dict[str, tuple[type, Parser | None]] = {
        "aggTrade": (wire.AggTrade, parse.agg_trade),
        "24hrMiniTicker": (wire.MiniTicker, parse.ticker),
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
            "trade": (wire.OptionTrade, parse.option_trade),
            "depth": (wire.OptionDepth, None),
            "depthUpdate": (wire.OptionDepth, None),
            "bookTicker": (wire.BookTicker, None),
            "24hrTicker": (wire.OptionTicker, parse.option_ticker),
            "markPrice": (wire.OptionMark, parse.option_mark),
            "openInterest": (wire.OptionInterest, parse.option_interest),
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
    return {name: _event_type(kind, parser) for name, (kind, parser) in kinds.items()}


def is_partial_depth(stream: str) -> bool:
    """Whether a stream has the best levels of a book and not what changed in it."""
    return _FEW_LEVELS.search(stream) is not None


def _event_type(kind: type, parser: Parser | None) -> EventType:
    wrapped = _decoder(kind, True)
    return EventType(_decoder(kind, False), lambda raw: wrapped(raw).data, parser)


Reader = Callable[[bytes, int], tuple[str, Diff]]  # the instrument and the diff of a message received at a time


def spot_diff(event: wire.SpotDepth, ts_recv: int, numbers: BothNumbers | None = None) -> Diff:
    """What changed in a book.

        {"e": "depthUpdate", "E": 1700000000005, "s": "ABCUSDT", "U": 157, "u": 160,
         "b": [["1.2300", "4.5"]], "a": [["1.2400", "0"]]}

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#diff-depth-stream
    """
    return Diff(event.U, event.u, None, event.b, event.a, event.E * NS, ts_recv, numbers)


def futures_diff(event: wire.FuturesDepth, ts_recv: int, numbers: BothNumbers | None = None) -> Diff:
    """What changed in a book, with the update that the message before it ended with.

        {"e": "depthUpdate", "E": 1700000000005, "T": 1700000000003, "s": "ABCUSDT", "U": 157, "u": 160, "pu": 149,
         "b": [["1.2300", "4.5"]], "a": [["1.2400", "0"]]}

    https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Diff-Book-Depth-Streams
    """
    return Diff(event.U, event.u, event.pu, event.b, event.a, event.T * NS, ts_recv, numbers)


def diff_reader(market_type: MarketType, *, wrapped: bool) -> Reader:
    """What reads diffs of a market, bare or of a combined stream. It raises msgspec's errors."""
    quick, general = (
        (wire.QuickSpotDepth, wire.SpotDepth) if market_type == "spot" else (wire.QuickFuturesDepth, wire.FuturesDepth)
    )
    make: Callable[..., Diff] = spot_diff if market_type == "spot" else futures_diff
    texts, long_way = _decoder(quick, wrapped), _decoder(general, wrapped)
    floats = _decoder(wire.DepthNumbers, wrapped, strict=False)

    def read(raw: bytes, ts_recv: int) -> tuple[str, Diff]:
        try:
            event, levels = texts(raw), floats(raw)
        except msgspec.ValidationError:
            general_event = long_way(raw)
            event = general_event.data if wrapped else general_event
            return event.s, make(event, ts_recv)
        if wrapped:
            event, levels = event.data, levels.data
        return event.s, make(event, ts_recv, (levels.b, levels.a))

    return read


def _decoder(kind: Any, wrapped: bool, *, strict: bool = True) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(Wrapped[kind] if wrapped else kind, strict=strict).decode
