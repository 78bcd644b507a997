"""The session of one of Bybit's markets, without the sockets: bytes in, outcomes out. Live and replay use the same."""

from collections.abc import Mapping

from marketdata_assets.exchanges.books import ResyncRequest, RoutedFeed, ignored
from marketdata_assets.exchanges.bybit import parse, wire
from marketdata_assets.exchanges.bybit.book import BookStream
from marketdata_assets.exchanges.bybit.history import TOO_MANY, error_of
from marketdata_assets.exchanges.bybit.instruments import decode_listed, instruments, named
from marketdata_assets.exchanges.bybit.parse import TickerStream
from marketdata_assets.exchanges.bybit.wire import VENUE, envelope
from marketdata_assets.exchanges.checkpoints import FeedCheckpoint, StateCheckpoint
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Control, DeadLetter, Outcome, Parser, VenueError

BEGIN = b'{"topic":"'
TRADES, BOOK, TICKERS, FORCED = "publicTrade", "orderbook", "tickers", "allLiquidation"
DEPTHS = (1, 50, 200, 1000)
_DEPTHS = frozenset(map(str, DEPTHS))

NO_RECORD = ("adlAlert.", "insurance.", "priceLimit.", "orderbook.rpi.", "orderbook.full.")
"""Documented topics without a record: books of retail orders, and books that begin with a snapshot over REST."""

PATHS = {
    "/recent-trade": parse.past_trades,
    "/funding/history": parse.past_funding,
    "/open-interest": parse.past_open_interest,
}


class BybitFeed(RoutedFeed):
    """One market of Bybit: messages do not say which one they are of.

    `books` has one state for each book topic of an instrument, as `orderbook.200:BTCUSDT`.
    """

    venue = VENUE
    book_type = BookStream
    books: dict[str, BookStream]  # type: ignore[assignment]  # of book_type
    _end = b'",'  # of the topic

    def prepare(self) -> None:
        super().prepare()
        self._market = self._of_market()
        self._tickers: dict[str, TickerStream] = {}  # by instrument
        self._receipts: dict[str, parse.Receipt] = {}  # of trades, by instrument

    def _named(self, name: str) -> Instrument | None:
        return named(self._market, name)

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        if error := error_of(raw):
            return [error]
        if path.endswith("/instruments-info"):
            return self._learned(instruments(decode_listed(raw).result.list, ts_recv))
        if path.endswith("/kline"):
            instrument = self.instruments[query.get("symbol", "")]
            return parse.past_candles(instrument, _interval(query.get("interval", "")))(raw, ts_recv, 0)
        for ending, parser in PATHS.items():
            if path.endswith(ending):
                return parser(self.instruments[query.get("symbol", "")])(raw, ts_recv, 0)
        return [Control("ignored", path)]

    def reopened(self, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """The socket of `connection` is a new one: every book on it needs a subscription of its own again."""
        for ticker in self._tickers.values():
            ticker.reset(connection)
        return super().reopened(ts_recv, connection)

    def checkpoint(self) -> list[FeedCheckpoint]:
        """What another feed needs to continue here, between two messages."""
        return [*super().checkpoint(), *(point for ticker in self._tickers.values() for point in ticker.checkpoint())]

    def _restore_state(self, point: StateCheckpoint) -> None:
        name = point.instrument.name
        self._tickers.setdefault(name, TickerStream(point.instrument)).restore(point)

    def forget(self, instrument: str) -> None:
        """Stop following an instrument: its books wait for a snapshot, and nothing is requested for it."""
        super().forget(instrument)
        self.resync_requests.pop(f"{TICKERS}:{instrument}", None)

    def _stream_of(self, raw: bytes) -> str:
        head = envelope(raw)
        if head.topic is None:
            return f"op:{head.op}" if head.op else "unknown"
        return _split(head.topic)[0]

    def _route(self, raw: bytes) -> Parser:
        head = envelope(raw)
        if head.topic is None:
            if head.op is None:
                raise BadMessage(VENUE, "a message without topic and without op")
            return _answered
        parser = self._of_topic(head.topic)
        if raw.partition(self._end)[0] == BEGIN + head.topic.encode():
            self._remember(raw, parser)
        return parser

    def _of_topic(self, topic: str) -> Parser:
        """Raises BadMessage for a topic that nobody documented."""
        if topic.startswith(NO_RECORD):
            return ignored(topic)
        stream, name = _split(topic)
        word, _, detail = stream.partition(".")
        if stream == TRADES:
            return parse.trades(self.instruments[name], self._receipts.setdefault(name, parse.Receipt()))
        if stream == FORCED:
            return parse.liquidations(self.instruments[name])
        if stream == TICKERS:
            return self._ticker(name)
        if word == "kline":
            return parse.candles(self.instruments[name], _interval(detail))
        if word == BOOK and detail in _DEPTHS:
            return self._book(stream, name)
        raise BadMessage(VENUE, f"topic {topic[:40]!r} is not known")

    def _book(self, topic: str, name: str) -> Parser:
        key = f"{topic}:{name}"
        self.state_of(key, self.instruments[name], topic)
        return self._book_parser(key, self.books[key].push, any_connection=False)

    def _ticker(self, name: str) -> Parser:
        stream = self._tickers.get(name)
        if stream is None:
            stream = self._tickers[name] = TickerStream(self.instruments[name])
        key = f"{TICKERS}:{name}"

        def parser(raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
            try:
                outcomes = stream.push(raw, ts_recv, connection)
            except UNREADABLE as error:
                stream.reset(connection)  # a new subscription brings the whole state again
                self.resync_requests.setdefault(key, ResyncRequest(name, TICKERS, "subscription", ts_recv))
                return [DeadLetter.of(raw, error, ts_recv)]
            if self.resync_requests and not isinstance(outcomes[0], Control):
                self.resync_requests.pop(key, None)
            return outcomes

        return parser


# {"success":true,"ret_msg":"subscribe","conn_id":"2324d924","req_id":"1","op":"subscribe"}
# {"success":false,"ret_msg":"error:handler not found,topic:kline.7.ABCUSDT","conn_id":"2324d924","req_id":"2",
#   "op":"subscribe"}
# {"success":true,"ret_msg":"pong","conn_id":"2324d924","op":"ping"}
# https://bybit-exchange.github.io/docs/v5/ws/connect
def _answered(raw: bytes, _ts_recv: int, _connection: int) -> list[Outcome]:
    """What the answer to our request means."""
    answer = wire.answer(raw)
    if not answer.success:
        code = answer.op if answer.ret_code is None else answer.ret_code
        return [VenueError(code, answer.ret_msg, answer.ret_code in TOO_MANY)]
    if answer.op in ("ping", "pong"):
        return [Control("pong")]
    return [Control("ack", f"{answer.op} {answer.req_id}".rstrip())]


def _interval(word: str) -> str:
    if word not in parse.INTERVAL_OF:
        raise BadMessage(VENUE, f"unknown candle interval {word[:40]!r}")
    return parse.INTERVAL_OF[word]


def _split(topic: str) -> tuple[str, str]:
    """A topic without its instrument, and the instrument: no name has a dot."""
    stream, _, name = topic.rpartition(".")
    return stream, name
