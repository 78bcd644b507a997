"""The fast way for changes of a book: levels are read twice, as texts and as numbers.

That costs less than making numbers of texts one by one. A message whose levels are unusual is read once, as texts.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from marketdata_assets.exchanges.binance import wire
from marketdata_assets.exchanges.binance.chain import Diff
from marketdata_assets.exchanges.binance.facts import NS
from marketdata_assets.exchanges.binance.shapes import Wrapped
from marketdata_assets.exchanges.books import BothNumbers
from marketdata_assets.exchanges.records import MarketType

Reader = Callable[[bytes, int], tuple[str, Diff]]
"""The instrument and the diff of a message received at a time."""


def spot(event: wire.SpotDepth, ts_recv: int, numbers: BothNumbers | None = None) -> Diff:
    """What changed in a book.

        {"e": "depthUpdate", "E": 1700000000005, "s": "ABCUSDT", "U": 157, "u": 160,
         "b": [["1.2300", "4.5"]], "a": [["1.2400", "0"]]}

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#diff-depth-stream
    """
    return Diff(event.U, event.u, None, event.b, event.a, event.E * NS, ts_recv, numbers)


def futures(event: wire.FuturesDepth, ts_recv: int, numbers: BothNumbers | None = None) -> Diff:
    """What changed in a book, with the update that the message before it ended with.

        {"e": "depthUpdate", "E": 1700000000005, "T": 1700000000003, "s": "ABCUSDT", "U": 157, "u": 160, "pu": 149,
         "b": [["1.2300", "4.5"]], "a": [["1.2400", "0"]]}

    https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Diff-Book-Depth-Streams
    """
    return Diff(event.U, event.u, event.pu, event.b, event.a, event.T * NS, ts_recv, numbers)


def reader(market_type: MarketType, *, wrapped: bool) -> Reader:
    """What reads diffs of a market, bare or of a combined stream. It raises msgspec's errors."""
    quick, general = (
        (wire.QuickSpotDepth, wire.SpotDepth) if market_type == "spot" else (wire.QuickFuturesDepth, wire.FuturesDepth)
    )
    make: Callable[..., Diff] = spot if market_type == "spot" else futures
    texts, long_way = _decoder(quick, wrapped), _decoder(general, wrapped)
    floats = _decoder(wire.DepthNumbers, wrapped, strict=False)

    def read(raw: bytes, ts_recv: int) -> tuple[str, Diff]:
        try:
            event, levels = texts(raw), floats(raw)
        except msgspec.ValidationError:
            told = long_way(raw)
            event = told.data if wrapped else told
            return event.s, make(event, ts_recv)
        if wrapped:
            event, levels = event.data, levels.data
        return event.s, make(event, ts_recv, (levels.b, levels.a))

    return read


def _decoder(kind: Any, wrapped: bool, *, strict: bool = True) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(Wrapped[kind] if wrapped else kind, strict=strict).decode
