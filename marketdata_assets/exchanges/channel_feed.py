"""What the feeds of venues share whose messages begin with their channel and name the instrument anywhere behind it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from marketdata_assets.exchanges.books import RoutedFeed
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Control, ControlKind, Outcome, Parser
from marketdata_assets.exchanges.wire import CHANNEL, Find


class ChannelFeed(RoutedFeed):
    """A feed whose messages name their channel, with one book for each instrument and stream of books.

    A message of books goes to the book of each instrument that it names, which takes its own part of it.
    """

    channels: Mapping[str, Callable[[bytes, int, Find], list[Outcome]]]  # what becomes of their messages
    controls: Mapping[str, ControlKind]  # other channels, which have no records
    book_channels: tuple[str, ...]  # the usual one first
    _book_word: bytes  # what messages of these have of their channel
    _decode_book: Callable[[bytes], object]  # raises for what is no message of books
    _names: Callable[[bytes], list[bytes]]  # the instruments of a message
    _answers: Mapping[str, Callable[[bytes], list[Outcome]]]  # what becomes of answers to requests, by `_stream_of`

    def prepare(self) -> None:
        super().prepare()
        self._of_books: dict[str, Parser] = {}  # by stream and instrument

    def learn(self, listed: Iterable[Instrument]) -> None:
        """Take a list of instruments; a newer entry replaces an older one."""
        super().learn(listed)
        self._of_books.clear()

    def _route(self, raw: bytes) -> Parser:
        try:
            channel = self._stream_of(raw)
        except UNREADABLE:
            if self._book_word in raw:
                return self._book  # of which it breaks those that it names
            raise
        if answer := self._answers.get(channel):
            return lambda raw, _ts_recv, _connection: answer(raw)
        parser, begin = self._of_channel(channel), raw.partition(self._end)[0]
        if begin.startswith(CHANNEL) and begin.count(b'"') == 4:  # nothing but the channel
            self._remember(raw, parser)
        return parser

    def _of_channel(self, channel: str) -> Parser:
        """Raises BadMessage for a channel that nobody documented."""
        if channel in self.channels:
            parse, find = self.channels[channel], self.instruments.__getitem__
            return lambda raw, ts_recv, _: parse(raw, ts_recv, find) or [Control("ignored", channel)]
        if channel in self.book_channels:
            return self._book
        if channel not in self.controls:
            raise BadMessage(self.venue, f"channel {channel[:40]!r} is not known")
        return lambda _raw, _ts_recv, _connection: [Control(self.controls[channel], channel)]

    def _book_stream(self, raw: bytes) -> str:
        """The stream that a message of books is of."""
        return self.book_channels[0]

    def _book(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        stream = self._book_stream(raw)
        names = dict.fromkeys(name.decode() for name in self._names(raw))
        parsers = [self._of_books.get(f"{stream}:{name}") or self._begin(stream, name) for name in names]
        made = [outcome for parser in parsers for outcome in parser(raw, ts_recv, connection)]
        if not names:
            self._decode_book(raw)
        return made or [Control("ignored", stream)]

    def _begin(self, stream: str, name: str) -> Parser:
        key, instrument = f"{stream}:{name}", self.instruments[name]
        state: Any = self.state_of(key, instrument, stream)
        state.instrument = instrument
        parser = self._of_books[key] = self._book_parser(key, state.push, any_connection=False)
        return parser
