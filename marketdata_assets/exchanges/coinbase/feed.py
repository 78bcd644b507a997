"""The session of Coinbase's public socket, without the socket: bytes in, outcomes out. Live and replay use the same."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from marketdata_assets.exchanges.channel_feed import ChannelFeed
from marketdata_assets.exchanges.coinbase import book, parse, wire
from marketdata_assets.exchanges.coinbase.book import BookStream
from marketdata_assets.exchanges.coinbase.instruments import instruments, named
from marketdata_assets.exchanges.coinbase.wire import VENUE
from marketdata_assets.exchanges.records import Control, ControlKind, DeadLetter, Outcome
from marketdata_assets.exchanges.wire import field

BOOK = "level2"
CHANNELS = {"market_trades": parse.trades, "ticker": parse.tickers}
RENAMED = {"l2_data": BOOK}
"""Channels whose messages have another name than subscriptions to them."""

CONTROLS: dict[str, ControlKind] = {"heartbeats": "heartbeat", "status": "ignored", "candles": "ignored"}
ANSWERS = {"subscriptions": wire.confirmed, "error": wire.complaint}
PRODUCT, NUMBER = field("product_id"), re.compile(rb'"sequence_num"\s*:\s*([0-9]{1,18})\b')
TURNS = 10
"""So often the numbers of a connection return to where they had left off: they are those of two sockets."""

LATE = 1000
"""A message whose number is lower by so much at most came before; by more, and the venue numbers from another start."""


class CoinbaseFeed(ChannelFeed):
    """The spot market of Coinbase. `books` has one state for each product, by `level2:product`."""

    venue, book_type, book_channels = VENUE, BookStream, (BOOK,)
    channels, controls = CHANNELS, {**CONTROLS, "ticker_batch": "ignored"}
    books: dict[str, BookStream]  # type: ignore[assignment]  # of book_type
    _named, _decode_book, _names = staticmethod(named), staticmethod(book.decode), PRODUCT.findall
    _end, _book_word = b',"client_id"', b'"l2_data"'  # what follows the channel
    _answers = ANSWERS

    def prepare(self) -> None:
        super().prepare()
        self._next: dict[int, int] = {}  # the number that comes next, by connection
        self._left: dict[int, int] = {}  # the number that continues where the last jump came from
        self._turns: Counter[int] = Counter()

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number; what is missing before it breaks all its books."""
        found, expected = NUMBER.search(raw), self._next.get(connection)
        if found is None:
            return super().push(raw, ts_recv, connection)
        got = int(found[1])
        if expected not in (None, got):
            self._turns[connection] += self._left.get(connection) == got
            self._left[connection] = got + 1 if expected - LATE <= got < expected else expected
        if self._turns[connection] >= TURNS:
            cause = "numbers of two sockets in one connection: record each socket in a file of its own"
            return [*self._missing([], ts_recv, connection), DeadLetter(raw, cause, ts_recv)]
        self._next[connection] = got + 1
        missing: list[Outcome] = []
        if expected not in (None, got):
            names = PRODUCT.findall(raw) if b'"updates"' in raw else []
            if expected - LATE <= got < expected:
                self._next[connection] = expected
                if old := self._repeated(raw, names, ts_recv, connection):
                    return old
            else:
                missing = self._missing(names if b'"snapshot"' in raw else [], ts_recv, connection)
        made = super().push(raw, ts_recv, connection)
        if isinstance(made[0], DeadLetter) and expected is not None and (got != expected or not PRODUCT.search(raw)):
            self._next[connection] = expected  # the next message shows that this one is missing
        return [*missing, *made]

    def _repeated(self, raw: bytes, names: Sequence[bytes], ts_recv: int, connection: int) -> list[Outcome]:
        """The gaps of an update that came before, which is not taken; a snapshot is taken at any time."""
        if b'"snapshot"' in raw:
            return []
        states = [
            self.books[key] for name in names if (key := f"{BOOK}:{name.decode('utf-8', 'replace')}") in self.books
        ]
        return [one.repeated(None, ts_recv) for one in states if one.status == "live" and one.connection == connection]

    def _missing(self, whole: Sequence[bytes], ts_recv: int, connection: int) -> list[Outcome]:
        """The gaps of all live books of a connection, but those that a snapshot follows, which says it itself."""
        gaps: list[Outcome] = []
        for key, state in self.books.items():
            if (
                state.status == "live"
                and state.connection == connection
                and state.instrument.name.encode() not in whole
            ):
                gaps += self._settled(key, state.broken("sequence", None, ts_recv), ts_recv)
        return gaps

    def reopened(self, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """The socket of `connection` is a new one, whose numbers begin again."""
        for numbers in (self._next, self._left, self._turns):
            numbers.pop(connection, None)
        return super().reopened(ts_recv, connection)

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        if error := wire.error_of(raw):
            return [error]
        *_, before, last = ("", *path.split("/"))
        match last:
            case "products":
                return self._learned(instruments(raw, ts_recv))
            case "trades":
                return parse.past_trades(raw, ts_recv, self.instruments[before])
            case "candles":
                return parse.past_candles(raw, ts_recv, self.instruments[before], int(query.get("granularity", "60")))
        return [Control("ignored", path)]

    def _stream_of(self, raw: bytes) -> str:
        head = wire.envelope(raw)
        return RENAMED.get(head.channel, head.channel) or ("error" if head.type == "error" else "unknown")
