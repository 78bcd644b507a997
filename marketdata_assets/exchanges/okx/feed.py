"""The session of OKX's public sockets, without the sockets: bytes in, outcomes out. Live and replay use the same.

One connection carries markets of all types; the type of a record is that of its instrument.
"""

from collections.abc import Callable, Mapping

from marketdata_assets.exchanges.books import RoutedFeed, ignored
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Listing
from marketdata_assets.exchanges.okx import book, parse, wire
from marketdata_assets.exchanges.okx.book import BookStream
from marketdata_assets.exchanges.okx.history import API
from marketdata_assets.exchanges.okx.instruments import families, instruments, named
from marketdata_assets.exchanges.okx.wire import VENUE, Arg, envelope
from marketdata_assets.exchanges.records import Control, Outcome, Parser
from marketdata_assets.exchanges.wire import Find, decoded

ByFind = Callable[[Find], Parser]

OF_ONE = {
    "trades": parse.trades,
    "trades-all": parse.trades,
    "liquidations": parse.polled_liquidations,
    "bbo-tbt": parse.best_prices,
}
"""Channels whose elements do not say the instrument again, or need not."""

OF_MANY: dict[str, ByFind] = {
    "option-trades": parse.option_trades,
    "liquidation-orders": parse.liquidations,
    "tickers": parse.tickers,
    "mark-price": parse.mark_prices,
    "index-tickers": parse.index_tickers,
    "opt-summary": parse.option_summaries,
    "funding-rate": parse.funding_rates,
    "open-interest": parse.open_interest,
}

NO_RECORD = {
    *("adl-warning", "block-tickers", "economic-calendar", "estimated-price", "price-limit"),
    *("public-block-trades", "public-struc-block-trades", "status"),
}
NO_RECORD_PREFIXES = ("sprd-", "mark-price-candle", "index-candle", "books-elp-", "books-rpi-")
"""Spreads of two instruments are not supported; candles of mark and index prices have no volume; books with
retail orders are `books-elp` and `books-rpi`."""

BOOKS = book.CHANGES | book.WHOLE

PATHS_OF_ONE = {
    "market/books": book.polled_books,
    "market/books-full": book.polled_books,
    "market/trades": parse.trades,
    "market/history-trades": parse.trades,
    "rubik/stat/contracts/open-interest-history": parse.past_open_interest,
}
PATHS_OF_MANY: dict[str, ByFind] = {
    "market/ticker": parse.tickers,
    "market/tickers": parse.tickers,
    "public/mark-price": parse.mark_prices,
    "public/opt-summary": parse.option_summaries,
    "public/funding-rate": parse.funding_rates,
    "public/funding-rate-history": parse.paid_rates,
    "public/open-interest": parse.open_interest,
}


class OkxFeed(RoutedFeed):
    """All of OKX's markets.

    `books` has one state for each book channel of an instrument, by `channel:instrument`.
    """

    venue = VENUE
    book_type = BookStream
    books: dict[str, BookStream]  # type: ignore[assignment]  # of book_type
    _named = staticmethod(named)
    _end = b"}"  # of `arg`

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        if refusal := wire.refusal(raw):
            return [refusal]
        path = path.rpartition(API)[2]
        if path == "public/instruments":
            return self._listing(raw, ts_recv, 0)
        if path == "public/underlying":
            families(raw)
            return self._learned(Listing([], []))
        return of_path(path, query, self.instruments.__getitem__)(raw, ts_recv, 0)

    def _stream_of(self, raw: bytes) -> str:
        if raw in wire.BARE:
            return raw.decode()
        head = envelope(raw)
        if head.event is not None:
            return f"event:{head.event}"
        return head.arg.channel if head.arg else "unknown"

    def _route(self, raw: bytes) -> Parser:
        """Remembered if the bytes up to the end of `arg` say all of it."""
        if raw in wire.BARE:
            return lambda _raw, _ts_recv, _connection: [Control(wire.BARE[raw])]
        head = envelope(raw)
        if head.event is not None:
            return self._event
        if head.arg is None:
            raise BadMessage(VENUE, "a message without arg and without event")
        arg = head.arg
        if arg.channel == "instruments":
            parser: Parser = self._listing
        elif arg.channel not in BOOKS:
            parser = of_channel(arg, self.instruments.__getitem__)
        else:
            parser = self._book(arg)
        begin = raw.partition(self._end)[0]
        again = decoded(envelope, begin + b"}}") if begin.startswith(b'{"arg":{') else None
        if again and again.arg == arg:
            self._remember(raw, parser)
        return parser

    def _book(self, arg: Arg) -> Parser:
        key = f"{arg.channel}:{arg.inst_id}"
        self.state_of(key, self.instruments[arg.inst_id], arg.channel)
        return self._book_parser(key, self.books[key].push)

    def _event(self, raw: bytes, _ts_recv: int, connection: int) -> list[Outcome]:
        outcome, arg = wire.control_event(raw)
        if arg and isinstance(outcome, Control) and outcome.detail.startswith(wire.UNSUBSCRIBED):
            state = self.books.get(f"{arg.channel}:{arg.inst_id}")
            if state and state.connection == connection and state.status == "live":
                state.status = "waiting"
        return [outcome]

    def _listing(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """A list of instruments, or what changed in it; the same over the socket and over REST."""
        return self._learned(instruments(raw, ts_recv))


def of_channel(arg: Arg, find: Find) -> Parser:
    """The parser of a subscription, books excepted. Raises BadMessage for a channel that nobody documented."""
    channel = arg.channel
    if channel in OF_ONE:
        return OF_ONE[channel](find(arg.inst_id))
    if channel in OF_MANY:
        return OF_MANY[channel](find)
    if channel.startswith("candle") and (bar := parse.bar_of(channel.removeprefix("candle"))):
        return parse.candles(find(arg.inst_id), bar)
    if channel in NO_RECORD or channel.startswith(NO_RECORD_PREFIXES):
        return ignored(str(arg))
    raise BadMessage(VENUE, f"channel {channel[:40]!r} is not known")


def of_path(path: str, query: Mapping[str, str], find: Find) -> Parser:
    """The parser of a REST response, instrument lists excepted; `path` is what follows /api/v5/."""
    if path in PATHS_OF_MANY:
        return PATHS_OF_MANY[path](find)
    if path in PATHS_OF_ONE:
        return PATHS_OF_ONE[path](find(query.get("instId", "")))
    if path in ("market/candles", "market/history-candles"):
        bar = parse.bar_of(query.get("bar", "1m"))
        if bar is None:
            raise BadMessage(VENUE, f"unknown candle interval {query['bar'][:40]!r}")
        return parse.candles(find(query.get("instId", "")), bar)
    return ignored(path)
