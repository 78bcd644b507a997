"""One market of Binance, messages in and outcomes out: which bytes are which event, and the books they make.

Neither sockets nor clocks are in here. What an event says is the business of `parse`, how a book stays right that of
`book`, what an answer over REST says that of `rest`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from marketdata_assets.exchanges.binance import parse, rest, wire
from marketdata_assets.exchanges.binance.book import MarketBooks, best_levels
from marketdata_assets.exchanges.binance.event_types import (
    IGNORED,
    Envelope,
    EventType,
    Parser,
    Reader,
    decode_envelope,
    decode_list,
    diff_reader,
    event_types,
    futures_diff,
    is_partial_depth,
    spot_diff,
)
from marketdata_assets.exchanges.binance.instruments import (
    VENUE,
    ExchangeInfo,
    InstrumentContext,
    InstrumentContexts,
    instruments,
    known_instruments,
)
from marketdata_assets.exchanges.binance.templates import (
    FORM,
    KEPT_FORMS,
    LATEST_SECOND,
    MILLISECONDS,
    SECOND,
    AggTrades,
    Read,
    template_reader,
)
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.checkpoints import BookCheckpoint, FeedCheckpoint, InstrumentsCheckpoint
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage, UnknownInstrument
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import Control, DeadLetter, MarketType, Outcome, VenueError

KEPT_STREAMS = 20_000  # so many combined streams are known at sight; a connection has 1024 at most
LONG = 320  # no trade and no best prices have so many bytes
NAMED = 10  # this many bytes after the first two identify the event
Route = tuple[Callable[[bytes], Any], Parser | None]  # how a message is decoded, and what makes the record
_STREAM = b'{"stream":"'
_DIFF = b'{"e":"depthUpdate"'

_depth = msgspec.json.Decoder(rest.Depth).decode
_interest = msgspec.json.Decoder(rest.Interest).decode
_exchange_info = msgspec.json.Decoder(ExchangeInfo).decode


class BinanceFeed(Feed):
    """The messages of one market, over any number of sockets. `books`, `chains`, `resync_requests`: by instrument."""

    def __init__(
        self,
        market_type: MarketType,
        instruments: Instruments | None = None,
        *,
        strict: bool = True,
        books: bool = True,
    ) -> None:
        self.market_type = market_type
        self.instruments = known_instruments(market_type, instruments, strict=strict)
        self._known = InstrumentContexts(self.instruments)
        self._market = MarketBooks(self._known, keep=books and market_type != "option")
        self.books, self.chains = self._market.states, self._market.chains
        self.resync_requests = self._market.resync_requests
        self._event_types = event_types(market_type)
        self._take: dict[type, Callable[[Any, InstrumentContext, int, int], list[Outcome]]] = {
            wire.SpotBookTicker: self._best,
            wire.BookTicker: self._best,
            wire.SpotDepth: self._changed,
            wire.FuturesDepth: self._changed,
            wire.OptionDepth: self._partial_depth,
        }
        self._bare: dict[bytes, Route] = {
            f'e":"{name}"'.encode()[:NAMED]: (event_type.bare, event_type.parser)
            for name, event_type in self._event_types.items()
            if name
        }
        self._wrapped: dict[bytes, Route] = {}
        self._diffs: dict[bytes, Reader] = {}
        if self._market.keep:
            self._diffs[_DIFF] = diff_reader(market_type, wrapped=False)
        self._agg_trades: dict[bytes, AggTrades] = {}
        self._forms: dict[bytes, Read] = {}
        self._second: tuple[str, int] = "", 0  # the one of the last aggregate trade, and its ns

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number."""
        return self.push_all((raw,), ts_recv, connection)

    def push_all(self, raws: Iterable[bytes], ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of messages that came together, one after the other.

        Written out for aggregate trades, which are most of what comes.
        """
        outcomes: list[Outcome] = []
        known, add, form_of, milliseconds = self._agg_trades.get, outcomes.append, FORM, MILLISECONDS
        second, begin = self._second
        for raw in raws:
            try:
                form = raw.translate(form_of) if len(raw) < LONG else b""
                if template := known(form):
                    cut, make, sizes, side = template
                    at, millisecond, number, price, size, first, last = cut(raw.decode())
                    if at != second:
                        if at >= LATEST_SECOND:
                            outcomes += self._read(raw, b"", ts_recv, connection)
                            continue
                        second, begin = self._second = at, int(at) * SECOND
                    when = begin + milliseconds[millisecond]
                    if sizes is None:
                        add(make(when, ts_recv, number, price, size, None, side, first, last))
                    else:
                        in_base, contracts = sizes(size, price)
                        add(make(when, ts_recv, number, price, in_base, contracts, side, first, last))
                else:
                    outcomes += self._read(raw, form, ts_recv, connection)
            except UNREADABLE as error:
                add(DeadLetter.of(raw, error, ts_recv))
        return outcomes

    def reopened(self, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """The socket of `connection` is a new one: each book on it needs a snapshot again."""
        return self._market.reopened(ts_recv, connection)

    def learn(self, listed: Iterable[Instrument]) -> None:
        """Take a list of instruments; a newer entry replaces an older one."""
        super().learn(listed)
        self._known.clear()
        self._agg_trades.clear()
        self._forms.clear()

    def checkpoint(self) -> list[FeedCheckpoint]:
        """What another feed needs to continue here, between two messages."""
        return [InstrumentsCheckpoint.of(self.instruments), *self._market.checkpoints()]

    def _restore_book(self, point: BookCheckpoint, ts_recv: int) -> list[Outcome]:
        return self._market.restore(point, ts_recv)

    def forget(self, instrument: str) -> None:
        """Stop following an instrument: its book is no longer valid."""
        self._market.forget(instrument)

    def _stream_of(self, raw: bytes) -> str:
        """As `depth@100ms`; of a bare event its name."""
        envelope = decode_envelope(raw)
        if envelope.stream is not None:
            return envelope.stream.partition("@")[2] or envelope.stream
        if envelope.lastUpdateId is not None:
            return "snapshot"
        return envelope.e or ("bookTicker" if envelope.u is not None else "answer")

    def _read(self, raw: bytes, form: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """One message, by its form where that is known, else in full."""
        if (read := self._forms.get(form)) and (outcomes := read(raw, ts_recv)):
            return outcomes
        begin = raw.partition(b",")[0]
        if read_diff := self._diffs.get(begin):
            return self._market.changed(*read_diff(raw, ts_recv), connection)
        route = self._bare.get(raw[2 : 2 + NAMED]) or self._wrapped.get(begin)
        if route is None:
            return self._unrouted(raw, ts_recv, connection)
        decode, parser = route
        event = decode(raw)
        context = self._known[event.s]
        if form:
            self._form(raw, event, context)
        if parser:
            return [parser(event, context, ts_recv)]
        return self._take[type(event)](event, context, ts_recv, connection)

    def _unrouted(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """A message that is not known by how it begins."""
        if self.market_type == "spot" and raw.startswith(b'{"u":'):
            best: wire.SpotBookTicker = self._event_types[""].bare(raw)
            self._form(raw, best, self._known[best.s])
            return self._best(best, self._known[best.s], ts_recv, connection)
        stream, data = "", raw
        if raw[:1] != b"[":
            envelope = decode_envelope(raw)
            if envelope.stream is not None:
                stream, data = envelope.stream, bytes(envelope.data)
        if data[:1] == b"[":
            every = decode_list(data)
            return [outcome for one in every for outcome in self._listed(bytes(one), stream, ts_recv, connection)]
        outcomes = self._inside(data, stream, ts_recv, connection)
        if data is not raw:
            self._learn(raw, data, stream)
        return outcomes

    def _learn(self, raw: bytes, data: bytes, stream: str) -> None:
        """Know the next message of this stream at sight."""
        begin = raw.partition(b",")[0]
        event_type = self._event_type(decode_envelope(data))
        known = len(self._wrapped) + len(self._diffs) >= KEPT_STREAMS
        if event_type is None or known or is_partial_depth(stream) or not begin.startswith(_STREAM):
            return
        if self._market.keep and event_type is self._event_types.get("depthUpdate"):
            self._diffs[begin] = diff_reader(self.market_type, wrapped=True)
        else:
            self._wrapped[begin] = (event_type.wrapped, event_type.parser)

    def _event_type(self, envelope: Envelope) -> EventType | None:
        """The type of an event; without a name, one that has the update of a book is spot's best prices."""
        name = "" if envelope.e is None and envelope.u is not None else envelope.e
        return None if name is None else self._event_types.get(name)

    def _listed(self, data: bytes, stream: str, ts_recv: int, connection: int) -> list[Outcome]:
        """One event of a list of many instruments; one that was listed after our list does not cost the others."""
        try:
            return self._inside(data, stream, ts_recv, connection)
        except UnknownInstrument as error:
            return [Control("ignored", str(error))]

    def _inside(self, data: bytes, stream: str, ts_recv: int, connection: int) -> list[Outcome]:
        """One event, or what is none."""
        envelope = decode_envelope(data)
        event_type = self._event_type(envelope)
        if event_type is None:
            return self._no_event(envelope, data, stream, ts_recv)
        event = event_type.bare(data)
        context = self._known[event.s]
        if event_type.parser:
            return [event_type.parser(event, context, ts_recv)]
        if isinstance(event, wire.FuturesDepth) and is_partial_depth(stream):
            return self._partial_depth(event, context, ts_recv, connection)
        return self._take[type(event)](event, context, ts_recv, connection)

    def _no_event(self, envelope: Envelope, data: bytes, stream: str, ts_recv: int) -> list[Outcome]:
        """A control message, an answer over the socket, or what a recorder put among the messages."""
        if envelope.e in IGNORED:
            return [Control("ignored", envelope.e)]
        if envelope.e == "serverShutdown":
            return [Control("notice", "the server will shut down: open another socket")]
        if envelope.e is not None:
            raise BadMessage(VENUE, f"the event {envelope.e[:40]!r} is not known")
        if envelope.error or envelope.code is not None:
            error = envelope.error or rest.Failure(envelope.code or 0, envelope.msg)
            return [VenueError(error.code, error.msg, rate_limited=error.code == rest.TOO_MANY_REQUESTS)]
        if envelope.lastUpdateId is not None:
            symbol = stream.partition("@")[0].upper()
            if not is_partial_depth(stream):  # a snapshot that was recorded with the stream
                return self._snapshot(data, symbol, ts_recv)
            depth = _depth(data)
            return [best_levels(self._known[symbol], depth.T, ts_recv, depth.bids, depth.asks, depth.lastUpdateId)]
        if envelope.openInterest is not None:
            interest = _interest(data)
            return [rest.open_interest(interest, self._known[interest.symbol], ts_recv)]
        if envelope.id is not None:
            return [Control("ack", str(envelope.id))]
        raise BadMessage(VENUE, "it is neither an event nor an answer")

    def _best(self, event: wire.SpotBookTicker, context: InstrumentContext, ts_recv: int, _: int) -> list[Outcome]:
        return self._market.compare_best(parse.book_ticker(event, context, ts_recv))

    def _form(self, raw: bytes, event: Any, context: InstrumentContext) -> None:
        no_trade = isinstance(event, wire.FuturesTrade) and event.X == "NA"
        if no_trade or len(self._agg_trades) + len(self._forms) >= KEPT_FORMS:
            return
        reader = template_reader(event, context, raw.decode(), self._market.compare_best)
        if isinstance(reader, tuple):
            self._agg_trades[raw.translate(FORM)] = reader
        elif reader:
            self._forms[raw.translate(FORM)] = reader

    def _changed(
        self, event: wire.SpotDepth | wire.FuturesDepth, context: InstrumentContext, ts_recv: int, connection: int
    ) -> list[Outcome]:
        diff = spot_diff(event, ts_recv) if isinstance(event, wire.SpotDepth) else futures_diff(event, ts_recv)
        return self._market.changed(context.instrument.name, diff, connection)

    def _partial_depth(
        self, event: wire.OptionDepth | wire.FuturesDepth, context: InstrumentContext, ts_recv: int, _: int
    ) -> list[Outcome]:
        return [best_levels(context, event.T, ts_recv, event.b, event.a, event.u)]

    def _snapshot(self, raw: bytes, symbol: str, ts_recv: int) -> list[Outcome]:
        """The book of an instrument.

            GET /fapi/v1/depth?symbol=ABCUSDT&limit=1000
            {"lastUpdateId": 160, "E": 1700000000005, "T": 1700000000003, "bids": [["1.2300", "4.5"]],
             "asks": [["1.2400", "6.7"]]}

        https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#order-book
        """
        return self._market.snapshot(_depth(raw), symbol, ts_recv)

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        """Without an address, only its fields say what a response is."""
        if wrong := rest.failure(raw):
            return [wrong]
        to = rest.asked(path, query)
        if to.what in ("depth", ""):
            return self._snapshot(raw, to.symbol, ts_recv)
        if to.what == "exchangeInfo":
            listing = instruments(self.market_type, _exchange_info(raw), ts_recv)
            self.learn(listing.instruments)
            return [Control("notice", f"{len(listing.instruments)} instruments"), *listing.unread]
        if to.what in ("ping", "time"):
            return [Control("pong", to.what)]
        return [*rest.records(to, raw, self._known, ts_recv)]
