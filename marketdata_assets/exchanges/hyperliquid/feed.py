"""The session of Hyperliquid's socket, without the socket: bytes in, outcomes out. Live and replay use the same.

One connection carries perpetuals and spot pairs; the type of a record is that of its instrument.
"""

from collections.abc import Callable, Mapping

from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage
from marketdata_assets.exchanges.hyperliquid import book, parse, wire
from marketdata_assets.exchanges.hyperliquid.book import BookStream
from marketdata_assets.exchanges.hyperliquid.instruments import COLLATERAL, named, pairs, perpetuals
from marketdata_assets.exchanges.hyperliquid.wire import FAST, STREAM, VENUE
from marketdata_assets.exchanges.instruments import Instrument, Listing
from marketdata_assets.exchanges.records import Control, DeadLetter, Outcome
from marketdata_assets.exchanges.wire import Find

BEGIN = b'{"channel":"'
GREETING = b"Websocket connection established."

Parse = Callable[[bytes, int, Find], list[Outcome]]

CHANNELS: dict[str, Parse] = {
    "trades": parse.trades,
    "bbo": parse.best_prices,
    "candle": parse.candles,
    "activeAssetCtx": parse.perp_state,
    "activeSpotAssetCtx": parse.spot_state,
}
NO_RECORD = frozenset({"allMids", "allDexsAssetCtxs", "spotAssetCtxs", "outcomeMetaUpdates", "notification"})

REQUESTS: dict[str, Parse] = {
    "candleSnapshot": parse.past_candles,
    "fundingHistory": parse.paid_rates,
    "recentTrades": parse.recent_trades,
    "l2Book": book.polled_book,
}
LISTS: dict[str, Callable[[bytes, dict[int, str]], list[Instrument]]] = {"meta": perpetuals, "spotMeta": pairs}


class HyperliquidFeed(Feed):
    """Both markets of Hyperliquid.

    `books` has one state for each coin, by `l2Book:coin`, and one for its fast book, by `fastBook:coin`.
    """

    venue = VENUE
    book_type = BookStream
    _named = staticmethod(named)
    books: dict[str, BookStream]  # type: ignore[assignment]  # of book_type

    def prepare(self) -> None:
        self._find = self.instruments.__getitem__
        self._tokens = {0: COLLATERAL}  # names by number

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number."""
        try:
            channel = channel_of(raw)
            parser = CHANNELS.get(channel)
            if parser:
                return parser(raw, ts_recv, self._find)
            if channel in (STREAM, FAST):
                return self._book(channel, raw, ts_recv, connection)
            return _control(channel, raw)
        except UNREADABLE as error:
            return [DeadLetter.of(raw, error, ts_recv)]

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        """The address has the parameters of the request, which has them in its body."""
        if refused := wire.refusal(raw):
            return [refused]
        request = query.get("type", "")
        if request in LISTS:
            return self._learned(Listing(LISTS[request](raw, self._tokens), []))
        return REQUESTS[request](raw, ts_recv, self._find) if request in REQUESTS else [Control("ignored", request)]

    def _stream_of(self, raw: bytes) -> str:
        return channel_of(raw) or "greeting"

    def _book(self, channel: str, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        try:
            message = book.decode(raw).data
            name = FAST if message.fast else channel
            key = f"{name}:{message.coin}"
            if not self._keep_books:
                return [Control("ignored", key)]
            if key not in self.books:
                self.state_of(key, self._find(message.coin), name)
            state = self.books[key]
            outcomes = state.push(message, ts_recv, connection)
            live = state.status == "live" and not self.resync_requests
            return outcomes if live else self._settled(key, outcomes, ts_recv)
        except UNREADABLE as error:
            coin = raw.partition(b'"coin":"')[2].partition(b'"')[0].decode("utf-8", "replace")  # as far as it is there
            letter, key = DeadLetter.of(raw, error, ts_recv), f"{channel}:{coin}"
            if key not in self.books or self.books[key].status != "live":
                return [letter]
            return self._settled(key, [letter, *self.books[key].broken("sequence", None, ts_recv)], ts_recv)


def channel_of(raw: bytes) -> str:
    """The channel of a message; empty for the greeting. Raises what a decoder raises."""
    if raw.startswith(BEGIN):
        return raw[len(BEGIN) : raw.index(b'"', len(BEGIN))].decode()
    return "" if raw == GREETING else wire.envelope(raw).channel


def _control(channel: str, raw: bytes) -> list[Outcome]:
    match channel:
        case "subscriptionResponse":
            return wire.confirmation(raw)
        case "error":
            return wire.complaint(raw)
        case "pong":
            wire.envelope(raw)
            return [Control("pong")]
        case "":
            return [Control("notice", GREETING.decode())]
    if channel in NO_RECORD:
        wire.envelope(raw)
        return [Control("ignored", channel)]
    raise BadMessage(VENUE, f"channel {channel[:40]!r} is not known")
