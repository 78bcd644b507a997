"""A session of Deribit without a socket: bytes in, records and other outcomes out, the same live and in a replay."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.deribit import parse, rest, wire
from marketdata_assets.exchanges.deribit.book import Chain, content_of
from marketdata_assets.exchanges.deribit.instruments import from_name, is_combo, parse_instruments
from marketdata_assets.exchanges.deribit.wire import VENUE, AnyMessage, Notification
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage, UnknownInstrument
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, Control, DeadLetter, Outcome
from marketdata_assets.exchanges.wire import MS, NONE

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
    book_type = Chain
    _named = staticmethod(from_name)
    books: dict[str, Chain]  # type: ignore[assignment]  # of book_type

    def __init__(self, *about: Any, actions: bool = True, **options: Any) -> None:
        super().__init__(*about, **options)
        self._actions = actions

    def prepare(self) -> None:
        self._chains: dict[str, Chain] = {}  # by channel
        self._parsers: dict[bytes, Callable[[bytes, int, int], list[Outcome] | None]] = {
            b"trades": self._trades,
            b"book": self._books,
            b"ticker": partial(self._state, "ticker.", _ticker, parse.ticker),
            b"quote": partial(self._state, "quote.", _quote, parse.quote),
            b"chart": self._candle,
        }

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
            return self._learned(parse_instruments(raw, ts_recv))
        parser = rest.PARSERS.get(method)
        return [*parser(query, raw, self._find, ts_recv)] if parser else [Control("ignored", method)]

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
            instrument = self.instruments.get(event.instrument_name) or self._find(event.instrument_name)
            if instrument:
                outcomes += parse.trade(event, instrument, ts_recv)
        return outcomes or [Control("ignored", params.channel)]

    def _state(
        self,
        prefix: str,
        decode: Callable[[bytes], Notification[Any]],
        convert: Callable[[Any, Instrument, int], Sequence[AnyRecord]],
        raw: bytes,
        ts_recv: int,
        connection: int,
    ) -> list[Outcome] | None:
        """The state of a market, which names its instrument: a ticker or the best prices."""
        params = decode(raw).params
        if not params.channel.startswith(prefix):
            return None
        instrument = self._find(params.data.instrument_name)
        return [*convert(params.data, instrument, ts_recv)] if instrument else [Control("ignored", params.channel)]

    def _candle(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome] | None:
        params = _candle(raw).params
        parts = params.channel.split(".")
        if parts[:2] != ["chart", "trades"] or len(parts) != 4:
            return None
        instrument = self._find(parts[2])
        if instrument is None:
            return [Control("ignored", params.channel)]
        return [parse.candle(params.data, instrument, parts[3], ts_recv)]

    def _books(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome] | None:
        begin = raw.find(_BOOK)
        if raw.count(b".", begin, raw.find(b'"', begin + 1)) > _DOTS:
            return self._levels(raw, ts_recv, connection)
        params = _book(raw).params
        channel, event = params.channel, params.data
        if not channel.startswith("book."):
            return None
        chain = self._chains.get(channel)
        if chain is None or chain.instrument.name != event.instrument_name:
            instrument = self._of(channel, event.instrument_name)
            if instrument is None:
                return [Control("ignored", channel)]
            if not self._keep_books:
                kind, bids, asks = content_of(event, _texts(raw).params.data)
                ids = (event.change_id, event.prev_change_id)
                return [parse.book(instrument, kind, bids, asks, ids, event.timestamp * MS, ts_recv)]
            chain = self._chain(channel, instrument)
        outcomes: list[Outcome] = [*chain.take(event, _texts(raw).params.data, ts_recv, connection)]
        chain.connection = connection
        live = chain.status == "live" and not self.resync_requests
        return outcomes if live else self._settled(_key(channel), outcomes, ts_recv)

    def _lost(self, raw: bytes, ts_recv: int) -> list[Outcome]:
        """A message of a book could not be read: what it changed is missing."""
        begin = raw.find(_BOOK) + 1
        channel = raw[begin : raw.find(b'"', begin)].decode("utf-8", "replace") if begin else ""
        chain = self._chains.get(channel)
        if chain is None or chain.status != "live":
            return []
        return self._settled(_key(channel), chain.broken("sequence", None, ts_recv), ts_recv)

    def _levels(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome] | None:
        params = _levels(raw).params
        if not params.channel.startswith("book."):
            return None
        event, channel = params.data, params.channel
        instrument = self._of(channel, event.instrument_name)
        if instrument is None:
            return [Control("ignored", channel)]
        if not self._keep_books:
            bids, asks = parse.levels(event.bids), parse.levels(event.asks)
            return [
                parse.book(instrument, "snapshot", bids, asks, (event.change_id, None), event.timestamp * MS, ts_recv)
            ]
        chain = self._chain(channel, instrument)
        chain.connection = connection
        return [*chain.whole(event, ts_recv)]

    def _of(self, channel: str, name: str) -> Instrument | None:
        """The instrument of a channel and of the message in it, which must be the same."""
        if channel.split(".", 2)[1] != name:
            raise BadMessage(VENUE, f"{channel} with a book of {name}")
        return self._find(name)

    def _chain(self, channel: str, instrument: Instrument) -> Chain:
        chain = self._chains.get(channel)
        if chain is None:
            self.state_of(_key(channel), instrument, _stream(channel))
            chain = self._chains[channel] = self.books[_key(channel)]
            chain.actions = self._actions
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

    def _find(self, name: str) -> Instrument | None:
        """The instrument; None for a combo. Raises UnknownInstrument."""
        try:
            return self.instruments[name]
        except UnknownInstrument:
            if is_combo(name):
                return None
            raise


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
