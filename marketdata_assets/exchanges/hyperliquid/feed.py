"""The session of Hyperliquid's socket, without the socket: bytes in, outcomes out. Live and replay use the same.

One connection carries perpetuals and spot pairs; the type of a record is that of its instrument.
"""

import re
from collections.abc import Callable, Mapping

from marketdata_assets.exchanges.channel_feed import ChannelFeed
from marketdata_assets.exchanges.hyperliquid import book, parse, wire
from marketdata_assets.exchanges.hyperliquid.book import BookStream
from marketdata_assets.exchanges.hyperliquid.instruments import COLLATERAL, named, pairs, perpetuals
from marketdata_assets.exchanges.hyperliquid.wire import FAST, STREAM, VENUE
from marketdata_assets.exchanges.instruments import Listing
from marketdata_assets.exchanges.records import Control, ControlKind, Outcome
from marketdata_assets.exchanges.wire import Find, field

GREETING = b"Websocket connection established."
Parse = Callable[[bytes, int, Find], list[Outcome]]

CHANNELS: dict[str, Parse] = {
    "trades": parse.trades,
    "bbo": parse.best_prices,
    "candle": parse.candles,
    "activeAssetCtx": parse.perp_state,
    "activeSpotAssetCtx": parse.spot_state,
}
NO_RECORD = ("allMids", "allDexsAssetCtxs", "spotAssetCtxs", "outcomeMetaUpdates", "notification")
CONTROLS: dict[str, ControlKind] = dict.fromkeys(NO_RECORD, "ignored")
ANSWERS: dict[str, Callable[[bytes], list[Outcome]]] = {
    "subscriptionResponse": wire.confirmation,
    "error": wire.complaint,
    "pong": lambda _: [Control("pong")],
    "greeting": lambda _: [Control("notice", GREETING.decode())],
}
REQUESTS: dict[str, Parse] = {
    "candleSnapshot": parse.past_candles,
    "fundingHistory": parse.paid_rates,
    "recentTrades": parse.recent_trades,
    "l2Book": book.polled_book,
}
LISTS: dict[str, Callable[[bytes, dict[int, str], int], Listing]] = {"meta": perpetuals, "spotMeta": pairs}
_COIN = field("coin")
_FAST = re.compile(rb'"fast"\s*:\s*true|"channel"\s*:\s*"fastBook"')


def is_fast(raw: bytes) -> bool:
    """Whether a message of a book is of the fast one."""
    return b"fast" in raw and _FAST.search(raw) is not None


def _coin(raw: bytes) -> list[bytes]:
    """The one coin of a message, which is far from its end."""
    found = _COIN.search(raw)
    return [found[1]] if found else []


class HyperliquidFeed(ChannelFeed):
    """Both markets of Hyperliquid.

    `books` has one state for each coin, by `l2Book:coin`, and one for its fast book, by `fastBook:coin`.
    """

    venue, book_type, book_channels = VENUE, BookStream, (STREAM, FAST)
    channels, controls = CHANNELS, CONTROLS
    books: dict[str, BookStream]  # type: ignore[assignment]  # of book_type
    _named, _decode_book, _names = staticmethod(named), staticmethod(book.decode), staticmethod(_coin)
    _end, _book_word = b',"data"', b'Book"'  # what follows the channel
    _answers = ANSWERS

    def prepare(self) -> None:
        super().prepare()
        self._tokens = {0: COLLATERAL}  # names by number

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        """The address has the parameters of the request, which has them in its body."""
        if refused := wire.refusal(raw):
            return [refused]
        request, find = query.get("type", ""), self.instruments.__getitem__
        if request in LISTS:
            return self._learned(LISTS[request](raw, self._tokens, ts_recv))
        return REQUESTS[request](raw, ts_recv, find) if request in REQUESTS else [Control("ignored", request)]

    def _stream_of(self, raw: bytes) -> str:
        return "greeting" if raw == GREETING else wire.envelope(raw).channel

    def _book_stream(self, raw: bytes) -> str:
        return FAST if is_fast(raw) else STREAM
