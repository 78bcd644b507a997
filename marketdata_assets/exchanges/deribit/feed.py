"""A session of Deribit without a socket: bytes in, records and other outcomes out, the same live and in a replay."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from marketdata_assets.exchanges.books import BookState, Feed
from marketdata_assets.exchanges.deribit import parse, rest, wire
from marketdata_assets.exchanges.deribit.book import Chain, content_of
from marketdata_assets.exchanges.deribit.instruments import from_name, is_combo, parse_instruments
from marketdata_assets.exchanges.deribit.parse import InstrumentContext
from marketdata_assets.exchanges.deribit.wire import NONE, VENUE, AnyMessage, Notification
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage, UnknownInstrument
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, Control, DeadLetter, Gap, OrderBook, Outcome
from marketdata_assets.exchanges.wire import MS

_CHANNEL = b'"channel":"'
_BOOK, _DOTS = b'"book.', 2  # book.ABC.raw follows a chain, book.ABC.none.20.100ms is whole in every message
_trades = msgspec.json.Decoder(Notification[list[wire.Trade]]).decode
_book = msgspec.json.Decoder(Notification[wire.Book]).decode
_texts = msgspec.json.Decoder(Notification[wire.Texts], float_hook=str).decode
_levels = msgspec.json.Decoder(Notification[wire.Levels]).decode
_ticker = msgspec.json.Decoder(Notification[wire.Ticker]).decode
_quote = msgspec.json.Decoder(Notification[wire.Quote]).decode
_candle = msgspec.json.Decoder(Notification[wire.Candle]).decode
_any = msgspec.json.Decoder(AnyMessage).decode


class DeribitFeed(Feed):
    """What Deribit sends, over any number of sockets; one session has instruments of all market types.

    Records say what their instrument is. Without `books` the messages of a book become records one by one, whether they
    follow one another or not. `actions` is rule 3 of `book`.
    """

    venue = VENUE

    def __init__(self, *about: Any, actions: bool = True, **options: Any) -> None:
        super().__init__(*about, **options)
        self._actions = actions

    def prepare(self) -> None:
        self._known: dict[str, InstrumentContext] = {}
        self._chains: dict[str, Chain] = {}  # by channel
        self._parsers: dict[bytes, Callable[[bytes, int, int], list[Outcome] | None]] = {
            b"trades": self._trades,
            b"book": self._books,
            b"ticker": partial(self._state, "ticker.", _ticker, parse.ticker),
            b"quote": partial(self._state, "quote.", _quote, parse.quote),
            b"chart": self._candle,
        }

    def _named(self, name: str) -> Instrument | None:
        return from_name(name)

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number."""
        try:
            begin = raw.find(_CHANNEL) + len(_CHANNEL)
            parser = self._parsers.get(raw[begin : raw.find(b".", begin)])
            if parser:
                outcomes = parser(raw, ts_recv, connection)
                if outcomes is not None:
                    return outcomes
            return self._other(raw, ts_recv, connection)
        except UNREADABLE as error:
            return [DeadLetter.of(raw, error, ts_recv), *self._lost(raw, ts_recv)]

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        if error := rest.error_of(raw):
            return [error]
        method = path.rpartition("/")[2]
        if method == "get_instruments":
            listing = parse_instruments(raw, ts_recv)
            self.learn(listing.instruments)
            return [Control("notice", f"{len(listing.instruments)} instruments"), *listing.unread]
        parser = rest.PARSERS.get(method)
        return [*parser(query, raw, self._find, ts_recv)] if parser else [Control("ignored", method)]

    def learn(self, listed: Iterable[Instrument]) -> None:
        """Take a list of instruments; a newer entry replaces an older one."""
        super().learn(listed)
        self._known.clear()

    def _channel(self, state: BookState) -> str:
        kind, _, rest_of_it = state.stream.partition(".")
        return f"{kind}.{state.instrument.name}.{rest_of_it}".rstrip(".")

    def _stream_of(self, raw: bytes) -> str:
        message = _any(raw)
        if message.params and message.params.channel:
            return _stream(message.params.channel)
        return message.method or "answer"

    def _trades(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome] | None:
        params = _trades(raw).params
        if not params.channel.startswith("trades."):
            return None
        outcomes: list[Outcome] = []
        for event in params.data:
            context = self._known.get(event.instrument_name) or self._find(event.instrument_name)
            if context:
                outcomes += parse.trade(event, context, ts_recv)
        return outcomes or [Control("ignored", params.channel)]

    def _state(
        self,
        prefix: str,
        decode: Callable[[bytes], Notification[Any]],
        convert: Callable[[Any, InstrumentContext, int], Sequence[AnyRecord]],
        raw: bytes,
        ts_recv: int,
        connection: int,
    ) -> list[Outcome] | None:
        """The state of a market, which names its instrument: a ticker or the best prices."""
        params = decode(raw).params
        if not params.channel.startswith(prefix):
            return None
        context = self._find(params.data.instrument_name)
        return [*convert(params.data, context, ts_recv)] if context else [Control("ignored", params.channel)]

    def _candle(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome] | None:
        params = _candle(raw).params
        parts = params.channel.split(".")
        if parts[:2] != ["chart", "trades"] or len(parts) != 4:
            return None
        context = self._find(parts[2])
        if context is None:
            return [Control("ignored", params.channel)]
        return [parse.candle(params.data, context, parts[3], ts_recv)]

    def _books(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome] | None:
        begin = raw.find(_BOOK)
        if raw.count(b".", begin, raw.find(b'"', begin + 1)) > _DOTS:
            return self._levels(raw, ts_recv, connection)
        params = _book(raw).params
        channel, event = params.channel, params.data
        if not channel.startswith("book."):
            return None
        chain = self._chains.get(channel)
        if chain is None or chain.state.instrument.name != event.instrument_name:
            context = self._of(channel, event.instrument_name)
            if context is None:
                return [Control("ignored", channel)]
            if not self._keep_books:
                kind, bids, asks = content_of(event, _texts(raw).params.data)
                ids = (event.change_id, event.prev_change_id)
                return [parse.book(context, kind, bids, asks, ids, event.timestamp * MS, ts_recv)]
            chain = self._chain(channel, context)
        outcomes: list[Outcome] = [*chain.take(event, _texts(raw).params.data, ts_recv, connection)]
        chain.state.connection = connection
        if chain.state.status != "live" or self.resync_requests:
            self._update_request(_key(channel), channel, ts_recv)
        return outcomes

    def _lost(self, raw: bytes, ts_recv: int) -> list[OrderBook | Gap]:
        """A message of a book could not be read: what it changed is missing."""
        begin = raw.find(_BOOK) + 1
        channel = raw[begin : raw.find(b'"', begin)].decode("utf-8", "replace") if begin else ""
        chain = self._chains.get(channel)
        if chain is None or chain.state.status != "live":
            return []
        outcomes = chain.state.broken("sequence", None, ts_recv)
        self._update_request(_key(channel), channel, ts_recv)
        return outcomes

    def _levels(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome] | None:
        params = _levels(raw).params
        if not params.channel.startswith("book."):
            return None
        event, channel = params.data, params.channel
        context = self._of(channel, event.instrument_name)
        if context is None:
            return [Control("ignored", channel)]
        if not self._keep_books:
            bids, asks = parse.levels(event.bids), parse.levels(event.asks)
            return [parse.book(context, "snapshot", bids, asks, (event.change_id, None), event.timestamp * MS, ts_recv)]
        chain = self._chain(channel, context)
        chain.state.connection = connection
        return [*chain.whole(event, ts_recv)]

    def _of(self, channel: str, instrument: str) -> InstrumentContext | None:
        """The instrument of a channel and of the message in it, which must be the same."""
        if channel.split(".", 2)[1] != instrument:
            raise BadMessage(VENUE, f"{channel} with a book of {instrument}")
        return self._find(instrument)

    def _chain(self, channel: str, context: InstrumentContext) -> Chain:
        chain = self._chains.get(channel)
        if chain is None:
            state = self.state_of(_key(channel), context.instrument, _stream(channel))
            chain = self._chains[channel] = Chain(state, self._actions)
        return chain

    def _other(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """A message that the fast way did not recognise, or that brings no record."""
        message = _any(raw)
        if error := rest.error_of(raw):
            return [error]
        params = message.params
        if message.method == "heartbeat" and params and params.type in ("heartbeat", "test_request"):
            return [Control("test_request" if params.type == "test_request" else "heartbeat")]
        if message.method == "subscription" and params and params.channel:
            kind = params.channel.partition(".")[0]
            parser = self._parsers.get(kind.encode())
            outcomes = parser(raw, ts_recv, connection) if parser else None
            return [Control("ignored", params.channel)] if outcomes is None else outcomes
        if message.id is not None and message.result != NONE:
            return [_acknowledged(message)]
        raise BadMessage(VENUE, "neither a notification nor an answer")

    def _find(self, name: str) -> InstrumentContext | None:
        """The instrument; None for a combo. Raises UnknownInstrument."""
        context = self._known.get(name)
        if context:
            return context
        instrument = self.instruments.known.get(name) or (None if self._strict else from_name(name))
        if instrument is None:
            if is_combo(name):
                return None
            raise UnknownInstrument(VENUE, name)
        context = self._known[name] = InstrumentContext(instrument)
        return context


def _stream(channel: str) -> str:
    """book.raw of book.ABC-PERPETUAL.raw; the kinds without an instrument stay as they are."""
    kind, _, rest_of_it = channel.partition(".")
    if kind == "chart":
        return f"chart.trades.{channel.rpartition('.')[2]}"
    if kind in ("trades", "book", "ticker", "quote"):
        return f"{kind}.{rest_of_it.partition('.')[2]}".rstrip(".")
    return channel


def _key(channel: str) -> str:
    return f"{_stream(channel)}:{channel.split('.')[1]}"


def _acknowledged(message: AnyMessage) -> Control:
    """What an answer over the socket confirms: channels, or the one of a test."""
    result: Any = msgspec.json.decode(message.result)
    if isinstance(result, list) and all(isinstance(one, str) for one in result):
        return Control("ack", " ".join(result))
    if isinstance(result, dict) and "version" in result:
        return Control("pong", f"{result['version']}"[:20])
    return Control("ack", f"{result}"[:20] if isinstance(result, str) else f"{message.id}")
