"""A session of Deribit without a socket: bytes in, records and other outcomes out, the same live and in a replay."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from marketdata_assets.exchanges.books import RoutedFeed, ignored
from marketdata_assets.exchanges.deribit import parse, rest, wire
from marketdata_assets.exchanges.deribit.book import Chain
from marketdata_assets.exchanges.deribit.instruments import from_name, is_combo, parse_instruments
from marketdata_assets.exchanges.deribit.rest import Find
from marketdata_assets.exchanges.deribit.wire import VENUE, AnyMessage, Notification
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage, UnknownInstrument
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Control, DeadLetter, Outcome, Parser
from marketdata_assets.exchanges.wire import NONE

_CHANNEL = b'"channel":"'
_DOTS = 2  # book.ABC.raw follows a chain, book.ABC.none.20.100ms is whole in every message
_trades = msgspec.json.Decoder(Notification[list[wire.Trade]]).decode
_ticker = msgspec.json.Decoder(Notification[wire.Ticker]).decode
_quote = msgspec.json.Decoder(Notification[wire.Quote]).decode
_candle = msgspec.json.Decoder(Notification[wire.Candle]).decode
_any = msgspec.json.Decoder(AnyMessage).decode


class DeribitFeed(RoutedFeed):
    """What Deribit sends, over any number of sockets; one session has instruments of all market types.

    Records say what their instrument is.
    """

    venue = VENUE
    book_type = Chain
    _named = staticmethod(from_name)
    books: dict[str, Chain]  # type: ignore[assignment]  # of book_type

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number; routes are by channel, wherever it is."""
        parser = self._routes.get(_channel_in(raw))
        try:
            if parser is None:
                parser = self._route(raw)
            return parser(raw, ts_recv, connection)
        except UNREADABLE as error:
            return [DeadLetter.of(raw, error, ts_recv)]

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

    def _route(self, raw: bytes) -> Parser:
        message = _any(raw)
        if error := rest.error_of(raw):
            return lambda _raw, _ts_recv, _connection: [error]
        params = message.params
        if message.method == "subscription" and params and params.channel:
            parser = self._of_channel(params.channel)
            if (channel := params.channel.encode()) == _channel_in(raw):
                self._routes[channel] = parser
            return parser
        if message.method == "heartbeat" and params and params.type in ("heartbeat", "test_request"):
            control = Control("test_request" if params.type == "test_request" else "heartbeat")
        elif message.id is not None and message.result != NONE:
            control = _acknowledged(message)
        else:
            raise BadMessage(VENUE, "neither a notification nor an answer")
        return lambda _raw, _ts_recv, _connection: [control]

    def _of_channel(self, channel: str) -> Parser:
        kind, *parts = channel.split(".")
        if kind == "book":
            return self._book(channel, parts[0])
        if kind == "chart" and parts[0] == "trades" and len(parts) == 3:
            return self._candles(channel, *parts[1:])
        if kind not in CHANNELS or not parts:
            return ignored(channel)
        parse, find = CHANNELS[kind], self._find
        return lambda raw, ts_recv, _: parse(raw, ts_recv, find) or [Control("ignored", channel)]

    def _candles(self, channel: str, name: str, resolution: str) -> Parser:
        instrument = self._find(name)
        if instrument is None:
            return ignored(channel)
        return lambda raw, ts_recv, _: [parse.candle(_candle(raw).params.data, instrument, resolution, ts_recv)]

    def _book(self, channel: str, name: str) -> Parser:
        instrument, whole = self._find(name), channel.count(".") > _DOTS
        if instrument is None:
            return ignored(channel)
        key = f"{_stream(channel)}:{name}"
        self.state_of(key, instrument, _stream(channel))
        self.books[key].whole_messages = whole
        return self._book_parser(key, self.books[key].push)

    def _find(self, name: str) -> Instrument | None:
        """The instrument; None for a combo. Raises UnknownInstrument."""
        try:
            return self.instruments[name]
        except UnknownInstrument:
            if is_combo(name):
                return None
            raise


def _of_trades(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    records: list[Outcome] = []
    for event in _trades(raw).params.data:
        if instrument := find(event.instrument_name):
            records += parse.trade(event, instrument, ts_recv)
    return records


def _of_ticker(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    event = _ticker(raw).params.data
    instrument = find(event.instrument_name)
    return [*parse.ticker(event, instrument, ts_recv)] if instrument else []


def _of_quote(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    event = _quote(raw).params.data
    instrument = find(event.instrument_name)
    return [*parse.quote(event, instrument, ts_recv)] if instrument else []


CHANNELS: dict[str, Callable[[bytes, int, Find], list[Outcome]]] = {
    "trades": _of_trades,
    "ticker": _of_ticker,
    "quote": _of_quote,
}


def _channel_in(raw: bytes) -> bytes:
    begin = raw.find(_CHANNEL) + len(_CHANNEL)
    return raw[begin : raw.find(b'"', begin)]


def _stream(channel: str) -> str:
    """book.raw of book.ABC-PERPETUAL.raw; the kinds without an instrument stay as they are."""
    kind, _, rest_of_it = channel.partition(".")
    if kind == "chart":
        return f"chart.trades.{channel.rpartition('.')[2]}"
    if kind in ("trades", "book", "ticker", "quote"):
        return f"{kind}.{rest_of_it.partition('.')[2]}".rstrip(".")
    return channel


def _acknowledged(message: AnyMessage) -> Control:
    """What an answer over the socket confirms: channels, or the one of a test."""
    result: Any = msgspec.json.decode(message.result)
    if isinstance(result, list) and all(isinstance(one, str) for one in result):
        return Control("ack", " ".join(result))
    if isinstance(result, dict) and "version" in result:
        return Control("pong", f"{result['version']}"[:20])
    return Control("ack", f"{result}"[:20] if isinstance(result, str) else f"{message.id}")
